"""`flash4gen compile --check`: whether the files on disk are what the specs compile to now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.cli.options import spec_files
from flash4gen.cli.output import Output, succeeded
from flash4gen.driver import check_fresh

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flash4gen.cli.request import Request
    from flash4gen.diagnostics import Diagnostic


def report_freshness(specs: Sequence[str], request: Request, output: Output) -> None:
    """Compare the modules of all specs with the disk, print what differs, end the command."""
    found = {path: _compared(path, request) for path in spec_files(specs)}
    diagnostics = [item for items in found.values() for item in items]
    if output.json:
        fresh = {str(path): succeeded(items) for path, items in found.items()}
        output.document(diagnostics, fresh=fresh)
    for path, items in found.items():
        if succeeded(items):
            output.line(f"{path}: its modules in {request.out} are fresh")
    output.diagnostics(diagnostics)
    output.end(ok=succeeded(diagnostics))


def _compared(path: Path, request: Request) -> tuple[Diagnostic, ...]:
    return check_fresh(
        path, targets=request.targets, out=request.out, template_dirs=request.template_dirs
    )
