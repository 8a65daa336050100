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
from flash4gen.vgpu.concurrent.globals import GlobalLog
from flash4gen.vgpu.concurrent.jobs import Policy
from flash4gen.vgpu.concurrent.machine import FatalError, Machine, Progress, Settings
from flash4gen.vgpu.concurrent.sites import Site
from flash4gen.vgpu.concurrent.worker import Worker
from flash4gen.vgpu.errors import Finding, FindingKind, VirtualGpuError
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
    """

    op: Operation
    acted: bool = False
    barriers: tuple[str, ...] = ()
    phase: int = -1


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


@dataclass(frozen=True, slots=True)
class Recording:
    """What one program did.

    Attributes:
        tracks: of its partitions, the first of the program itself.
        barriers: (name, arrivals of a phase).
    """

    tracks: tuple[Track, ...]
    barriers: tuple[tuple[str, int], ...]


class Recorder(Worker):
    """A partition that remembers what it does."""

    def __init__(self, machine: Machine, label: str, clock: int) -> None:
        super().__init__(machine, label, clock)
        self.notes: list[Note] = []
        if isinstance(machine, _RecordingMachine):
            machine.recorders.append(self)

    def note(self, op: Operation) -> None:
        """Remember an operation."""
        self.notes.append(Note(op=op))

    def _acts(self, *views: View, phase: int = -1) -> None:
        last = self.notes[-1]
        names = tuple(barrier_name(view) for view in views)
        self.notes[-1] = replace(last, acted=True, barriers=last.barriers + names, phase=phase)

    def init_barrier(self, view: View, count: int) -> Iterable[None]:
        """Make a barrier."""
        if isinstance(self.machine, _RecordingMachine):
            self.machine.counts[barrier_name(view)] = count
        return super().init_barrier(view, count)

    def announce(self, view: View, size: int) -> None:
        """Announce bytes to a barrier."""
        super().announce(view, size)
        self._acts(view)

    def arrive(
        self, view: View, count: int, *, threads: bool = False, route: Route | None = None
    ) -> None:
        """Arrive at a barrier."""
        super().arrive(view, count, threads=threads, route=route)
        self._acts(view)

    def wait_barrier(self, view: View, parity: int) -> Iterable[None]:
        """Wait for a phase of a barrier."""
        self._acts(view, phase=self.barrier(view).target(self.actor(self.clock), parity))
        return super().wait_barrier(view, parity)

    def tma_load(
        self, target: View, where: View, source: Transfer, *, multicast: bool = False
    ) -> None:
        """Start a TMA load."""
        super().tma_load(target, where, source, multicast=multicast)
        self._acts(where)

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


class _RecordingMachine(Machine):
    """A machine whose partitions remember what they do."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.recorders: list[Recorder] = []
        self.counts: dict[str, int] = {}

    def _roots(self) -> list[Worker]:
        return [Recorder(self, "", self.clocks.new())]


@dataclass(frozen=True, slots=True)
class Recordable:
    """A TTGIR text made ready for recording."""

    module: Module
    run: Callable[..., Any] = field(repr=False)
    warps: int


@lru_cache(maxsize=16)
def prepare_recorded(text: str) -> Recordable:
    """Parse and transpile a TTGIR text so that every operation is noted; remembered by text.

    Raises:
        TtgirSyntaxError: the text is not TTGIR.
        VirtualGpuError: it uses what this machine does not know, or has programs of several CTAs.
    """
    module = parse_ttgir(text)
    if ctas_of(module) != 1:
        message = f"programs of {ctas_of(module)} CTAs cannot be recorded"
        raise VirtualGpuError(Finding(kind=FindingKind.UNSUPPORTED, message=message))
    warps = module.attributes.get("ttg.num-warps", 4)
    run = transpile(module, Sites(noted=True))
    return Recordable(module, run, warps if isinstance(warps, int) else 4)


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
    machine = _RecordingMachine(
        memory,
        GlobalLog(),
        program,
        grid,
        scratch=[memory.bind(scratch, "global scratch") if scratch is not None else 0],
        settings=Settings(
            policy=Policy.IN_ORDER, seed=0, step_limit=STEP_LIMIT, sites=(), warps=ready.warps
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
    tracks = (Track(r.name or "default", r.warps, tuple(r.notes)) for r in machine.recorders)
    return Recording(tuple(tracks), tuple(machine.counts.items()))


def barrier_name(view: View) -> str:
    """Return the name of the barrier at a view: its allocation and place."""
    return f"{view.name}+{view.offset}"
