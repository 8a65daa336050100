"""Searches the tensor-memory plan of every target and width, and writes ``winners.csv``.

``python -m benchmarks.plans`` prints the table; ``--write`` replaces the file that compiles read.
A minute or two. Cycles are modelled.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from io import StringIO
from statistics import fmean

from flash4gen.ir import library
from flash4gen.ir.expr import SCORE, Apply, Literal, Op
from flash4gen.schedule.blackwell.model import TensorPlan
from flash4gen.schedule.blackwell.pace import SHAKEN, kernel, steady
from flash4gen.schedule.blackwell.published import dense
from flash4gen.schedule.blackwell.resolve import resolve
from flash4gen.schedule.blackwell.rules import broken
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.blackwell.winners import FILE, LEAST_GAIN, Key, Winner

TARGETS = ("b200", "b300")
WIDTHS = ((16, 16), (32, 32), (64, 64), (128, 128), (192, 128))
PLANS = (TensorPlan.P_IN_S, TensorPlan.SHARED_S, TensorPlan.DISJOINT)
COLUMNS = (*Key._fields, *Winner._fields)


def search(target: str, head_dim: int, value_dim: int, *, tanh: bool) -> tuple[Key, Winner]:
    """Return the fastest plan, latencies shaken."""
    hardware = library.target(target)
    what = dense(head_dim, value_dim, 16, 16, causal=False)
    if tanh:
        capped = Apply(Op.TANH, (Apply(Op.DIV, (SCORE, Literal(50.0))),))
        what = replace(what, score=Apply(Op.MUL, (Literal(50.0), capped)))
    known = traits(what)
    runs: dict[TensorPlan, tuple[float, ...]] = {}
    for plan in PLANS:
        schedule = resolve(known, hardware, {"plan": plan})
        if not broken(schedule, hardware, known):
            runs[plan] = steady(kernel(schedule, what, hardware), SHAKEN)
    fa4 = fmean(runs[TensorPlan.P_IN_S])
    best = min(runs, key=lambda plan: fmean(runs[plan]))
    if fa4 / fmean(runs[best]) < LEAST_GAIN:
        best = TensorPlan.P_IN_S
    own = runs[best]
    key = Key(hardware.capability, known.head_pad, known.value_pad, known.tanh)
    return key, Winner(best, fmean(own), min(own), max(own), fa4)


def table() -> str:
    """Return the file's text."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for target in TARGETS:
        for widths in WIDTHS:
            for tanh in (False, True):
                key, found = search(target, *widths, tanh=tanh)
                numbers = (f"{value:.0f}" for value in found[1:])
                writer.writerow((*key[:3], int(key.tanh), found.plan, *numbers))
    return out.getvalue()


def main() -> None:
    text = table()
    print(text, end="")
    if "--write" in sys.argv[1:]:
        FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
