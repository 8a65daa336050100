"""`flash4gen fmt`: specs in their one canonical form, or whether they are."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from flash4gen.cli import options
from flash4gen.cli.difference import print_difference
from flash4gen.cli.guard import guard
from flash4gen.cli.output import FINDINGS, Output

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from flash4gen.diagnostics import Diagnostic

STDIN = "-"

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="SPEC...",
        help="Files, folders with all specs in them, or `-` for standard input.",
        show_default=False,
    ),
]
Check = Annotated[
    bool, typer.Option("--check", help="Write nothing; end with 1 if a file would change.")
]
Diff = Annotated[bool, typer.Option("--diff", help="Write nothing; print what would change.")]


def command(specs: Files, check: Check = False, diff: Diff = False) -> None:
    """Bring specs into their canonical form; comments and meaning stay."""
    if STDIN in specs and specs != [STDIN]:
        raise typer.BadParameter("standard input cannot be mixed with files")
    output = Output(options.Format.TEXT)
    with guard(output):
        if STDIN in specs:
            _filter(output, check=check, diff=diff)
        else:
            _files(options.spec_files(specs), output, check=check, diff=diff)


def _filter(output: Output, *, check: bool, diff: bool) -> None:
    """Format standard input to standard output."""
    from flash4gen.syntax import MAX_BYTES, decoded, formatted

    source = decoded("<stdin>", sys.stdin.buffer.read(MAX_BYTES + 1))
    if isinstance(source, tuple):
        _refuse(source, output)
    made = formatted(source)
    if isinstance(made, tuple):
        _refuse(made, output)
    text = source.text
    if diff:
        print_difference("<stdin>", text, made)
    elif not check:
        sys.stdout.write(made)
    output.end(ok=made == text or not (check or diff))


def _refuse(found: tuple[Diagnostic, ...], output: Output) -> NoReturn:
    output.diagnostics(found)
    raise typer.Exit(FINDINGS)


def _files(paths: Sequence[Path], output: Output, *, check: bool, diff: bool) -> None:
    from flash4gen.syntax import formatted, read_source

    found: list[Diagnostic] = []
    changed: dict[Path, bytes] = {}
    for path in paths:
        source = read_source(path)
        if isinstance(source, tuple):
            found += source
            continue
        made = formatted(source)
        if isinstance(made, tuple):
            found += made
            continue
        if made.encode() == path.read_bytes():
            continue
        changed[path] = made.encode()
        if diff:
            print_difference(str(path), source.text, made)
    unchanged = len(paths) - len(changed)
    if not (check or diff) and (problems := _write(changed)):
        found, changed = [*found, *problems], {}
    _report(changed, unchanged, output, written=not (check or diff), quiet=diff)
    output.diagnostics(found)
    output.end(ok=not found and (not changed or not (check or diff)))


def _write(changed: Mapping[Path, bytes]) -> tuple[Diagnostic, ...]:
    """Rewrite files, all or none, links and rights as they are; or return what is in the way."""
    from flash4gen.build.store import try_to_write

    files = {path.resolve(): data for path, data in changed.items()}
    modes = {path: path.stat().st_mode for path in files}
    problems = try_to_write(files)
    for path, mode in modes.items() if not problems else ():
        path.chmod(mode)
    return problems


def _report(
    changed: Iterable[Path], unchanged: int, output: Output, *, written: bool, quiet: bool
) -> None:
    if quiet:
        return
    for path in changed:
        output.line(f"{path}: {'formatted' if written else 'would be formatted'}")
    if unchanged and not written:
        output.line(f"{unchanged} file{'s' * (unchanged != 1)} unchanged")
