"""Reading a spec from disk: a source file, or the reason why there is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Diagnostic, Severity
from flash4gen.diagnostics.suggest import did_you_mean, nearest
from flash4gen.resources import resource_dir
from flash4gen.source import SourceFile

if TYPE_CHECKING:
    from os import PathLike

SUFFIX = ".attn"
MAX_BYTES = 100_000


def read_source(path: str | PathLike[str]) -> SourceFile | tuple[Diagnostic, ...]:
    """Read a text file, whatever its line ends are; or return why it cannot be read.

    Never raises for what may be on a disk.
    """
    path = Path(path)
    try:
        # One byte more than allowed is enough to know; a device file never ends.
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as problem:
        return (_unreadable(path, problem),)
    return decoded(path, data)


def decoded(path: str | PathLike[str], data: bytes) -> SourceFile | tuple[Diagnostic, ...]:
    """Return bytes as a source file of that name, or why they are none.

    Of a longer text, ``MAX_BYTES + 1`` bytes are enough.
    """
    path = Path(path)
    if len(data) > MAX_BYTES:
        return (_not_text(path, f"it is larger than {MAX_BYTES} bytes"),)
    if b"\0" in data:
        return (_not_text(path, "it holds zero bytes, as binary files do"),)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        return (_not_text(path, f"byte {problem.start}, in line {line}, is not UTF-8"),)
    return SourceFile(str(path), text.replace("\r\n", "\n").replace("\r", "\n"))


def _unreadable(path: Path, problem: Exception) -> Diagnostic:
    reason = getattr(problem, "strerror", None) or str(problem)
    return Diagnostic(
        code=Code.UNREADABLE,
        severity=Severity.ERROR,
        message=f"cannot read {path}: {reason.lower()}",
        helps=_instead(path, problem),
    )


def _instead(path: Path, problem: Exception) -> tuple[str, ...]:
    if isinstance(problem, FileNotFoundError):
        return _meant(path)
    if not isinstance(problem, IsADirectoryError):
        return ()
    inside = min(path.glob(f"*{SUFFIX}"), default=None)
    return (f"name a file in it: {inside}" if inside else f"no `{SUFFIX}` file is in it",)


def _meant(path: Path) -> tuple[str, ...]:
    """Return what may be meant by a file that is not there: one beside it, or a shipped spec."""
    if path.name == str(path) and not path.suffix:
        folder = resource_dir("specs")
        shipped = [
            spec.stem
            for inside in (folder, folder / "models")
            for spec in inside.glob(f"*{SUFFIX}")
        ]
        meant = did_you_mean(path.name, shipped) or (f"if it is a file, write `{path}{SUFFIX}`",)
        return (*meant, "`flash4gen list specs` prints the names of those that are shipped")
    if not path.parent.is_dir():
        return ()
    # All have the same ending, which would make short names alike.
    beside = [other.stem for other in path.parent.iterdir() if other.suffix == SUFFIX]
    meant_stem = nearest(path.stem, beside)
    return (f"did you mean `{meant_stem}{SUFFIX}`?",) if meant_stem else ()


def _not_text(path: Path, reason: str) -> Diagnostic:
    return Diagnostic(
        code=Code.NOT_TEXT,
        severity=Severity.ERROR,
        message=f"{path} is not a spec: {reason}",
        notes=("specs are UTF-8 text files that end in `.attn`",),
    )
