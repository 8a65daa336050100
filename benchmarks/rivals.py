"""Searches beside every default for what one choice, or two, would gain; writes ``rivals.csv``.

``python -m benchmarks.rivals`` prints the table; ``--write`` replaces the file. A minute and a half
of CPU. A rival differs from the default in how work tiles come to SMs, in columns in software, in
the early release of weights, or in the first two. Its gain is in the modelled cycles of a launch
with 64 heads or more, at three lengths. What stands against a rival, ``rivals`` says.
"""

from __future__ import annotations

import csv
import sys
from io import StringIO
from statistics import fmean
from typing import TYPE_CHECKING

from flash4gen.ir import library
from flash4gen.schedule.blackwell.model import Dispatch
from flash4gen.schedule.blackwell.pace import SHAKEN, Jitter, kernel, launched, pace
from flash4gen.schedule.blackwell.published import dense
from flash4gen.schedule.blackwell.resolve import resolve
from flash4gen.schedule.blackwell.rivals import FILE, LENGTHS, Rival
from flash4gen.schedule.blackwell.rules import broken
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.blackwell.works import Shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.clock.grid import TileCycles
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.blackwell.model import BlackwellSchedule

TARGETS = ("b200", "b300")
WIDTHS = ((64, 64), (128, 128), (192, 128))
HEADS, KV_HEADS = 32, 8
TOKENS = 32768
SEEDS = SHAKEN.seeds[:3]
COLUMNS = (0, 16, 24, 32, 40)
Change = dict[str, int | str]
CHANGES: tuple[Change, ...] = (
    *(Change(emulated=columns) for columns in COLUMNS),
    *(Change(dispatch=dispatch) for dispatch in Dispatch),
    Change(early=0),
    *(Change(dispatch=Dispatch.CLC, emulated=columns) for columns in (32, 40)),
)


def search(target: str, head_dim: int, value_dim: int, *, causal: bool) -> Iterator[Rival]:
    """Yield every rival of the default that keeps the rules, latencies shaken."""
    hardware = library.target(target)
    what = dense(head_dim, value_dim, HEADS, KV_HEADS, causal=causal)
    known = traits(what)
    default = resolve(known, hardware, {})
    mine = _cycles(default, what, hardware)
    for change in CHANGES:
        other = resolve(known, hardware, change)
        if other == default or broken(other, hardware, known):
            continue
        its = _cycles(other, what, hardware)
        short, middle, long = (fmean(a) / fmean(b) for a, b in zip(mine, its, strict=True))
        least = min(min(a) / max(b) for a, b in zip(mine, its, strict=True))
        text = " ".join(f"{name}={value}" for name, value in change.items())
        yield Rival(target, head_dim, value_dim, causal, text, short, middle, long, least)


_PACES: dict[tuple[BlackwellSchedule, bool], list[TileCycles]] = {}


def _cycles(
    schedule: BlackwellSchedule, what: Attention, hardware: Hardware
) -> list[tuple[float, ...]]:
    """Return the cycles of a launch of each length, a run for each seed."""
    timed = kernel(schedule, what, hardware)
    key = (schedule, timed.unmasked)
    if key not in _PACES:
        _PACES[key] = [pace(timed, Jitter(SHAKEN.share, (seed,))) for seed in SEEDS]
    return [
        tuple(launched(timed, shape(length), cycles).cycles for cycles in _PACES[key])
        for length in LENGTHS
    ]


def shape(length: int) -> Shape:
    """Return a launch of sequences of a length, as many tokens for each."""
    batch = max(2, TOKENS // length)
    return Shape(batch=batch, heads=HEADS, kv_heads=KV_HEADS, queries=length, keys=length)


def table() -> str:
    """Return the file's text."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Rival._fields)
    for target in TARGETS:
        for widths in WIDTHS:
            for causal in (True, False):
                for one in search(target, *widths, causal=causal):
                    gains = (f"{gain:.3f}" for gain in one[5:])
                    writer.writerow((*one[:3], int(causal), one.change, *gains))
    return out.getvalue()


def main() -> None:
    text = table()
    print(text, end="")
    if "--write" in sys.argv[1:]:
        FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
