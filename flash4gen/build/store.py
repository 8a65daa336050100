"""Outputs on disk: written whole or not at all, and only where they differ."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flash4gen.diagnostics.disk import not_written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flash4gen.diagnostics.model import Diagnostic


def write_all(files: Mapping[Path, bytes]) -> tuple[Path, ...]:
    """Write several files; if one cannot be written, none is changed.

    Every content goes to a temporary file beside its destination first, and is renamed only when
    all of them are there. A file that holds the same bytes already is left alone.

    Args:
        files: destination → content.

    Returns:
        The files that changed.

    Raises:
        OSError: a folder or file cannot be written; it names the destination.
    """
    changed = {path: data for path, data in files.items() if not _holds(path, data)}
    staged: dict[Path, Path] = {}
    try:
        for path, data in changed.items():
            with _naming(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                staged[path] = _staged(path, data)
        for path, temporary in staged.items():
            with _naming(path):
                temporary.replace(path)
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)
    return tuple(changed)


def try_to_write(files: Mapping[Path, bytes], *helps: str) -> tuple[Diagnostic, ...]:
    """Write files as ``write_all`` does; return why they cannot be written, nothing if they are."""
    try:
        write_all(files)
    except OSError as error:
        return (not_written(error, *helps),)
    return ()


def probe_folder(folder: Path) -> None:
    """Make sure that files can be written to a folder, which need not exist yet.

    Raises:
        OSError: they cannot.
    """
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(existing))
    with _naming(folder), tempfile.TemporaryFile(dir=existing):
        pass


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let errors name what was to be written, and not a temporary file that nobody asked for."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except FileNotFoundError:
        return False


def _staged(path: Path, data: bytes) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), 0o644)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
