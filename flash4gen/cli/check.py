"""`flash4gen check`: read specs and say what is wrong in them, without torch or Triton."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flash4gen.cli import options
from flash4gen.cli.guard import guard
from flash4gen.cli.output import Output

if TYPE_CHECKING:
    from flash4gen.driver import Checked


def command(
    specs: options.Specs, output_format: options.OutputFormat = options.Format.TEXT
) -> None:
    """Read specs and report every mistake in them."""
    output = Output(output_format)
    with guard(output):
        from flash4gen.driver import check_spec

        results = [check_spec(path) for path in options.spec_files(specs)]
        diagnostics = [item for result in results for item in result.diagnostics]
        if output.json:
            output.document(diagnostics, specs=[_as_object(result) for result in results])
        for result in results:
            if result.ok:
                output.line(f"{result.path}: {_content(result)}, no errors")
        output.diagnostics(diagnostics)
        output.end(ok=all(result.ok for result in results))


def _content(checked: Checked) -> str:
    names = [f"attention {item.name}" for item in checked.attentions]
    names += [f"hardware {item.name}" for item in checked.hardware]
    names += [f"model {item.name}" for item in checked.models]
    return ", ".join(names) or "definitions only"


def _as_object(checked: Checked) -> dict[str, Any]:
    return {
        "path": checked.path,
        "ok": checked.ok,
        "attentions": [item.name for item in checked.attentions],
        "hardware": [item.name for item in checked.hardware],
        "models": [item.name for item in checked.models],
    }
