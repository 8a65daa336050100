"""Every shipped spec for every target: spills, compile time, peak memory.

`python -m benchmarks.matrix` compiles what `benchmarks/matrix.csv` lacks, or has of another text
than today's, each in a process of its own, and writes each row at once, so that it can be
interrupted. Names of specs and targets may follow: those alone. `--page` writes docs/matrix.md from
the rows. `python -m benchmarks.models` adds rows too, of what it compiles.

Seconds are processor time, which does not depend on what else the machine does. The processes are
forked from one that has imported torch and Triton and knows Triton's digest, so that no time is
spent on that; their memory counts it, as any compile needs it. Triton's cache is empty at first.
Targets of one compute capability often have the same kernel, which the cache has from the first of
them: the rows of the others say so.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.records import read_record, write_record
from flash4gen.diagnostics import Findings
from flash4gen.driver import check_spec, plan_spec
from flash4gen.ir import library
from flash4gen.ir.hardware import Feature

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from multiprocessing.pool import Pool

    from flash4gen.diagnostics import Diagnostic
    from flash4gen.driver.build import Built

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
        text: first digits of the digest of the module that was planned; empty where none was.
        kernel: first digits of Triton's key of the first kernel that was compiled: of its text, its
            options, and the compute capability.
        shared: the target of the row whose kernels these are; nothing was compiled for this one,
            so that its seconds and megabytes tell nothing of a compile.
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
    text: str = ""
    kernel: str = ""
    shared: str = ""


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


def compiled(spec: str, attention: str, target: str, known: str | None = None) -> Compiled | None:
    """Compile one attention in this process; None if its text is the one that is known."""
    if known is not None and planned_text(spec, attention, target) == known:
        return None
    with tempfile.TemporaryDirectory() as folder:
        return built_row(spec, attention, target, Path(folder))[0]


def planned_text(spec: str, attention: str, target: str) -> str:
    """Return the first digits of the digest of a module; nothing where it is refused."""
    from flash4gen.driver.build import Run, render_plan

    plans, _ = plan_spec(check_spec(library.spec_path(spec)), [target])
    for plan in plans:
        if plan.attention.name == attention:
            return render_plan(plan, Run(Path(), (), lambda _: None)).provenance.text[:16]
    return ""


def built_row(
    spec: str, attention: str, target: str, folder: Path
) -> tuple[Compiled, Built | None]:
    """Compile one attention in this process, into a folder; return what came out, if anything."""
    from flash4gen.driver.build import Run, build_plan, render_plan

    plans, problems = plan_spec(check_spec(library.spec_path(spec)), [target])
    plan = next((plan for plan in plans if plan.attention.name == attention), None)
    row = Compiled(spec, attention, target, "", 0, 0, 0.0, 0, "")
    built = None
    if plan is None:
        row = replace(row, reason=next(f"{one.code}: {one.message}" for one in problems))
    else:
        findings, run = Findings(), Run(folder, (), lambda _: None)
        row = replace(row, text=render_plan(plan, run).provenance.text[:16])
        with _compiles() as seen:
            built = build_plan(plan, run, folder, findings)
        row = replace(
            row,
            family=(built.plan if built else plan).choice.schedule.family.value,
            reason=next((_why(one) for one in findings.in_order()), ""),
            kernel=seen[0][0] if seen else "",
            shared="?" if seen and all(known for _, known in seen) else "",
        )
    if built is not None:
        facts = built.artefact.facts
        row = replace(row, spills=facts.spill_bytes, loop_spills=facts.loop_spills)
        if row.spills and not row.reason:
            inside = f" but for {facts.loop_spills} instructions" if facts.loop_spills else ""
            row = replace(row, reason=f"outside of loops{inside}")
    took, used = processor_use()
    return replace(row, seconds=took, megabytes=used), built


@contextmanager
def _compiles() -> Iterator[list[tuple[str, bool]]]:
    """Collect the keys of kernels that Triton is asked for, and whether it had them already."""
    from triton import knobs

    seen: list[tuple[str, bool]] = []

    def listen(*, metadata: dict[str, Any], cache_hit: bool, **_: Any) -> None:
        seen.append((metadata["hash"][:16], cache_hit))

    knobs.compilation.listener = listen
    try:
        yield seen
    finally:
        knobs.compilation.listener = None


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
    return read_record(Compiled, path)


def add_row(row: Compiled, path: Path = ROWS) -> Compiled:
    """Put a row into the record, in place of an earlier one; return it with what it shares."""
    rows = {(one.attention, one.target): one for one in read_rows(path)}
    if row.shared:
        alike = (one for one in rows.values() if one.kernel == row.kernel and not one.shared)
        row = replace(row, shared=next((one.target for one in alike), "another"))
    rows[row.attention, row.target] = row
    write_record(Compiled, rows.values(), path)
    return row


@contextmanager
def processes() -> Iterator[Pool]:
    """Give a pool in which each call has a process of its own, and an empty cache all share."""
    from triton.runtime.cache import triton_key

    import flash4gen.build.compile  # noqa: F401 - what children need is imported once

    triton_key()  # a digest of all of Triton, remembered
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TRITON_CACHE_DIR"] = cache
        with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
            yield pool


def is_wanted(name: str, target: str, only: Iterable[str]) -> bool:
    """Whether some names of specs and targets, if there are any, name these."""
    targets = set(library.target_names())
    wanted = {one for one in only if one in targets}, {one for one in only if one not in targets}
    return all(not names or one in names for one, names in zip((target, name), wanted, strict=True))


def measure(only: Iterable[str]) -> None:
    """Compile what is not measured yet; of the specs and targets in ``only``, if it names any."""
    known = {(row.attention, row.target): row.text for row in read_rows()}
    wanted = [job for job in jobs() if is_wanted(job[0], job[2], only)]
    # Kernels of the portable family take a tenth of the time: most rows are there soon. Then by
    # compute capability, as kernels that are the same are compiled once in a run.
    wanted.sort(key=lambda job: Feature.TCGEN05 in library.target(job[2]).features)
    with processes() as pool:
        for job in wanted:
            row = pool.apply(compiled, (*job, known.get(job[1:])))
            if row is not None:
                add_row(row)
                print(*job, flush=True)


def page(rows: list[Compiled]) -> str:
    """Return docs/matrix.md."""
    own = [row for row in rows if not row.shared]
    lines = [
        "# Every shipped spec for every target",
        "",
        "Written by `python -m benchmarks.matrix --page` from benchmarks/matrix.csv, not by hand.",
        "Each compile had a process of its own. Seconds are processor time without the import of",
        "torch and Triton, and with the compiles of schedules that were tried before and spilled.",
        "Two targets of one compute capability may have the same kernel, by its text and options.",
        "It was compiled for the one that the other one's row names.",
        "",
        f"{len(own)} compiles, {sum(row.seconds for row in own) / 60:.0f} minutes together, "
        f"at most {max((row.megabytes for row in own), default=0)} MB; {len(rows) - len(own)} rows "
        f"share a kernel. {sum(not row.spills for row in rows)} of {len(rows)} are without spills. "
        "What is not listed has not been compiled for this page.",
        "",
        "| spec | target | family | spill bytes | seconds | MB | why |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += map(_line, sorted(rows, key=lambda row: (row.spec, row.attention, row.target)))
    return "\n".join(lines) + "\n"


def _line(row: Compiled) -> str:
    cost = f"as {row.shared} |" if row.shared else f"{row.seconds:.1f} | {row.megabytes}"
    return (
        f"| {row.attention} | {row.target} | {row.family or 'refused'} | {row.spills} | {cost} "
        f"| {row.reason} |"
    )


def main(arguments: list[str]) -> None:
    """Compile what is missing, or write the page."""
    if arguments == ["--page"]:
        PAGE.write_text(page(read_rows()), encoding="utf-8")
    else:
        measure(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
