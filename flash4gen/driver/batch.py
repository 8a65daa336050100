"""Many specs for many targets: jobs in processes of their own, each to its own outcome.

A job is one spec for one target. What is fresh is skipped, and fresh is what can be shown to be:
texts and digests are compared, and whatever cannot be read or compared is compiled. A job that
fails, raises or takes its process down leaves the others alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.collect import Findings
from flash4gen.diagnostics.model import Label
from flash4gen.driver.model import StageError, emitted_for, succeeded
from flash4gen.driver.plan import check_spec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.driver.model import Checked, CompileResult, Progress
    from flash4gen.ir.model import Model
    from flash4gen.ir.nodes import Attention
    from flash4gen.source import Span


class Status(StrEnum):
    """What became of a job."""

    COMPILED = "compiled"
    FRESH = "fresh"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """One spec for one target."""

    spec: Path
    target: str

    @property
    def subject(self) -> str:
        """What progress lines call it."""
        return f"{self.target}/{self.spec.stem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What holds for all jobs: as for ``compile_spec``, and whether to compile what is fresh.

    A search is made for what is fresh, too.
    """

    out: Path
    validate: bool
    emit: tuple[str, ...] = ()
    template_dirs: tuple[Path, ...] = ()
    mutate: bool = False
    force: bool = False
    search: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a job, and what was found.

    ``fault`` is an error of ours or of the system, in words. ``target`` is empty for a spec that
    never became a job.
    """

    spec: Path
    target: str
    status: Status
    seconds: float = 0.0
    files: tuple[Path, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    fault: str = ""


def jobs_of(
    paths: Iterable[Path], targets: Sequence[str]
) -> tuple[tuple[Job, ...], tuple[Outcome, ...]]:
    """Return a job for every spec and target, and an outcome for every spec that has an error.

    Files that only hold functions or hardware make no job.
    """
    jobs: list[Job] = []
    failed: list[Outcome] = []
    seen: dict[str, Span | None] = {}
    for path in paths:
        checked = check_spec(path)
        problems = (*checked.diagnostics, *_problems(checked, targets, seen))
        if not succeeded(problems):
            outcome = Outcome(spec=path, target="", status=Status.FAILED, diagnostics=problems)
            failed.append(outcome)
        else:
            jobs += [Job(path, name) for name in targets or _targets(checked)]
    return tuple(jobs), tuple(failed)


def _targets(checked: Checked) -> tuple[str, ...]:
    items: tuple[Attention | Model, ...] = (*checked.attentions, *checked.models)
    return tuple(dict.fromkeys(name for item in items for name in item.targets))


def _problems(
    checked: Checked, targets: Sequence[str], seen: dict[str, Span | None]
) -> tuple[Diagnostic, ...]:
    """Return why a spec cannot be compiled beside the others."""
    findings = Findings()
    items: tuple[Attention | Model, ...] = (*checked.attentions, *checked.models)
    for item in items:
        first = seen.setdefault(item.name, item.span)
        if first is not item.span:
            findings.error(
                Code.DUPLICATE,
                f"`{item.name}` is defined in two specs",
                item.span,
                also=[Label(first, "first defined here")] if first else [],
                notes=["both would be written to the same file"],
            )
    if items and not targets and not _targets(checked):
        findings.error(
            Code.MISSING_FIELD,
            f"{checked.path} names no target",
            items[0].span,
            helps=[f"write `target = {checked.known_targets[0]}`, or pass --target"],
        )
    return findings.in_order()


def run_job(job: Job, order: Order, progress: Progress) -> Outcome:
    """Compile a job unless it is fresh. Nothing is raised but what ends the process."""
    start = time.perf_counter()
    try:
        outcome = _run(job, order, progress)
    except StageError as error:
        cause = error.__cause__ or error
        fault = f"{error}: {type(cause).__name__}: {cause}"
        outcome = Outcome(spec=job.spec, target=job.target, status=Status.FAILED, fault=fault)
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
        outcome = Outcome(spec=job.spec, target=job.target, status=Status.FAILED, fault=fault)
    return replace(outcome, seconds=time.perf_counter() - start)


def _run(job: Job, order: Order, progress: Progress) -> Outcome:
    from flash4gen.driver.run import compile_spec

    if not (order.force or order.search) and _is_fresh(job, order):
        return Outcome(spec=job.spec, target=job.target, status=Status.FRESH)
    result = compile_spec(
        job.spec,
        targets=(job.target,),
        out=order.out,
        validate=order.validate,
        emit=order.emit,
        template_dirs=order.template_dirs,
        progress=progress,
        mutate=order.mutate,
        search=order.search,
    )
    return Outcome(
        spec=job.spec,
        target=job.target,
        status=Status.COMPILED if result.ok else Status.FAILED,
        files=_files(result) if result.ok else (),
        diagnostics=result.diagnostics,
    )


def _files(result: CompileResult) -> tuple[Path, ...]:
    modules = tuple(module.path for module in result.modules)
    return (*modules, *(index.path for index in result.indexes))


def _is_fresh(job: Job, order: Order) -> bool:
    """Whether all outputs of a job are on disk and are what a compile would write now."""
    from flash4gen.driver.plan import plan_spec
    from flash4gen.driver.run import check_fresh

    try:
        plans, _ = plan_spec(check_spec(job.spec), (job.target,))
        folder = order.out / job.target
        emitted = [
            folder / f"{plan.attention.name}.{kind}"
            for plan in plans
            for kind in emitted_for(plan.hardware, order.emit)
        ]
        if not plans or not all(path.is_file() for path in emitted):
            return False
        found = check_fresh(
            job.spec,
            targets=(job.target,),
            out=order.out,
            template_dirs=order.template_dirs,
            certificates=order.validate,
        )
    except Exception:
        return False
    return succeeded(found)
