"""Which files of the output folder a run has changed, for the message after Ctrl-C."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

Stamps = dict["Path", tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Watch:
    """What lay in an output folder when the command began."""

    folder: Path
    before: Stamps

    @classmethod
    def of(cls, folder: Path) -> Watch:
        """Note what lies in a folder; it need not exist."""
        return cls(folder, _stamps(folder))

    def changes(self) -> str:
        """Say which files were written since."""
        now = _stamps(self.folder)
        changed = sorted(str(path) for path in now if now[path] != self.before.get(path))
        return f"written before that: {', '.join(changed)}" if changed else "nothing was written"


def _stamps(folder: Path) -> Stamps:
    """Return inode and time of change of every output: a rename changes the former."""
    try:
        found = [path for path in folder.glob("*/*") if not path.name.startswith(".")]
        stats = {path: path.stat() for path in found if path.is_file()}
    except OSError:
        return {}
    return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in stats.items()}
