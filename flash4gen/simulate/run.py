"""A compiled module → its time: one program is recorded, and its roles walk on the clock.

The kernel runs on one work tile of queries and enough keys to reach a steady state. What runs is
the kernel that was compiled: TTGIR says which barriers, copies and products, the cubin's SASS how
many instructions lie between them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flash4gen.build.load import load_module
from flash4gen.clock.engine import simulate
from flash4gen.clock.machine import NoConstantsError, machine_for
from flash4gen.clock.state import DeadlockError
from flash4gen.ir.hardware import Feature
from flash4gen.ir.nodes import Lengths
from flash4gen.schedule.blackwell.model import BlackwellSchedule, Dispatch
from flash4gen.simulate.chain import links, standing
from flash4gen.simulate.model import RoleTime, Simulation, SimulationError, check_floor
from flash4gen.simulate.program import build_program
from flash4gen.simulate.ways import read_loops
from flash4gen.simulate.whole import ctas_of, dense_rate, rows_of
from flash4gen.validate.cases import Case
from flash4gen.validate.inputs import make_inputs
from flash4gen.vgpu import virtual_gpu
from flash4gen.vgpu.errors import VirtualGpuError
from flash4gen.vgpu.record import record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash4gen.build.artefact import Artefact
    from flash4gen.clock.machine import ClockMachine
    from flash4gen.clock.program import Program
    from flash4gen.clock.timeline import Timeline
    from flash4gen.ir.hardware import Hardware
    from flash4gen.simulate.roles import Built
    from flash4gen.validate.subject import Subject
    from flash4gen.vgpu import Launch

TURNS = 14
"""Key tiles that are enough for a steady state, and few enough for a second."""

_PACKED = 100
"""From this compute capability on there are packed arithmetic and three-input maxima."""

_REGISTER_UNIT = 256
"""Registers are given to warps in units of this many (CUDA occupancy calculator)."""

_MOST_CTAS = 32
"""CTAs that share an SM at most."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A module's kernel, recorded and ready for the clock; it may run there many times.

    Attributes:
        subject: the module.
        machine: the clock's view of its target.
        seq_q, seq_k: lengths that were run.
        program: what its roles do.
        built: the roles, and how much of each follows the SASS.
    """

    subject: Subject
    machine: ClockMachine
    seq_q: int
    seq_k: int
    program: Program
    built: tuple[Built, ...]

    def run(self, *, jitter: float = 0.0, seed: int = 0) -> Simulation:
        """Return the modelled time.

        Args:
            jitter: every latency is multiplied by a random number from 1 - jitter to 1 + jitter.
            seed: of the jitter. Same seed, same answer.

        Raises:
            SimulationError: the program does not end on the clock.
        """
        alone = replace(self.program, residents=1)
        try:
            lone = simulate(alone, self.machine, jitter=jitter, seed=seed)
            turns = _turns(lone, self.built)
            if self.program.residents == 1:
                return summarise(self, lone, _beyond(lone, turns))
            # CTAs start together once in a launch; later each starts when another one ends.
            stagger = _pace(lone, turns) / self.program.residents
            program = replace(self.program, stagger=stagger)
            timeline = simulate(program, self.machine, jitter=jitter, seed=seed)
        except DeadlockError as error:
            raise SimulationError(str(error)) from error
        return summarise(replace(self, program=program), timeline, _beyond(lone, turns))


def simulate_module(
    subject: Subject,
    *,
    seq_q: int | None = None,
    seq_k: int | None = None,
    jitter: float = 0.0,
    seed: int = 0,
) -> Simulation:
    """Return the modelled time of a module's kernel: of one program on one SM.

    Args:
        subject: the module, compiled.
        seq_q: queries; one work tile if left out, or as many as keys where lengths are equal.
        seq_k: keys; ``TURNS`` key tiles if left out.
        jitter: every latency is multiplied by a random number from 1 - jitter to 1 + jitter.
        seed: of the jitter.

    Raises:
        SimulationError: the clock has no constants for the target, or the kernel has something that
            cannot be recorded; the message says what.
        BelowFloorError: a fault of the model.
    """
    return record_module(subject, seq_q=seq_q, seq_k=seq_k).run(jitter=jitter, seed=seed)


def record_module(
    subject: Subject, *, seq_q: int | None = None, seq_k: int | None = None
) -> Recorded:
    """Return a module's kernel made ready for the clock, which takes most of the time.

    Args:
        subject: the module, compiled.
        seq_q: queries; see ``simulate_module``.
        seq_k: keys.

    Raises:
        SimulationError: as ``simulate_module``.
    """
    schedule = subject.choice.schedule
    if isinstance(schedule, BlackwellSchedule) and schedule.dispatch is Dispatch.CLC:
        raise SimulationError(
            "with `dispatch = clc` programs ask the GPU for the work of others, and the clock "
            "follows one program, which nobody answers; its loops are those of `dispatch = single`"
        )
    try:
        machine = machine_for(subject.hardware)
        case = _case(subject, seq_q, seq_k)
        program, built = _program(subject, case)
    except NoConstantsError as error:
        raise SimulationError(str(error)) from error
    except VirtualGpuError as error:
        raise SimulationError(error.finding.message) from error
    return Recorded(subject, machine, case.seq_q, case.seq_k, program, built)


def summarise(recorded: Recorded, timeline: Timeline, fill_drain: float) -> Simulation:
    """Return what a run says about a module."""
    subject, program = recorded.subject, recorded.program
    actor, turns = _paced(timeline, recorded.built)
    begin, end, count = _window(turns, timeline.end)
    period = (end - begin) / count
    _check(subject, period / program.residents)
    return Simulation(
        kernel=subject.artefact.kernel,
        target=subject.hardware.name,
        seq_q=recorded.seq_q,
        seq_k=recorded.seq_k,
        tile_q=subject.choice.schedule.tile_rows,
        tile_k=subject.choice.schedule.tile_k,
        roles=tuple(
            RoleTime(name=b.role.name, warps=b.role.warps, turns=b.turns, from_sass=b.woven)
            for b in recorded.built
        ),
        program=program,
        timeline=timeline,
        cycles_per_turn=period / program.residents,
        prologue=turns[0][1] if turns else 0.0,
        epilogue=max(0.0, timeline.end - turns[-1][1] - period) if turns else 0.0,
        fill_drain=fill_drain,
        end=timeline.end,
        residents=program.residents,
        utilisation=timeline.utilisation(begin, end),
        path=links(timeline, end, period, actor),
        standing=standing(timeline, begin, end, count),
    )


def _check(subject: Subject, cycles: float) -> None:
    """Check a turn against what its products take; CTAs of a cluster have an SM each."""
    schedule, attention = subject.choice.schedule, subject.attention
    pairs = rows_of(schedule) * schedule.tile_k / ctas_of(schedule)
    operations = 2 * pairs * (attention.head_dim + attention.value_dim)
    check_floor("a turn", cycles, operations / dense_rate(attention, subject.hardware))


def _program(subject: Subject, case: Case) -> tuple[Program, tuple[Built, ...]]:
    launch = _launch(subject, case)
    recording = record(launch.asm["ttgir"], launch.arguments, launch.grid)
    return build_program(
        recording,
        read_loops(subject.artefact.sass),
        subject.path.read_text(encoding="utf-8"),
        packed=subject.hardware.capability in range(_PACKED, 120),
        residents=resident_ctas(subject.artefact, subject.hardware),
    )


def _launch(subject: Subject, case: Case) -> Launch:
    """Let the module's own launcher say what it would launch."""
    module = load_module(subject.path)
    inputs = make_inputs(subject.attention, case)
    with virtual_gpu(subject.hardware.arch, execute=False) as gpu:
        getattr(module, subject.attention.name)(inputs.q, inputs.k, inputs.v, **inputs.tensors)
    if not gpu.launches:
        raise SimulationError("the module launches nothing for these lengths")
    return gpu.launches[-1]


