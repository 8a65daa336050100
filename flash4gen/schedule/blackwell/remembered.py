"""Modelled cycles of a step, remembered between runs of the program.

In: a ``Kernel``. Out: ``Modelled``. A result lies in a file of the user's cache folder whose name
is the digest of all that it follows from: schedule, effort, target, latencies, and the code that
computes it. Another version of any of these has other names. What cannot be read, or is not what
its name says, is computed again; where nothing can be written, nothing is remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.clock.machine import machine_for
from flash4gen.digest import digest
from flash4gen.schedule.blackwell.pace import SHAKEN, steady

if TYPE_CHECKING:
    from flash4gen.schedule.blackwell.pace import Jitter, Kernel

PACKAGE = Path(__file__).parents[2]
CODE = ("clock", "schedule/blackwell/sketch", "schedule/blackwell/pace.py")
"""What the numbers follow from, beside their input."""


class Modelled(NamedTuple):
    """Cycles of a step: the mean of all runs, the least and the most."""

    cycles: float
    low: float
    high: float


def modelled(what: Kernel, jitter: Jitter = SHAKEN) -> Modelled:
    """Return the modelled cycles of a step, remembered or computed.

    Raises:
        NoConstantsError: nothing was published for the target.
    """
    key = _key(what, jitter)
    runs = _read(key, len(jitter.seeds))
    if runs is None:
        runs = steady(what, jitter)
        _write(key, runs)
    return Modelled(fmean(runs), min(runs), max(runs))


def folder() -> Path:
    """Return where results are remembered: in ``$XDG_CACHE_HOME``, else in ``~/.cache``."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "flash4gen" / "clock"


def _key(what: Kernel, jitter: Jitter) -> str:
    parts = (what.schedule, what.effort, what.idioms, machine_for(what.hardware), tuple(jitter))
    return digest((_code(), parts))


@cache
def _code() -> str:
    """Return the digest of the code and data that results follow from."""
    found = hashlib.sha256()
    for part in CODE:
        path = PACKAGE / part
        files = [path] if path.is_file() else sorted([*path.rglob("*.py"), *path.rglob("*.csv")])
        for file in files:
            found.update(file.name.encode())
            found.update(file.read_bytes())
    return found.hexdigest()


def _read(key: str, runs: int) -> tuple[float, ...] | None:
    """Return what is remembered; None if nothing is, or not that."""
    try:
        held = json.loads((folder() / f"{key}.json").read_text(encoding="utf-8"))
        cycles = tuple(float(run) for run in held["cycles"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    sound = held.get("key") == key and len(cycles) == runs and all(0 < run < 1e9 for run in cycles)
    return cycles if sound else None


def _write(key: str, runs: tuple[float, ...]) -> None:
    """Remember, all or nothing; a folder that cannot be written to is no fault."""
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder(), prefix=".new-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"key": key, "cycles": list(runs)}, file)
            Path(name).replace(folder() / f"{key}.json")
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
