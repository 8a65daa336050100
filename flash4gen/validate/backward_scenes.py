"""Launches of a module's backward kernels, kept to be executed many times.

In: a subject and its module. Out: ``Scene``s, none without a backward pass. Backward kernels read
what earlier ones stored, so that a whole pass runs and each launch is taken with its arguments as
they were. Lengths are such that each kernel's loop, over keys or over queries, fills its pipeline
and drains it, and turns as often as the mask allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.nodes import Lengths
from flash4gen.schedule.backward.model import BackwardSchedule, as_loops
from flash4gen.schedule.backward.pipeline.model import PipelineSchedule, QuerySum
from flash4gen.validate.cases import Case
from flash4gen.validate.execute import one_thread
from flash4gen.validate.gradient_rung import call_of, run_gradients
from flash4gen.validate.reach import Way, loop_shapes
from flash4gen.validate.scenes import Scene, within
from flash4gen.vgpu import synchronises, virtual_gpu

_IN_TURN = "four key tiles that add in turn"
"""Of this case all programs run: they wait for each other, and the first has the fewest steps."""

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.backward.model import BackwardChoice, LoopShape
    from flash4gen.validate.subject import Subject
    from flash4gen.vgpu import Launch


def backward_scenes(subject: Subject, module: ModuleType) -> tuple[Scene, ...]:
    """Return the launches to check, those of one kernel together, shortest first."""
    if not subject.attention.differentiable:
        return ()
    found: dict[str, list[Scene]] = {kernel.kernel: [] for kernel in subject.artefact.backward}
    idle: frozenset[str] = frozenset()
    for case in _cases(subject):
        launches = _launches(subject, module, case, idle)
        for launch in launches:
            taken = found[launch.name]
            # Of a kernel that starts nothing asynchronous one launch is as good as many.
            if not taken or synchronises(launch.asm["ttgir"]):
                taken.append(_scene(case, launch))
        idle = _needed_by_none(launches)
    return tuple(scene for taken in found.values() for scene in taken)


def _scene(case: Case, launch: Launch) -> Scene:
    return Scene(
        most=None if case.name == _IN_TURN else 1,
        shape=f"{launch.name} {case.batch} x {case.seq_q} x {case.seq_k}",
        text=launch.asm["ttgir"],
        arguments=launch.arguments,
        grid=launch.grid,
    )


def _cases(subject: Subject) -> Iterator[Case]:
    choice = subject.choice.backward
    assert choice is not None
    attention, schedule = subject.attention, choice.schedule
    by_key = loop_shapes(attention, Way.of_keys(attention, schedule.keys))
    shapes = {(queries, keys) for keys, queries in by_key}
    queries = schedule.queries if isinstance(schedule, BackwardSchedule) else None
    if queries is not None:
        shapes |= loop_shapes(attention, Way.of_queries(attention, queries))
    if isinstance(schedule, BackwardSchedule):
        shapes |= {*_diagonals(schedule.distances)}
    if choice.beside is not None:
        shapes |= _beside(attention, choice.beside)
    if attention.lengths is Lengths.EQUAL:
        shapes = {(max(shape), max(shape)) for shape in shapes}
    if isinstance(schedule, PipelineSchedule) and schedule.query_sum is QuerySum.ORDERED:
        lengths = 4 * max(schedule.tile_q, schedule.tile_k)
        yield Case(name=_IN_TURN, seq_q=lengths, seq_k=lengths)
    if attention.packed and queries is not None:
        shapes = {(within(seq_q, queries.tile_q), seq_k) for seq_q, seq_k in shapes}
    for seq_q, seq_k in sorted(shapes, key=lambda shape: (shape[0] * shape[1], shape)):
        name = f"gradients of {seq_q} x {seq_k}"
        yield Case(name=name, seq_q=seq_q, seq_k=seq_k, alone=attention.packed)


def _diagonals(shape: LoopShape | None) -> Iterator[tuple[int, int]]:
    """Yield lengths whose longest diagonal has one tile, half fills a pipeline, and fills it."""
    if shape is not None:
        yield from (
            (shape.tile_k * turns - 3,) * 2 for turns in (1, shape.stages + 1, 2 * shape.stages + 3)
        )


def _beside(attention: Attention, choice: BackwardChoice) -> set[tuple[int, int]]:
    """Return the lengths at which the loops of portable sums beside a pipeline turn as they can."""
    loops, kernels = as_loops(choice.schedule), dict(choice.reasons)
    found: set[tuple[int, int]] = set()
    if loops.queries is not None and "queries" in kernels:
        found |= loop_shapes(attention, Way.of_queries(attention, loops.queries))
    if "keys" in kernels:
        by_key = loop_shapes(attention, Way.of_keys(attention, loops.keys))
        found |= {(queries, keys) for keys, queries in by_key}
    return found


def _launches(
    subject: Subject, module: ModuleType, case: Case, idle: frozenset[str]
) -> list[Launch]:
    """Return a case's launches of backward kernels; those of `idle` ones are not executed."""
    names = {kernel.kernel for kernel in subject.artefact.backward}
    call, given = call_of(subject.attention, case)
    with one_thread(), virtual_gpu(subject.hardware.arch, keep=True, idle=idle) as gpu:
        run_gradients(subject.attention, module, call, given)
    return [launch for launch in gpu.launches if launch.name in names]


def _needed_by_none(launches: list[Launch]) -> frozenset[str]:
    """Return the kernels that no launch comes after of which scenes of other lengths are taken."""
    taken = [place for place, it in enumerate(launches) if synchronises(it.asm["ttgir"])]
    last = taken[-1] if taken else 0
    before = {launch.name for launch in launches[:last]}
    return frozenset(launch.name for launch in launches[last:]) - before
