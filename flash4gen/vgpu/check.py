"""Executes a TTGIR text with all concurrency checks on and reports what it found."""

from __future__ import annotations

import itertools
import random
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from flash4gen.vgpu.allocation import over_allocations
from flash4gen.vgpu.concurrent.globals import GlobalLog
from flash4gen.vgpu.concurrent.jobs import Policy as Policy
from flash4gen.vgpu.concurrent.machine import FatalError, Machine, Progress, Settings
from flash4gen.vgpu.concurrent.sites import Site
from flash4gen.vgpu.contract import contract
from flash4gen.vgpu.errors import VirtualGpuError
from flash4gen.vgpu.launch import bind_arguments, exact_arithmetic, explain
from flash4gen.vgpu.memory import GlobalMemory
from flash4gen.vgpu.parse import parse_ttgir
from flash4gen.vgpu.parse.tree import Operation
from flash4gen.vgpu.report import Collector, Redundant, Report
from flash4gen.vgpu.reuse import Reuse
from flash4gen.vgpu.split import ctas_of
from flash4gen.vgpu.transpile import Sites, operation_at, transpile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from flash4gen.vgpu.errors import Finding
    from flash4gen.vgpu.parse.tree import Function

_T = TypeVar("_T")

STEP_LIMIT = 1_000_000
# What texts have in common: mutants of a kernel differ from it in one partition, as a rule.
_REUSE = Reuse()
_START = Site(Operation(name="", line=0))


