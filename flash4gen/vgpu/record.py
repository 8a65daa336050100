"""Records what every partition of one program does, operation by operation.

The checked machine executes a program as usual and notes each operation in the order in which its
partition came to it, with what only a run can tell: which barrier, which of its phases, and whether
a predicate let it happen. Models of time read this.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flash4gen.vgpu.check import STEP_LIMIT
from flash4gen.vgpu.concurrent.cluster import Member
from flash4gen.vgpu.concurrent.globals import GlobalLog
from flash4gen.vgpu.concurrent.jobs import Policy
from flash4gen.vgpu.concurrent.machine import FatalError, Machine, Progress, Settings
from flash4gen.vgpu.concurrent.sites import Site
from flash4gen.vgpu.concurrent.worker import Worker
from flash4gen.vgpu.errors import VirtualGpuError
from flash4gen.vgpu.launch import bind_arguments, exact_arithmetic
from flash4gen.vgpu.memory import GlobalMemory
from flash4gen.vgpu.parse import parse_ttgir
from flash4gen.vgpu.parse.tree import Module, Operation
from flash4gen.vgpu.report import Collector
from flash4gen.vgpu.split import ctas_of
from flash4gen.vgpu.transpile import Sites, transpile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from flash4gen.vgpu.concurrent.barrier import CheckedBarrier
    from flash4gen.vgpu.concurrent.worker import Route
    from flash4gen.vgpu.onchip import View
    from flash4gen.vgpu.transfer import Transfer

_START = Site(Operation(name="", line=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One operation that a partition came to; a loop's own operation marks the start of a turn.

    Attributes:
        op: the operation.
        acted: whether an operation on barriers or engines happened, by its predicate.
        barriers: those it waits for or arrives at, by name.
        phase: of a wait: the number of the phase that must be complete; -1 is before the first.
        bytes: of a copy, those that this CTA asks for.
    """

    op: Operation
    acted: bool = False
    barriers: tuple[str, ...] = ()
    phase: int = -1
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Track:
    """What one partition did.

    Attributes:
        name: of the partition; ``default`` for the one that started the others.
        warps: it has.
        notes: in order.
    """

    name: str
    warps: int
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A barrier, after the run.

    Attributes:
        name: of the allocation, and the place in it.
        arrivals: that complete a phase.
        phases: that were completed.
        shared: whether the CTAs of a cluster share it.
    """

    name: str
    arrivals: int
    phases: int
    shared: bool


@dataclass(frozen=True, slots=True)
class Recording:
    """What one program did; of a cluster, what its first CTA did.

    Attributes:
        tracks: of its partitions, the first of the program itself.
        barriers: of the CTA.
        ctas: of the program.
    """

    tracks: tuple[Track, ...]
    barriers: tuple[Seen, ...]
    ctas: int = 1


class _Noting(Worker):
    """A partition that remembers what it does, if it is one of the first CTA."""

    def __init__(self, machine: Machine, *rest: Any) -> None:
        super().__init__(machine, *rest)
        self.notes: list[Note] = []
        if isinstance(machine, _RecordingMachine) and self.rank == 0:
            machine.recorders.append(self)

    def note(self, op: Operation) -> None:
        """Remember an operation."""
        self.notes.append(Note(op=op))

    def _acts(self, *views: View, phase: int = -1, size: int = 0) -> None:
        last = self.notes[-1]
        names = tuple(barrier_name(view) for view in views)
        self.notes[-1] = replace(
            last, acted=True, barriers=last.barriers + names, phase=phase, bytes=size
        )

    def init_barrier(self, view: View, count: int) -> Iterable[None]:
        """Make a barrier."""
        yield from super().init_barrier(view, count)
        if isinstance(self.machine, _RecordingMachine) and self.rank == 0:
            self.machine.made[barrier_name(view)] = (self.barrier(view), count)

    def expect(self, view: View, size: int, route: Route | None = None) -> None:
        """Announce bytes to a barrier."""
        super().expect(view, size, route)
        self._acts(view)

    def arrive(
        self, view: View, count: int, *, threads: bool = False, route: Route | None = None
    ) -> None:
        """Arrive at a barrier."""
        super().arrive(view, count, threads=threads, route=route)
        self._acts(view)

    def wait_barrier(self, view: View, parity: int) -> Iterable[None]:
        """Wait for a phase of a barrier."""
        if self.rank == 0:
            self._acts(view, phase=self.barrier(view).target(self.actor(self.clock), parity))
        return super().wait_barrier(view, parity)

    def tma_load(
        self, target: View, where: View, source: Transfer, *, multicast: bool = False
    ) -> None:
        """Start a TMA load."""
        super().tma_load(target, where, source, multicast=multicast)
        self._acts(where, size=target.data.numel() * target.data.element_size())

    def multiply(
        self,
        operands: tuple[View, ...],
        d: View,
        product: Callable[[tuple[Tensor, ...], Tensor | None], Tensor],
        *,
        accumulate: bool,
        pair: bool,
    ) -> None:
        """Start a product into tensor memory."""
        super().multiply(operands, d, product, accumulate=accumulate, pair=pair)
        self._acts()

    def commit(self, views: tuple[View, ...], *, everywhere: bool) -> None:
        """Arrive at barriers when all products so far are done."""
        super().commit(views, everywhere=everywhere)
        self._acts(*views)


class _Recorder(_Noting):
    """A partition of a program of one CTA."""


class _MemberRecorder(_Noting, Member):
    """A partition on one CTA of a cluster."""


class _RecordingMachine(Machine):
    """A machine whose partitions remember what they do."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.recorders: list[_Noting] = []
        self.made: dict[str, tuple[CheckedBarrier, int]] = {}

    def _roots(self) -> list[Worker]:
        ctas = self.settings.ctas
        if ctas == 1:
            return [_Recorder(self, "", self.clocks.new())]
        return [_MemberRecorder(self, "", self.clocks.new(), cta) for cta in range(ctas)]

    def recording(self) -> Recording:
        """Return what happened."""
        tracks = (Track(r.label or "default", r.warps, tuple(r.notes)) for r in self.recorders)
        barriers = (
            Seen(name=name, arrivals=b.count, phases=b.phase, shared=b.count != count)
            for name, (b, count) in self.made.items()
        )
        return Recording(tuple(tracks), tuple(barriers), self.settings.ctas)


