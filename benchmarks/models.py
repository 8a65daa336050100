"""Attentions of real models, each proven for three targets: the rungs of their certificates.

`python -m benchmarks.models` climbs the ladder for what `benchmarks/models.csv` lacks, each in a
process of its own, and writes a row at once, so that it can be interrupted. Names of models and
targets may follow: those alone. `--page` writes docs/models.md from the rows.
"""

from __future__ import annotations

import csv
import multiprocessing
import sys
import tempfile
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.matrix import append_row, processor_use
from flash4gen.diagnostics import Findings
from flash4gen.driver import check_spec, plan_spec
from flash4gen.ir import library
from flash4gen.validate.certificate import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parent.parent
ROWS = Path(__file__).with_name("models.csv")
PAGE = ROOT / "docs" / "models.md"
TARGETS = ("h100", "mi300x", "b200")
"""The specs of models name no target, so that it is b200; the other two have other matrix units,
wgmma and MFMA. What takes longest comes last."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A model's kind of layer on a target.

    Attributes:
        model: its name.
        attention: the name of its kind of layer.
        target: name of the target.
        family: of the kernel; empty where there is none.
        passed: rungs of the certificate that passed, with spaces between them.
        other: the rest of them, each with what became of it.
        seconds: of processor time.
    """

    model: str
    attention: str
    target: str
    family: str
    passed: str
    other: str
    seconds: float


def jobs() -> Iterator[tuple[str, str, str]]:
    """Yield (model, attention, target) for every kind of layer."""
    for target in TARGETS:
        for name in library.model_names():
            for model in check_spec(library.spec_path(name)).models:
                for attention in model.attentions:
                    yield name, attention.name, target


def proven(name: str, attention: str, target: str) -> Proven:
    """Compile one kind of layer in this process and climb the ladder."""
    from flash4gen.driver.build import Run, build_plan
    from flash4gen.validate import Subject, validate_module

    plans, problems = plan_spec(check_spec(library.spec_path(name)), [target])
    plan = next((plan for plan in plans if plan.attention.name == attention), None)
    if plan is None:
        why = next(f"{one.code}: {one.message}" for one in problems)
        return Proven(name, attention, target, "", "", why, processor_use()[0])
    findings = Findings()
    with tempfile.TemporaryDirectory() as folder:
        built = build_plan(plan, Run(Path(folder), (), lambda _: None), Path(folder), findings)
        if built is None:
            why = next(f"{one.code}: {one.message}" for one in findings.in_order())
            return Proven(name, attention, target, "", "", why, processor_use()[0])
        subject = Subject(
            attention=built.plan.attention,
            hardware=built.plan.hardware,
            choice=built.plan.choice,
            rendered=built.rendered,
            path=built.file,
            artefact=built.artefact,
        )
        rungs = validate_module(subject).rungs
    passed = " ".join(rung.name for rung in rungs if rung.status is Status.PASSED)
    other = "; ".join(f"{it.name}: {it.summary}" for it in rungs if it.status is not Status.PASSED)
    family = built.plan.choice.schedule.family.value
    return Proven(name, attention, target, family, passed, other, processor_use()[0])


def read_rows(path: Path = ROWS) -> list[Proven]:
    """Return the rows that were recorded."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Proven(
                model=row["model"],
                attention=row["attention"],
                target=row["target"],
                family=row["family"],
                passed=row["passed"],
                other=row["other"],
                seconds=float(row["seconds"]),
            )
            for row in csv.DictReader(file)
        ]


def record(only: Iterable[str]) -> None:
    """Prove what is not recorded yet; of the models and targets in ``only``, if it names any."""
    import flash4gen.build.compile  # noqa: F401 - what children need is imported once

    wanted, targets = set(only), set(library.target_names())
    done = {(row.attention, row.target) for row in read_rows()}
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        for job in jobs():
            named = not wanted & targets or job[2] in wanted
            named = named and (not wanted - targets or job[0] in wanted)
            if named and job[1:] not in done:
                done.add(job[1:])
                row = pool.apply(proven, job)
                append_row(row, ROWS)
                print(*astuple(row), flush=True)


def page(rows: list[Proven]) -> str:
    """Return docs/models.md."""
    lines = [
        "# Attentions of real models",
        "",
        "Written by `python -m benchmarks.models --page` from benchmarks/models.csv, not by hand.",
        "Each kind of layer has its real heads and widths. It is compiled for the target, and all",
        "rungs of its certificate that need no GPU are climbed, without mutants, at lengths that",
        "the certificate chooses. Seconds are processor time.",
        "",
        f"{len(rows)} proofs. What is not listed has not been proven for this page.",
        "",
        "| model | kind of layer | target | family | passed | else | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.model} | {row.attention} | {row.target} | {row.family or 'none'} "
        f"| {row.passed} | {row.other} | {row.seconds:.0f} |"
        for row in sorted(rows, key=lambda row: (row.model, row.attention, row.target))
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Prove what is missing, or write the page."""
    if arguments == ["--page"]:
        PAGE.write_text(page(read_rows()), encoding="utf-8")
    else:
        record(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
