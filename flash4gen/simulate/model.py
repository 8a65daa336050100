"""What a simulation of a module gives. Every number here is *modelled*."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flash4gen.clock.program import Program
    from flash4gen.clock.timeline import Timeline


class SimulationError(Exception):
    """A module's time cannot be told; the message says why, and what can."""


class BelowFloorError(AssertionError):
    """The model says less than the tensor cores alone need: a fault of the model, of nobody else.

    Args:
        what: a turn, a launch.
        cycles: what came out.
        floor: what the products take at the dense rate.
    """

    def __init__(self, what: str, cycles: float, floor: float) -> None:
        super().__init__(
            f"{what} is modelled to take {cycles:,.0f} cycles, and its products alone need "
            f"{floor:,.0f} at the full rate of the tensor cores"
        )


SLACK = 0.99
"""Share of a floor that is let pass: measured intervals round to 0.4 % of the dense rate."""


def check_floor(what: str, cycles: float, floor: float) -> None:
    """Check that the tensor cores can do the work in so many cycles.

    Raises:
        BelowFloorError: they cannot.
    """
    if cycles < SLACK * floor:
        raise BelowFloorError(what, cycles, floor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link of the chain that a turn's length hangs on.

    Attributes:
        actor: a role, ``tensor``, ``tma``, or a role's ``memory``.
        label: what it was.
        line: line of the module; 0 if unknown.
        cycles: it took, from the end of the link before to its own end.
        contended: of these, those it waited for units that others used.
    """

    actor: str
    label: str
    line: int
    cycles: float
    contended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Links in a row that belong to one role and one line of the module.

    Attributes:
        role: whose they are; ``tensor`` or ``tma`` where an engine works by itself.
        line: of the module; 0 if unknown.
        cycles: of all.
        contended: of these, those spent on waiting for units that others used.
        parts: (label, cycles) of what was done, the longest first.
    """

    role: str
    line: int
    cycles: float
    contended: float
    parts: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How long a role stands at one line in a turn of the steady state.

    Attributes:
        actor: the role.
        line: of the module.
        what: the barrier or result it waits for.
        cycles: in a turn, on average.
    """

    actor: str
    line: int
    what: str
    cycles: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleTime:
    """A role, and where its numbers come from.

    Attributes:
        name: of the role.
        warps: it has.
        turns: of its loop over key tiles.
        from_sass: of these, those that follow the instructions of the cubin; the others are
            estimated from TTGIR.
    """

    name: str
    warps: int
    turns: int
    from_sass: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """One program of a compiled module on one SM, *modelled*; of a cluster, the first CTA.

    Attributes:
        kernel: name of the kernel function.
        target: name of the hardware item.
        seq_q, seq_k: lengths that were run.
        tile_q, tile_k: queries of a work tile and keys of a turn.
        roles: what was simulated.
        program: what the roles do.
        timeline: what happened; ``spans`` are what a trace shows.
        cycles_per_turn: for ``tile_q`` queries against ``tile_k`` keys in the steady state, of the
            SM, or of the SMs that the CTAs of a cluster are on. Where CTAs share an SM, a turn of
            each takes ``residents`` times as long.
        prologue: cycles until the first turn begins.
        epilogue: cycles from the last turn's begin to the end, less one turn.
        fill_drain: cycles that a CTA with an SM of its own takes beyond its turns at the pace of
            the steady state: to fill its pipelines, and to normalise and store.
        end: cycles of the whole run.
        residents: CTAs of this kind that share the SM in this run.
        utilisation: (unit, share of the steady state that it is busy), by ``clock.units``.
        path: the chain that one CTA's turn hangs on in the steady state, earliest first; it sums to
            the turn.
        standing: where roles stand in the steady state, the longest first.
    """

    kernel: str
    target: str
    seq_q: int
    seq_k: int
    tile_q: int
    tile_k: int
    roles: tuple[RoleTime, ...]
    program: Program = field(repr=False)
    timeline: Timeline = field(repr=False)
    cycles_per_turn: float
    prologue: float
    epilogue: float
    fill_drain: float
    end: float
    residents: int
    utilisation: tuple[tuple[str, float], ...]
    path: tuple[Link, ...] = field(repr=False)
    standing: tuple[Standing, ...] = field(repr=False)
