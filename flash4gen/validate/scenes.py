"""Launches of a module's kernel, taken from its own launcher and kept to be executed many times.

In: a subject and its module. Out: ``Scene``s: the compiled text and arguments of a few lengths that
fill and drain the kernel's pipelines. One program is executed of each: all programs run the same
code, and what is between programs is checked by the rung ``function``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flash4gen.ir.nodes import Lengths
from flash4gen.schedule.blackwell.model import BlackwellSchedule, Dispatch
from flash4gen.validate.cases import Case, Values, short_rows
from flash4gen.validate.inputs import make_inputs
from flash4gen.validate.loops import plan_cases
from flash4gen.validate.reach import longest_loops
from flash4gen.vgpu import copied, virtual_gpu

if TYPE_CHECKING:
    from types import ModuleType

    from flash4gen.schedule.model import AnySchedule
    from flash4gen.validate.subject import Subject
    from flash4gen.vgpu import Launch

_WORKS = 3
"""Work tiles that the first program of a persistent kernel walks, so that each follows another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One program of one launch.

    Attributes:
        shape: batch × queries × keys, for people; of a backward kernel with its name.
        text: the TTGIR that was compiled.
        arguments: what the kernel was called with; never written, see ``fresh``.
        grid: extents of the launch.
        most: how many of them are executed; None for all.
    """

    shape: str
    text: str = field(repr=False)
    arguments: tuple[Any, ...] = field(repr=False)
    grid: tuple[int, ...] = (1,)
    most: int | None = 1

    def fresh(self) -> list[Any]:
        """Return copies of the arguments, to be read and written by one run."""
        return [copied(argument) for argument in self.arguments]


def scenes(subject: Subject, module: ModuleType) -> tuple[Scene, ...]:
    """Return the launches to check, shortest first."""
    launches = [(case, _launch(subject, module, case)) for case in _cases(subject)]
    return tuple(
        Scene(
            shape=f"{case.batch} x {case.seq_q} x {case.seq_k}",
            text=launch.asm["ttgir"],
            arguments=launch.arguments,
            grid=(_programs(subject, case, launch),),
            # The first program takes over what the others do not start on.
            most=None if _takes_over(subject.choice.schedule) else 1,
        )
        for case, launch in launches
    )


def _cases(subject: Subject) -> list[Case]:
    """One tile; pipelines half full; full and drained; each loop at its longest."""
    schedule = subject.choice.schedule
    long = (2 * schedule.depth + 3) * schedule.tile_k + 3
    short = schedule.depth * schedule.tile_k + 1
    shapes = {(1, 1), (schedule.tile_rows, short), (schedule.tile_rows, long), (long, long)}
    few = short_rows(schedule)
    if few:
        shapes |= {(few, short), (few, long), (few + 1, 1)}
    planned = plan_cases(subject.attention, schedule).cases
    shapes |= {(case.seq_q, case.seq_k) for case in planned[-1:] if case.seq_k}
    if subject.attention.lengths is Lengths.EQUAL:
        shapes = {(max(shape), max(shape)) for shape in shapes}
    shapes |= longest_loops(subject.attention, schedule, shapes)
    # Specialised programs walk slots until there are none left.
    one_slot = subject.attention.packed and not isinstance(schedule, BlackwellSchedule)
    if one_slot:
        shapes = {(within(seq_q, schedule.tile_rows), seq_k) for seq_q, seq_k in shapes}
    return [
        # Large scores: maxima grow so much from tile to tile that what went before is rescaled.
        Case(
            name=f"{seq_q} x {seq_k}",
            batch=_entries(subject, seq_q),
            seq_q=seq_q,
            seq_k=seq_k,
            values=Values.LARGE,
            alone=one_slot,
        )
        for seq_q, seq_k in sorted(shapes, key=lambda shape: (shape[1], shape[0]))
    ]


def within(seq_q: int, tile: int) -> int:
    """Return a length of packed queries whose last slot has rows: a row less than whole tiles.

    The first program has the last slot, and a sequence of whole tiles has a slot more than these.
    """
    return seq_q if seq_q % tile else seq_q - 1


def _entries(subject: Subject, seq_q: int) -> int:
    """Return the batch entries that give the first program its work tiles.

    Those of few heads and rows are fewer than it walks; slots that work tiles take in turn would
    then be left that no scene reaches. Packed sequences come several at a time as it is.
    """
    schedule = subject.choice.schedule
    if not isinstance(schedule, BlackwellSchedule) or subject.attention.packed:
        return 1
    return -(-_WORKS // _works(subject, schedule, seq_q))


def _works(subject: Subject, schedule: BlackwellSchedule, seq_q: int) -> int:
    """Return the work tiles of a batch entry."""
    return -(-seq_q // schedule.tile_rows) * (subject.attention.heads // schedule.pack)


def _takes_over(schedule: AnySchedule) -> bool:
    return isinstance(schedule, BlackwellSchedule) and schedule.dispatch is Dispatch.CLC


def _programs(subject: Subject, case: Case, launch: Launch) -> int:
    """Return the size of a grid in which the first program has enough to do, and not too much.

    A portable program computes what its number says. Specialised ones share the work tiles out;
    with cluster launch control the first takes over those of the others, and they are few.
    """
    schedule = subject.choice.schedule
    if not isinstance(schedule, BlackwellSchedule):
        return 1
    if _takes_over(schedule):
        return _WORKS
    if subject.attention.packed:
        return max(1, launch.grid[0] // _WORKS)
    return max(1, case.batch * _works(subject, schedule, case.seq_q) // _WORKS)


def _launch(subject: Subject, module: ModuleType, case: Case) -> Launch:
    inputs = make_inputs(subject.attention, case)
    with virtual_gpu(subject.hardware.arch, execute=False) as gpu:
        function = getattr(module, subject.attention.name)
        function(inputs.q, inputs.k, inputs.v, **inputs.tensors)
    return gpu.launches[-1]