class Order(StrEnum):
    """In which order the programs of a launch run, one after the other; a GPU keeps none."""

    FIRST_TO_LAST = "first to last"
    LAST_TO_FIRST = "last to first"
    SHUFFLED = "shuffled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How launches are checked.

    Attributes:
        policy: the schedule.
        order: of the programs.
        seed: of the random schedule.
        step_limit: operations of memory and synchronisation, and turns of loops, per launch.
    """

    policy: Policy = Policy.IN_ORDER
    order: Order = Order.FIRST_TO_LAST
    seed: int = 0
    step_limit: int = STEP_LIMIT


class _Shape(TypedDict):
    warps: int
    ctas: int
    pair: bool


@dataclass(frozen=True, slots=True)
class CheckedProgram:
    """A TTGIR text made ready for the checked machine."""

    kernel: Function
    run: Callable[..., Any]
    sites: tuple[Site, ...]
    findings: tuple[Finding, ...]
    warps: int
    ctas: int
    pair: bool

    @property
    def shape(self) -> _Shape:
        """What the settings of a run take over."""
        return {"warps": self.warps, "ctas": self.ctas, "pair": self.pair}


@lru_cache(maxsize=16)
def prepare_checked(text: str, *, fused: bool = True) -> CheckedProgram:
    """Parse and transpile a TTGIR text for the checked machine, like `launch.prepare`."""
    module = contract(parse_ttgir(text), _REUSE) if fused else parse_ttgir(text)
    sites = Sites(ctas_of(module), reuse=_REUSE)
    run = transpile(module, sites)
    findings = tuple(over_allocations(module))
    warps = module.attributes.get("ttg.num-warps", 4)
    return CheckedProgram(
        module.kernel,
        run,
        tuple(sites.synchronising),
        findings,
        warps if isinstance(warps, int) else 4,
        ctas_of(module),
        pair=bool(module.attributes.get("ttng.two-ctas", False)),
    )


def check_ttgir(  # noqa: PLR0913 - keywords with defaults
    text: str,
    arguments: Sequence[Any],
    grid: Sequence[int],
    *,
    policy: Policy = Policy.IN_ORDER,
    order: Order = Order.FIRST_TO_LAST,
    seed: int = 0,
    scratch: Tensor | None = None,
    step_limit: int = STEP_LIMIT,
    redundancy: bool = True,
    most: int | None = None,
    fused: bool = True,
    first: bool = False,
) -> Report:
    """Execute a kernel like `run_ttgir`, with all concurrency checks on.

    Args:
        text: the TTGIR of a module with one public function.
        arguments: one value for each argument of that function, as for `run_ttgir`.
        grid: up to three extents.
        policy: the schedule; what the checks say does not depend on it.
        order: of the programs.
        seed: of random choices.
        scratch: a byte tensor of equal parts for the programs, where the kernel needs one.
        step_limit: operations of memory and synchronisation, and turns of loops, in all.
        redundancy: look for redundant synchronisation as well.
        most: execute no more programs than this, the first, the last, and a fixed sample between.
        fused: whether products are fused into sums; see `vgpu.contract`.
        first: end the run with the first finding.

    Returns:
        The findings. One that makes going on senseless ends the run; those before it are kept.

    Raises:
        TtgirSyntaxError: the text is not TTGIR.
    """
    try:
        program = prepare_checked(text, fused=fused)
    except VirtualGpuError as error:
        return Report(findings=(error.finding,), policy=policy, seed=seed)
    collector, progress = Collector(), Progress()
    collector.findings.extend(program.findings)
    sites = program.sites if redundancy else ()
    settings = Settings(
        policy=policy, seed=seed, step_limit=step_limit, sites=sites, first=first, **program.shape
    )
    extents = _extents(grid)
    taken = _programs(extents, most, order, seed)
    with suppress(FatalError), exact_arithmetic():
        _run(program, arguments, extents, scratch, (settings, progress, collector), taken)
    return Report(
        findings=tuple(collector.findings),
        redundant=_redundant(settings.sites, progress),
        policy=policy,
        seed=seed,
        steps=progress.steps,
    )


def sample(order: Sequence[_T], most: int | None) -> list[_T]:
    """Return the first, the last, and as many between as make no more than `most`, in order.

    A single one is the first.
    """
    if most is None or len(order) <= most:
        return list(order)
    if most == 1:
        return [order[0]]
    between = random.Random(len(order)).sample(range(1, len(order) - 1), max(0, most - 2))
    return [order[index] for index in sorted({0, *between, len(order) - 1})]


def _extents(grid: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (*grid, 1, 1, 1)[:3]
    return x, y, z


def _programs(
    grid: tuple[int, int, int], most: int | None, order: Order, seed: int
) -> list[tuple[int, int, int]]:
    """Return the programs to execute, as (x, y, z), in an order."""
    every = itertools.product(*(range(extent) for extent in reversed(grid)))
    taken = [(x, y, z) for z, y, x in sample(list(every), most)]
    if order is Order.LAST_TO_FIRST:
        taken.reverse()
    elif order is Order.SHUFFLED:
        random.Random(seed).shuffle(taken)
    return taken


def _run(
    program: CheckedProgram,
    arguments: Sequence[Any],
    grid: tuple[int, int, int],
    scratch: Tensor | None,
    state: tuple[Settings, Progress, Collector],
    taken: Sequence[tuple[int, int, int]],
) -> None:
    settings, progress, collector = state
    if settings.first and collector.findings:
        raise FatalError
    memory, log, ctas = GlobalMemory(), GlobalLog(), settings.ctas
    try:
        values = bind_arguments(memory, program.kernel, arguments)
    except VirtualGpuError as error:
        collector.findings.append(error.finding)
        return
    base = memory.bind(scratch, "global scratch") if scratch is not None else 0
    share = 0 if scratch is None else scratch.numel() // max(1, grid[0] * grid[1] * grid[2])
    progress.waiting.extend(taken)
    while progress.waiting:
        x, y, z = progress.waiting.popleft()
        start = base + (x + grid[0] * (y + grid[1] * z)) * share
        machine = Machine(
            memory,
            log,
            (x, y, z),
            grid,
            scratch=[start + cta * (share // ctas) for cta in range(ctas)],
            settings=settings,
            progress=progress,
            collector=collector,
            origin=_START,
        )
        _run_one(machine, program, values, collector)


def _run_one(
    machine: Machine, program: CheckedProgram, values: list[Any], collector: Collector
) -> None:
    try:
        machine.run(program.run, values)
    except FatalError:
        raise
    except Exception as error:
        kind, message = explain(error)
        operation = operation_at(error)
        site = Site(operation) if operation is not None else None
        collector.add(kind, message, site, machine.running_name, program=machine.program)
        raise FatalError from error


def _redundant(sites: tuple[Site, ...], progress: Progress) -> tuple[Redundant, ...]:
    return tuple(
        Redundant(
            op=site.operation.name,
            line=site.operation.line,
            location=site.operation.location,
            executed=site.candidate in progress.executed,
        )
        for site in sites
        if site.candidate not in progress.needed
    )
