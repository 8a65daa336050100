"""The schedule of a backward pass as data: a shape for each of its kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from flash4gen.digest import WHERE_SET
from flash4gen.schedule.backward.heads import HeadLoop
from flash4gen.schedule.model import Family, Load

if TYPE_CHECKING:
    from flash4gen.schedule.backward.pipeline.model import PipelineSchedule


@dataclass(frozen=True, slots=True)
class LoopShape:
    """The shape of one kernel.

    Attributes:
        tile_q: queries of a tile, a power of two.
        tile_k: keys of a tile, a power of two.
        warps: warps per program.
        stages: software-pipeline depth of the loop over tiles.
    """

    tile_q: int
    tile_k: int
    warps: int
    stages: int

    @property
    def text(self) -> str:
        """All of it on one line."""
        stages = f"{self.stages} stage{'s' if self.stages > 1 else ''}"
        return f"{self.tile_q} × {self.tile_k}, {self.warps} warps, {stages}"


@dataclass(frozen=True, slots=True)
class KernelShape:
    """A shape of one of the kernels, by the kernel's name."""

    kernel: str
    shape: LoopShape

    @property
    def text(self) -> str:
        """Both on one line."""
        return f"{self.kernel} {self.shape.text}"


Unfit: TypeAlias = tuple[tuple[KernelShape, str], ...]
"""Shapes that were compiled and found unfit, each with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackwardSchedule:
    """The choices of all kernels of a backward pass.

    Attributes:
        hardware: name of the hardware item it was chosen for.
        keys: the kernel of the gradients of keys and values: a key tile per program, which loops
            over the query tiles that see it, of all heads of its group.
        queries: the kernel of the gradients of queries: a query tile per program; None where that
            of the keys adds them up as well, in float32 and in any order.
        pairs: the kernels of gradients of inputs with an element per score: a tile of it per
            program.
        rows: queries per program of the kernel that goes before them.
        head_pad: head_dim rounded up to the power of two that Triton blocks need, at least 16.
        value_pad: the same for value_dim.
        heads: how a program of ``keys`` visits the query heads of its group.
        distances: the kernels of gradients of inputs with an element per distance: a diagonal of
            square tiles per program; None where there are none.
        load: how all of them bring tiles in, the forward kernel's way.
    """

    hardware: str
    keys: LoopShape
    queries: LoopShape | None
    pairs: LoopShape
    rows: int
    head_pad: int
    value_pad: int
    heads: HeadLoop = field(default=HeadLoop.APART, metadata=WHERE_SET)
    distances: LoopShape | None = field(default=None, metadata=WHERE_SET)
    load: Load = field(default=Load.POINTER, metadata=WHERE_SET)

    @property
    def family(self) -> Family:
        """The family of its kernels."""
        return Family.PORTABLE

    @property
    def tile_q(self) -> int:
        """Queries of the longest tile."""
        return max(shape.tile_q for shape in self._loops)

    @property
    def tile_k(self) -> int:
        """Keys of the longest tile."""
        return max(shape.tile_k for shape in self._loops)

    @property
    def text(self) -> str:
        """The shapes of the kernels that every backward pass has, on one line."""
        queries = "added up by that of keys" if self.queries is None else self.queries.text
        return f"keys {self.keys.text}; queries {queries}"

    @property
    def fused(self) -> LoopShape | None:
        """The shape of the kernel of keys where it adds up gradients of queries as well."""
        return self.keys if self.queries is None else None

    @property
    def _loops(self) -> tuple[LoopShape, ...]:
        return (self.keys,) if self.queries is None else (self.keys, self.queries)


PIPELINE_KERNELS = ("_rows_kernel", "_gradient_kernel", "_convert_kernel")
"""The kernels of a pipeline; others of its module are portable ones beside it."""

AnyBackwardSchedule: TypeAlias = "BackwardSchedule | PipelineSchedule"
"""The schedule of a backward pass of either family."""


@dataclass(frozen=True, slots=True)
class BackwardChoice:
    """A schedule, and why each of its fields is what it is, by field.

    ``excluded`` holds shapes that were compiled and found to spill, each with the reason;
    ``beside`` the shapes of portable kernels for what a pipeline does not sum, where there are any.
    """

    schedule: AnyBackwardSchedule
    reasons: tuple[tuple[str, str], ...]
    excluded: Unfit = field(default=(), metadata=WHERE_SET)
    beside: BackwardChoice | None = field(default=None, metadata=WHERE_SET)

    @property
    def exhausted(self) -> bool:
        """Whether a shape that was excluded is the one that is left: nothing smaller is known."""
        loops = self if self.beside is None else self.beside
        return any(getattr(loops.schedule, it.kernel, None) == it.shape for it, _ in loops.excluded)

    def schedule_of(self, function: str) -> AnyBackwardSchedule:
        """Return the schedule of a kernel by its name in a module."""
        if self.beside is None or function in PIPELINE_KERNELS:
            return self.schedule
        return self.beside.schedule

    def reason(self, field: str) -> str:
        """Return the reason for a field's value, one sentence; empty where there is none."""
        return dict(self.reasons).get(field, "")


def as_loops(schedule: AnyBackwardSchedule) -> BackwardSchedule:
    """Return a schedule that must be of the portable family.

    Raises:
        TypeError: it is of another.
    """
    if isinstance(schedule, BackwardSchedule):
        return schedule
    raise TypeError(f"{schedule.text} where the shapes of portable kernels are needed")
