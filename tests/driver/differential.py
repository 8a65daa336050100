"""Random specs, each compiled for two targets: what became of them, kept row by row.

``python -m tests.driver.differential FIRST LAST`` runs the seeds that ``differential.csv`` lacks,
or has of another text than today's. The file is written after each seed, so that it can be
interrupted.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.records import read_record, write_record
from tests.driver.random_specs import random_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.driver import Plan

ROWS = Path(__file__).with_name("differential.csv")


@dataclass(frozen=True, slots=True)
class Row:
    """A random spec on one of its targets.

    Attributes:
        seed: of the spec.
        target: name of the hardware item; empty where the spec itself is refused.
        outcome: the kernel's family where it agrees with the reference; the code of the refusal;
            or ``failed``.
        note: why it failed.
        seconds: of processor time, of this machine.
        text: first digits of the digest of the module that was planned; empty where none was. If a
            kernel spills, one with another schedule is compiled in its place.
    """

    seed: int
    target: str
    outcome: str
    note: str = ""
    seconds: float = 0.0
    text: str = ""


def planned(seed: int, folder: Path) -> Iterator[tuple[Row, Plan | None]]:
    """Yield the row of each target as far as it is known before the compile, and what to compile.

    The outcome is missing where there is something to compile.
    """
    from flash4gen.diagnostics.text import render_text
    from flash4gen.driver import check_spec, plan_spec
    from tests.support import text_digest

    made = random_spec(seed)
    spec = folder / "tiny.attn"
    spec.write_text(made.text, encoding="utf-8")
    checked = check_spec(spec)
    assert render_text(checked.diagnostics) or checked.ok
    if not checked.ok:
        yield Row(seed, "", str(checked.diagnostics[0].code)), None
    for target in made.targets if checked.ok else ():
        plans, problems = plan_spec(checked, [target])
        if not plans:
            yield Row(seed, target, str(problems[0].code)), None
        for plan in plans:
            yield Row(seed, target, "", text=text_digest(plan, folder)), plan


def outcomes(seed: int, folder: Path) -> Iterator[Row]:
    """Compile a spec for its two targets and run both kernels; yield what becomes of each."""
    from flash4gen.diagnostics import Findings
    from flash4gen.diagnostics.text import render_text
    from flash4gen.driver.build import Run, build_plan
    from tests.support import failures

    for row, plan in planned(seed, folder):
        if plan is None:
            yield row
            continue
        start = _processor_seconds()
        findings = Findings()
        built = build_plan(
            plan, Run(folder, (), lambda _: None, listed=False), folder / row.target, findings
        )
        if built is None:
            outcome, wrong = "failed", [render_text(findings.in_order())]
        else:
            wrong = list(failures(built))
            outcome = "failed" if wrong else built.plan.choice.schedule.family.value
        took = round(_processor_seconds() - start, 1)
        yield replace(row, outcome=outcome, note=wrong[0] if wrong else "", seconds=took)


def _processor_seconds() -> float:
    """Return what this process and its assemblers have used."""
    return sum(os.times()[:4])


def read_rows(path: Path = ROWS) -> list[Row]:
    """Return what is recorded, nothing if there is no record."""
    return read_record(Row, path)


def is_fresh(rows: list[Row], folder: Path) -> bool:
    """Whether what is recorded of a seed is of the modules of today, and did not fail."""
    if not rows or any(row.outcome == "failed" for row in rows):
        return False
    today = [(row.target, row.text, row.outcome) for row, _ in planned(rows[0].seed, folder)]
    return today == [(row.target, row.text, "" if row.text else row.outcome) for row in rows]


def record(first: int, last: int, path: Path = ROWS) -> None:
    """Run the seeds from ``first`` to before ``last`` that are not recorded of today's modules."""
    rows: dict[int, list[Row]] = {seed: [] for seed in range(first, last)}
    for row in read_rows(path):
        rows.setdefault(row.seed, []).append(row)
    import flash4gen.build.compile  # noqa: F401 - what children need is imported once

    # What a compile leaves in memory goes with its process, now and then.
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=20) as pool:
        for seed in range(first, last):
            made = pool.apply(_remade, (rows[seed], seed))
            if made is None:
                continue
            rows[seed] = made
            write_record(Row, [row for of_seed in sorted(rows) for row in rows[of_seed]], path)
            for row in made:
                print(*astuple(row), flush=True)


def _remade(known: list[Row], seed: int) -> list[Row] | None:
    """Return the rows of a seed, None where those that are known are of today."""
    with tempfile.TemporaryDirectory() as folder:
        return None if is_fresh(known, Path(folder)) else list(outcomes(seed, Path(folder)))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    record(int(sys.argv[1]), int(sys.argv[2]))
