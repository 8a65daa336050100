"""Random specs, each compiled for two targets: what became of them, kept row by row.

``python -m tests.driver.differential FIRST LAST`` runs the seeds that ``differential.csv`` lacks,
those of portable kernels first, and writes each row at once, so that it can be interrupted.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
import time
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from tests.driver.random_specs import FAMILIES, random_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        seconds: that this took on the machine it ran on.
    """

    seed: int
    target: str
    outcome: str
    note: str = ""
    seconds: float = 0.0


def outcomes(seed: int, folder: Path) -> Iterator[Row]:
    """Compile a spec for its two targets and run both kernels; yield what becomes of each."""
    from flash4gen.diagnostics import Findings
    from flash4gen.diagnostics.text import render_text
    from flash4gen.driver import check_spec, plan_spec
    from flash4gen.driver.build import Run, build_plan
    from tests.support import failures

    made = random_spec(seed)
    spec = folder / "tiny.attn"
    spec.write_text(made.text, encoding="utf-8")
    checked = check_spec(spec)
    assert render_text(checked.diagnostics) or checked.ok
    if not checked.ok:
        yield Row(seed, "", str(checked.diagnostics[0].code))
    for target in made.targets if checked.ok else ():
        start = time.perf_counter()
        plans, problems = plan_spec(checked, [target])
        if not plans:
            yield Row(seed, target, str(problems[0].code))
        for plan in plans:
            findings = Findings()
            built = build_plan(plan, Run(folder, (), lambda _: None), folder / target, findings)
            if built is None:
                outcome, wrong = "failed", [render_text(findings.in_order())]
            else:
                wrong = list(failures(built))
                outcome = "failed" if wrong else built.plan.choice.schedule.family.value
            took = round(time.perf_counter() - start, 1)
            yield Row(seed, target, outcome, wrong[0] if wrong else "", took)


def read_rows(path: Path = ROWS) -> list[Row]:
    """Return what is recorded, nothing if there is no record."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(
                seed=int(row["seed"]),
                target=row["target"],
                outcome=row["outcome"],
                note=row["note"],
                seconds=float(row["seconds"]),
            )
            for row in csv.DictReader(file)
        ]


def record(first: int, last: int, path: Path = ROWS) -> None:
    """Run the seeds from ``first`` to before ``last`` that are not recorded."""
    done = {row.seed for row in read_rows(path)}
    missing = [seed for seed in range(first, last) if seed not in done]
    missing.sort(key=lambda seed: not set(FAMILIES).isdisjoint(random_spec(seed).targets))
    for seed in missing:
        with tempfile.TemporaryDirectory() as folder:
            rows = list(outcomes(seed, Path(folder)))
        new = not path.is_file()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow([field.name for field in fields(Row)])
            writer.writerows(map(astuple, rows))
        for row in rows:
            print(*astuple(row), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    record(int(sys.argv[1]), int(sys.argv[2]))