@dataclass(frozen=True, slots=True)
class Recordable:
    """A TTGIR text made ready for recording."""

    module: Module
    run: Callable[..., Any] = field(repr=False)
    warps: int
    ctas: int
    pair: bool


@lru_cache(maxsize=16)
def prepare_recorded(text: str) -> Recordable:
    """Parse and transpile a TTGIR text so that every operation is noted; remembered by text.

    Raises:
        TtgirSyntaxError: the text is not TTGIR.
        VirtualGpuError: it uses what this machine does not know.
    """
    module = parse_ttgir(text)
    ctas = ctas_of(module)
    warps = module.attributes.get("ttg.num-warps", 4)
    return Recordable(
        module,
        transpile(module, Sites(ctas, noted=True)),
        warps if isinstance(warps, int) else 4,
        ctas,
        pair=bool(module.attributes.get("ttng.two-ctas", False)),
    )


def record(
    text: str,
    arguments: Sequence[Any],
    grid: tuple[int, int, int],
    *,
    program: tuple[int, int, int] = (0, 0, 0),
    scratch: Tensor | None = None,
) -> Recording:
    """Execute one program of a launch and return what its partitions did.

    Args:
        text: the TTGIR of a module with one public function.
        arguments: one value for each argument of that function, as for `run_ttgir`.
        grid: extents that the program is told.
        program: which one runs.
        scratch: a byte tensor for the program, where the kernel needs one.

    Raises:
        TtgirSyntaxError: the text is not TTGIR.
        VirtualGpuError: the kernel uses what this machine does not know, or has a fault.
    """
    ready = prepare_recorded(text)
    memory, collector = GlobalMemory(), Collector()
    values = bind_arguments(memory, ready.module.kernel, arguments)
    base = memory.bind(scratch, "global scratch") if scratch is not None else 0
    share = scratch.numel() // ready.ctas if scratch is not None else 0
    machine = _RecordingMachine(
        memory,
        GlobalLog(),
        program,
        grid,
        scratch=[base + cta * share for cta in range(ready.ctas)],
        settings=Settings(
            policy=Policy.IN_ORDER,
            seed=0,
            step_limit=STEP_LIMIT,
            sites=(),
            warps=ready.warps,
            ctas=ready.ctas,
            pair=ready.pair,
        ),
        progress=Progress(),
        collector=collector,
        origin=_START,
    )
    try:
        with exact_arithmetic():
            machine.run(ready.run, values)
    except FatalError as error:
        raise VirtualGpuError(collector.findings[-1]) from error
    return machine.recording()


def barrier_name(view: View) -> str:
    """Return the name of the barrier at a view: its allocation and place."""
    return f"{view.name}+{view.offset}"
