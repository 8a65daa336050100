"""Every shipped spec for every target: spills, compile time, peak memory.

`python -m benchmarks.matrix` compiles what `benchmarks/matrix.csv` lacks, each in a process of its
own, and writes a row at once, so that it can be interrupted. Names of specs and targets may follow:
those alone. `--page` writes docs/matrix.md from the rows.

Seconds are processor time, which does not depend on what else the machine does. The processes are
forked from one that has imported torch and Triton, so that no time is spent on that; their memory
counts it, as any compile needs it.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import resource
import sys
import tempfile
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from flash4gen.diagnostics import Findings
from flash4gen.driver import check_spec, plan_spec
from flash4gen.ir import library
from flash4gen.ir.hardware import Feature

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed import DataclassInstance

    from flash4gen.diagnostics import Diagnostic

ROOT = Path(__file__).parent.parent
ROWS = Path(__file__).with_name("matrix.csv")
PAGE = ROOT / "docs" / "matrix.md"


@dataclass(frozen=True, slots=True)
class Compiled:
    """One attention for one target.

    Attributes:
        spec: name of the shipped spec or model.
        attention: name of the variant in it.
        target: name of the target.
        family: of the kernel; empty where it was refused.
        spills: bytes per thread; in warp-specialised kernels, of which ``loop_spills`` instructions
            stand in loops over keys.
        loop_spills: instructions.
        seconds: of processor time, from the spec's text to the binary.
        megabytes: peak resident memory of it or of the assembler, whichever needs more.
        reason: why it was refused, or why it spills.
    """

    spec: str
    attention: str
    target: str
    family: str
    spills: int
    loop_spills: int
    seconds: float
    megabytes: int
    reason: str


def jobs() -> Iterator[tuple[str, str, str]]:
    """Yield (spec, attention, target), each attention once."""
    seen: set[str] = set()
    for name in (*library.spec_names(), *library.model_names()):
        checked = check_spec(library.spec_path(name))
        layers = [one for model in checked.models for one in model.attentions]
        for attention in (*checked.attentions, *layers):
            if attention.name not in seen:
                seen.add(attention.name)
                yield from ((name, attention.name, target) for target in library.target_names())


def compiled(spec: str, attention: str, target: str) -> Compiled:
    """Compile one attention in this process."""
    from flash4gen.driver.build import Run, build_plan

    os.environ["TRITON_ALWAYS_COMPILE"] = "1"  # what lies in a cache costs nothing
    plans, problems = plan_spec(check_spec(library.spec_path(spec)), [target])
    plan = next((plan for plan in plans if plan.attention.name == attention), None)
    family, spills, loop_spills, reason = "", 0, 0, ""
    if plan is None:
        reason = next(f"{one.code}: {one.message}" for one in problems)
    else:
        findings = Findings()
        with tempfile.TemporaryDirectory() as folder:
            built = build_plan(plan, Run(Path(folder), (), lambda _: None), Path(folder), findings)
        reason = next((_why(one) for one in findings.in_order()), "")
        family = plan.choice.schedule.family.value
        if built is not None:
            family = built.plan.choice.schedule.family.value
            facts = built.artefact.facts
            spills, loop_spills = facts.spill_bytes, facts.loop_spills
            if spills and not reason:
                reason = f"outside of loops but for {loop_spills} instructions"
    took, used = processor_use()
    return Compiled(spec, attention, target, family, spills, loop_spills, took, used, reason)


def _why(finding: Diagnostic) -> str:
    return "; ".join((finding.message, *finding.notes))


def processor_use() -> tuple[float, int]:
    """Return the seconds of processor time and the megabytes that this process has used.

    The assembler is a process of its own: its seconds count, and its memory where it needs more.
    """
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return round(seconds, 1), max(usage.ru_maxrss for usage in usages) // 1024


def read_rows(path: Path = ROWS) -> list[Compiled]:
    """Return the rows that were measured."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [_row(row) for row in csv.DictReader(file)]


def _row(row: dict[str, str]) -> Compiled:
    return Compiled(
        spec=row["spec"],
        attention=row["attention"],
        target=row["target"],
        family=row["family"],
        spills=int(row["spills"]),
        loop_spills=int(row["loop_spills"]),
        seconds=float(row["seconds"]),
        megabytes=int(row["megabytes"]),
        reason=row["reason"],
    )


def measure(only: Iterable[str]) -> None:
    """Compile what is not measured yet; of the specs and targets in ``only``, if it names any."""
    import flash4gen.build.compile  # noqa: F401 - what children need is imported once

    wanted, targets = set(only), set(library.target_names())
    done = {(row.attention, row.target) for row in read_rows()}
    missing = [
        job
        for job in jobs()
        if job[1:] not in done
        and (not wanted & targets or job[2] in wanted)
        and (not wanted - targets or job[0] in wanted)
    ]
    # Kernels of the portable family take a tenth of the time: most rows are there soon.
    missing.sort(key=lambda job: Feature.TCGEN05 in library.target(job[2]).features)
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        for job in missing:
            append_row(pool.apply(compiled, job), ROWS)
            print(*job, flush=True)


def append_row(row: DataclassInstance, path: Path) -> None:
    """Add a row to a file, and the names of its columns if it is the first."""
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow([field.name for field in fields(row)])
        writer.writerow(astuple(row))


def page(rows: list[Compiled]) -> str:
    """Return docs/matrix.md."""
    lines = [
        "# Every shipped spec for every target",
        "",
        "Written by `python -m benchmarks.matrix --page` from benchmarks/matrix.csv, not by hand.",
        "Each compile had a process of its own. Seconds are processor time without the import of",
        "torch and Triton, and with the compiles of schedules that were tried before and spilled.",
        "",
        f"{len(rows)} compiles, {sum(row.seconds for row in rows) / 60:.0f} minutes together, "
        f"at most {max((row.megabytes for row in rows), default=0)} MB. "
        f"{sum(not row.spills for row in rows)} are without spills. "
        "What is not listed has not been compiled for this page.",
        "",
        "| spec | target | family | spill bytes | seconds | MB | why |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.attention} | {row.target} | {row.family or 'refused'} | {row.spills} "
        f"| {row.seconds:.1f} | {row.megabytes} | {row.reason} |"
        for row in sorted(rows, key=lambda row: (row.spec, row.attention, row.target))
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Compile what is missing, or write the page."""
    if arguments == ["--page"]:
        PAGE.write_text(page(read_rows()), encoding="utf-8")
    else:
        measure(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
