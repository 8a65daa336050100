"""What the options of `flash4gen compile` ask for, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A compile, but for its specs.

    Attributes:
        targets: names; those that each spec names if empty.
        out: folder of the modules.
        template_dirs: searched before the shipped templates.
        emit: extensions of the files to write beside the modules.
        validate: whether to prove the modules.
        mutate: whether to check the concurrency checks by mutants.
        force: whether a batch compiles what is fresh, too.
        search: whether schedules are looked for on the clock.
    """

    targets: tuple[str, ...]
    out: Path
    template_dirs: tuple[Path, ...]
    emit: tuple[str, ...]
    validate: bool
    mutate: bool = False
    force: bool = False
    search: bool = False
