"""`flash4gen compile --check`: whether the files on disk are what the specs compile to now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.cli.options import spec_files
from flash4gen.cli.output import Output, succeeded
from flash4gen.driver import compare_spec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flash4gen.cli.request import Request
    from flash4gen.driver import Compared


def report_freshness(specs: Sequence[str], request: Request, output: Output) -> None:
    """Compare the modules of all specs with the disk, print what differs, end the command.

    What names no target is compared for the targets that it has modules for, or passed over, as are
    models of other files' layers that have no index. Where nothing was compared for want of targets
    and modules, the command has not succeeded.
    """
    found = {path: _compared(path, request) for path in spec_files(specs)}
    diagnostics = [item for one in found.values() for item in one.diagnostics]
    nothing = not any(one.modules or one.diagnostics for one in found.values())
    nothing &= any(one.unnamed for one in found.values())
    failure = f"nothing was compared: there is no module of these specs in {request.out}"
    if output.json:
        fresh = {str(path): _fresh(one) for path, one in found.items()}
        output.document(diagnostics, fresh=fresh, **({"failure": failure} if nothing else {}))
    for path, one in found.items():
        if one.modules and _fresh(one):
            output.line(f"{path}: its modules in {request.out} are fresh")
        elif one.unnamed:
            output.line(f"{path}: names no target of its own, and has no module in {request.out}")
        elif not one.diagnostics:
            output.line(f"{path}: nothing in it to compile")
    output.diagnostics(diagnostics)
    if nothing:
        output.remark(f"{failure}; name targets with --target")
    output.end(ok=succeeded(diagnostics) and not nothing)


def _fresh(one: Compared) -> bool | None:
    """Return whether modules are fresh; None where there are none, and none was asked for."""
    return succeeded(one.diagnostics) if one.modules or one.diagnostics else None


def _compared(path: Path, request: Request) -> Compared:
    return compare_spec(
        path, targets=request.targets, out=request.out, template_dirs=request.template_dirs
    )
