"""Several SPEC arguments as one job: all are checked before the first is compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.cli.options import spec_files
from flash4gen.cli.output import succeeded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from flash4gen.diagnostics import Diagnostic
    from flash4gen.driver import CompileResult
    from flash4gen.ir.model import Model
    from flash4gen.ir.nodes import Attention


def each_spec(
    specs: Sequence[str], run: Callable[[Path], CompileResult]
) -> tuple[CompileResult, ...]:
    """Run a job on every spec; on none of them if one has an error, or two write the same file."""
    paths = spec_files(specs)
    problems = preflight(paths) if len(paths) > 1 else ()
    if problems:
        from flash4gen.driver import CompileResult

        return (CompileResult((), problems),)
    return tuple(run(path) for path in paths)


def preflight(paths: Sequence[Path]) -> tuple[Diagnostic, ...]:
    """Return everything found in specs that cannot be compiled together; nothing if they can."""
    from flash4gen.diagnostics import Code, Findings, Label
    from flash4gen.driver import check_spec

    results = [check_spec(path) for path in paths]
    found = tuple(item for result in results for item in result.diagnostics)
    clashes = Findings()
    seen: dict[str, Label | None] = {}
    items: list[Attention | Model] = []
    for result in results:
        items += [*result.attentions, *result.models]
    for item in items:
        label = Label(item.span, "first defined here") if item.span else None
        if item.name in seen:
            first = seen[item.name]
            clashes.error(
                Code.DUPLICATE, f"`{item.name}` is defined in two specs",
                item.span, also=[first] if first else (),
                notes=["both would be written to the same file"],
            )  # fmt: skip
        seen.setdefault(item.name, label)
    found += clashes.in_order()
    return found if not succeeded(found) else ()