def _case(subject: Subject, seq_q: int | None, seq_k: int | None) -> Case:
    schedule = subject.choice.schedule
    keys = seq_k if seq_k is not None else TURNS * schedule.tile_k
    # Of packed sequences a launch has a slot more than whole tiles, which would come first.
    rows = schedule.tile_rows - (1 if subject.attention.packed else 0)
    queries = seq_q if seq_q is not None else rows
    if subject.attention.lengths is Lengths.EQUAL:
        queries = keys
    return Case(name=f"{queries} x {keys}", seq_q=queries, seq_k=keys, alone=True)


def resident_ctas(artefact: Artefact, hardware: Hardware) -> int:
    """Return how many CTAs of a kernel share an SM, by registers, memories and warps."""
    facts = artefact.facts
    warps = facts.threads // hardware.warp_size
    per_warp = -(-facts.registers * hardware.warp_size // _REGISTER_UNIT) * _REGISTER_UNIT
    limits = [
        hardware.registers_per_sm // (per_warp * warps),
        hardware.smem_per_sm // (facts.smem_bytes + hardware.smem_reserved),
        hardware.warps_per_sm // warps,
        _MOST_CTAS,
    ]
    if facts.tmem_columns and hardware.has(Feature.TCGEN05):
        limits.append(hardware.tmem_columns // facts.tmem_columns)
    return max(1, min(limits))


def _turns(timeline: Timeline, built: Sequence[Built]) -> tuple[tuple[int, float], ...]:
    return _paced(timeline, built)[1]


def _pace(timeline: Timeline, turns: Sequence[tuple[int, float]]) -> float:
    """Return the cycles of a turn of the steady state."""
    begin, end, count = _window(turns, timeline.end)
    return (end - begin) / count


def _beyond(timeline: Timeline, turns: Sequence[tuple[int, float]]) -> float:
    """Return the cycles of a CTA beyond its turns at the pace of the steady state."""
    return max(0.0, timeline.end - len(turns) * _pace(timeline, turns)) if turns else timeline.end


def _paced(timeline: Timeline, built: Sequence[Built]) -> tuple[str, tuple[tuple[int, float], ...]]:
    """Return the role whose turns are counted, and its turns: most warps, then most turns."""
    best = max(built, key=lambda one: (one.turns > 1, min(one.role.warps, 4), one.turns))
    return best.role.name, timeline.turns_of(best.role.name)


def _window(turns: Sequence[tuple[int, float]], end: float) -> tuple[float, float, int]:
    """Return begin, end and number of the turns that count: the later ones, but not the last.

    First come the turns that fill pipelines, and those that a mask cuts.
    """
    if len(turns) < 2:
        return 0.0, max(end, 1.0), 1
    first = min(len(turns) // 2, len(turns) - 2)
    last = len(turns) - 1 if len(turns) - first <= 2 else len(turns) - 2
    return turns[first][1], turns[last][1], last - first
