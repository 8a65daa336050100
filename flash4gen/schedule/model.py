"""A schedule as data: every choice that turns one meaning into one kernel, and the log of why."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from flash4gen.digest import WHERE_SET

if TYPE_CHECKING:
    from flash4gen.schedule.backward.model import BackwardChoice
    from flash4gen.schedule.blackwell.model import BlackwellSchedule


class Family(StrEnum):
    """Which skeleton prints the kernel.

    PORTABLE: Triton, for every target. BLACKWELL: Gluon, warp specialised, for targets with
    tcgen05.
    """

    PORTABLE = "portable"
    BLACKWELL = "blackwell"


class Load(StrEnum):
    """How tiles come from global memory.

    POINTER computes an address per element and lets Triton use ``cp.async``; TMA hands the copy
    engine a tensor descriptor.
    """

    POINTER = "pointer"
    TMA = "tma"


class TileOrder(StrEnum):
    """In which order programs walk the query tiles.

    QUERY_TILES_FIRST: consecutive programs take consecutive query tiles of one head, so that they
    share its keys in L2. LONGEST_FIRST: heads vary fastest and query tiles go from the last to the
    first, so that under a causal mask the longest tiles start first and the short ones fill the
    tail (FlashAttention-4, section 3.3: longest-processing-time-first).
    """

    QUERY_TILES_FIRST = "query_tiles_first"
    LONGEST_FIRST = "longest_first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One kernel's choices.

    Attributes:
        family: the skeleton.
        hardware: name of the hardware item it was chosen for.
        tile_q: query rows per program, a power of two.
        tile_k: keys per loop step, a power of two.
        warps: warps per program.
        stages: software-pipeline depth of the key/value loop.
        load: how q, k and v tiles are read.
        order: program order.
        head_pad: head_dim rounded up to the power of two that Triton blocks need, at least 16.
        value_pad: the same for value_dim.
        smem_bytes: planned shared memory of one block (an estimate; the build checks the fact).
        registers: planned registers per thread (an estimate; the build checks for spills).
        tmem_columns: planned tensor-memory columns, 0 without tensor memory.
        element: bytes of an element of q, k and v, and of a weight on its way to its product.
        promotes: whether the products of each key tile are summed on their own, and then added to
            the output in float32 registers; ``units.promotes`` says why.
        sum_parts: parts in which the sum of a row is kept until its last key; ``units.sum_parts``
            says why.
        capped: whether weights are taken without a running maximum, as scores are known to stay
            small; ``capped.py`` says when.
    """

    family: Family
    hardware: str
    tile_q: int
    tile_k: int
    warps: int
    stages: int
    load: Load
    order: TileOrder
    head_pad: int
    value_pad: int
    smem_bytes: int
    registers: int
    tmem_columns: int
    element: int = field(default=2, metadata=WHERE_SET)
    promotes: bool = field(default=False, metadata=WHERE_SET)
    sum_parts: int = field(default=1, metadata=WHERE_SET)
    capped: bool = field(default=False, metadata=WHERE_SET)

    @property
    def tile_rows(self) -> int:
        """Query positions of one program."""
        return self.tile_q

    @property
    def depth(self) -> int:
        """Key tiles that are in use or on their way at a time."""
        return self.stages


BUILD = "build"
"""The constraint that schedules are recorded under which a compile has found wanting."""

AnySchedule: TypeAlias = "Schedule | BlackwellSchedule"
"""A schedule of either family."""

Excluded: TypeAlias = tuple[tuple[AnySchedule, str], ...]
"""Schedules that were compiled and found unfit, each with the reason."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One field of the chosen schedule and the reason for its value, as one sentence."""

    field: str
    value: int | str
    reason: str
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """A candidate that breaks a constraint of the target."""

    schedule: AnySchedule
    constraint: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate that fits, with its modelled cost in cycles (a rank, not a measurement).

    ``cycles`` is None in families that are ranked by rules.
    """

    schedule: AnySchedule
    cycles: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search on the clock changes of the schedule that rules make.

    Attributes:
        gain: how many times as fast, modelled, to two digits.
        pins: fields and their values.
    """

    gain: float
    pins: tuple[tuple[str, int | str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The chosen schedule and the whole log.

    Attributes:
        schedule: the winner.
        decisions: why each of its fields is what it is.
        ranked: all candidates that fit, best first; the winner is the first.
        rejected: all others, each with the constraint it breaks.
        backward: the schedule of the backward pass, where there is one.
        searched: what of it a search on the clock has found.
    """

    schedule: AnySchedule
    decisions: tuple[Decision, ...]
    ranked: tuple[Ranked, ...]
    rejected: tuple[Rejected, ...]
    backward: BackwardChoice | None = None
    searched: Searched | None = None

    @property
    def mixed(self) -> bool:
        """Whether the kernels of the two passes are of different families."""
        return self.backward is not None and self.backward.schedule.family != self.schedule.family


def as_portable(schedule: AnySchedule) -> Schedule:
    """Return a schedule that must be of the portable family.

    Raises:
        TypeError: it is of another.
    """
    if isinstance(schedule, Schedule):
        return schedule
    raise TypeError(f"a schedule of the {schedule.family} family where a portable one is needed")
