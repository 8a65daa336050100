"""Every shipped spec for every target: spills, compile time, peak memory.

`python -m benchmarks.matrix` compiles what `benchmarks/matrix.csv` lacks, each in a process of its
own, and writes a row at once, so that it can be interrupted; names of specs may follow.
`--page` writes docs/matrix.md from the rows.

Seconds are of this machine and include the start of Python and the import of torch and Triton.
"""

from __future__ import annotations

import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from flash4gen.diagnostics import Findings
from flash4gen.driver import check_spec, plan_spec
from flash4gen.ir import library

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
        seconds: of a whole process.
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

    start = time.perf_counter()
    plans, problems = plan_spec(check_spec(library.spec_path(spec)), [target])
    plan = next((plan for plan in plans if plan.attention.name == attention), None)
    family, spills, loop_spills, reason = "", 0, 0, ""
    if plan is None:
        reason = next(f"{one.code}: {one.message}" for one in problems)
    else:
        findings = Findings()
        with tempfile.TemporaryDirectory() as folder:
            built = build_plan(plan, Run(Path(folder), (), lambda _: None), Path(folder), findings)
        reason = next((one.message for one in findings.in_order()), "")
        family = plan.choice.schedule.family.value
        if built is not None:
            family = built.plan.choice.schedule.family.value
            facts = built.artefact.facts
            spills, loop_spills = facts.spill_bytes, facts.loop_spills
            if spills and not reason:
                reason = f"outside of loops but for {loop_spills} instructions"
    # The assembler is a process of its own.
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = max(resource.getrusage(who).ru_maxrss for who in whose)
    took = time.perf_counter() - start
    return Compiled(
        spec, attention, target, family, spills, loop_spills, took, used // 1024, reason
    )


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
    """Compile what is not measured yet; of the specs in ``only``, if there are any."""
    wanted = set(only)
    done = {(row.attention, row.target) for row in read_rows()}
    for job in jobs():
        if job[1:] in done or (wanted and job[0] not in wanted):
            continue
        command = [sys.executable, "-m", "benchmarks.matrix", "--one", *job]
        start = time.perf_counter()
        ended = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(ended.stdout.splitlines()[-1])
        row["seconds"] = round(time.perf_counter() - start, 1)
        new = not ROWS.is_file()
        with ROWS.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Compiled)])
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(*job, row["family"], row["spills"], row["seconds"], flush=True)


def page(rows: list[Compiled]) -> str:
    """Return docs/matrix.md."""
    lines = [
        "# Every shipped spec for every target",
        "",
        "Written by `python -m benchmarks.matrix --page` from benchmarks/matrix.csv, not by hand.",
        "Each compile had a process of its own; seconds include the import of torch and Triton.",
        "",
        f"{len(rows)} compiles, {sum(row.seconds for row in rows) / 60:.0f} minutes together, "
        f"at most {max((row.megabytes for row in rows), default=0)} MB.",
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
    """Run one compile, all that are missing, or write the page."""
    if arguments[:1] == ["--one"]:
        print(json.dumps(asdict(compiled(*arguments[1:4]))))
    elif arguments == ["--page"]:
        PAGE.write_text(page(read_rows()), encoding="utf-8")
    else:
        measure(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
