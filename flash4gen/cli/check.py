"""`flash4gen check`: read specs and say what is wrong in them, without torch or Triton."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from flash4gen.cli import options
from flash4gen.cli.guard import guard
from flash4gen.cli.output import Output, succeeded

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.diagnostics import Diagnostic
    from flash4gen.driver import Checked


class Read(NamedTuple):
    """A spec, the targets that are named, and what was found wrong."""

    checked: Checked
    targets: tuple[str, ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def ok(self) -> bool:
        """Whether it can be compiled for these targets."""
        return succeeded(self.diagnostics)


def command(
    specs: options.Specs,
    target: options.Targets = None,
    output_format: options.OutputFormat = options.Format.TEXT,
) -> None:
    """Read specs and report every mistake in them, and what their targets cannot do."""
    output = Output(output_format)
    with guard(output):
        results = [_read(path, tuple(target or ())) for path in options.spec_files(specs)]
        diagnostics = [item for result in results for item in result.diagnostics]
        if output.json:
            output.document(diagnostics, specs=[_as_object(result) for result in results])
        for result in results:
            if result.ok:
                output.line(_line(result))
        output.diagnostics(diagnostics)
        output.end(ok=all(result.ok for result in results))


def _read(path: Path, targets: tuple[str, ...]) -> Read:
    """Read a spec, and ask whether the targets that are named can run it."""
    from flash4gen.driver import check_spec
    from flash4gen.driver.plan import named_targets, refusals

    checked = check_spec(path)
    if not checked.ok:
        return Read(checked, (), checked.diagnostics)
    found = (*checked.diagnostics, *refusals(checked, targets))
    return Read(checked, targets or named_targets(checked), found)


def _line(result: Read) -> str:
    checked = result.checked
    targets = f" for {', '.join(result.targets)}" if result.targets else ""
    return f"{checked.path}: {_content(checked)}, no errors{targets}"


def _content(checked: Checked) -> str:
    names = [f"attention {item.name}" for item in checked.attentions]
    names += [f"hardware {item.name}" for item in checked.hardware]
    names += [f"model {item.name}" for item in checked.models]
    return ", ".join(names) or "definitions only"


def _as_object(result: Read) -> dict[str, Any]:
    checked = result.checked
    return {
        "path": checked.path,
        "ok": result.ok,
        "targets": list(result.targets),
        "attentions": [item.name for item in checked.attentions],
        "hardware": [item.name for item in checked.hardware],
        "models": [item.name for item in checked.models],
    }
