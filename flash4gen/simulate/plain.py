"""Notes of a recorded run → steps, from TTGIR alone: where no loop of the SASS matches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.clock.program import (
    Compute,
    Fence,
    GlobalLoad,
    GlobalStore,
    SharedLoad,
    SharedStore,
    Step,
    Work,
)
from flash4gen.simulate import costs, events
from flash4gen.simulate.costs import bytes_of
from flash4gen.vgpu.parse.tree import MemDescType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flash4gen.simulate.events import Place
    from flash4gen.vgpu.parse.tree import Operation
    from flash4gen.vgpu.record import Note

_MMA_SYNC_FLOPS = 2 * 16 * 8 * 16
_LOADS = frozenset({"tt.load", "ttg.async_copy_global_to_local"})
_QUIET = frozenset({"tt.splat", "tt.broadcast", "tt.expand_dims", "tt.reshape", "tt.trans"})


def plain(notes: Sequence[Note], place: Place, *, packed: bool) -> list[Step]:
    """Return the steps of some operations in a row.

    Args:
        notes: of one role.
        place: whose they are.
        packed: whether the target has packed arithmetic and three-input maxima.
    """
    writer = _Writer(place, packed=packed)
    for note in notes:
        writer.add(note)
    writer.flush()
    return writer.steps


class _Writer:
    def __init__(self, place: Place, *, packed: bool) -> None:
        self.steps: list[Step] = []
        self._place = place
        self._packed = packed
        self._work = Work()
        self._needs: tuple[str, ...] = ()
        self._line = 0
        self._results: dict[str, str] = {}  # values that are under way, and their names here
        self._stored = False
        self._products: list[str] = []
        self._count = 0

    def flush(self) -> None:
        """Close the block of arithmetic that is open."""
        if self._work.issue:
            self.steps.append(Compute(work=self._work, needs=self._needs, line=self._line))
        self._work, self._needs = Work(), ()

    def add(self, note: Note) -> None:
        """Append what an operation does."""
        handler = _HANDLERS.get(note.op.name)
        if handler is not None:
            self._require(note.op)
            self.flush()
            self.steps += handler(self, note)
        elif note.op.name not in _QUIET:
            self._compute(note.op)

    def _compute(self, op: Operation) -> None:
        self._require(op)
        if op.name == "tt.dot":
            self._work += Work(mma=_dot_instructions(op) / self._place.warps)
        else:
            self._work += costs.work(op, self._place.warps, packed=self._packed)
        self._line = self._place.names.line(op) or self._line

    def _require(self, op: Operation) -> None:
        """Begin a new block where an operation reads what is under way."""
        read = [operand for operand in op.operands if operand in self._results]
        if read:
            self.flush()
            self._needs = tuple(self._results.pop(str(operand)) for operand in read)
            self._work += Work(other=1)

    def under_way(self, note: Note) -> str:
        """Return a name for the results of an operation in the background."""
        self._count += 1
        name = f"plain {self._count}"
        self._results |= dict.fromkeys(note.op.results, name)
        return name

    # --- operations ---------------------------------------------------------------------------

    def _wait(self, note: Note) -> list[Step]:
        return events.waited(note, self._place)

    def _arrive(self, note: Note) -> list[Step]:
        fence: list[Step] = [Fence()] if self._stored else []
        self._stored = False
        return fence + events.arrived(note, self._place)

    def _mma(self, note: Note) -> list[Step]:
        return events.product(note, self._place) + events.committed(note, self._place)

    def _commit(self, note: Note) -> list[Step]:
        return events.committed(note, self._place)

    def _dot(self, note: Note) -> list[Step]:
        name = self.under_way(note)
        self._products.append(name)
        return events.dot(note.op, self._place, name)

    def _dot_wait(self, note: Note) -> list[Step]:
        pending = note.op.attributes.get("pendings", 0)
        keep = pending if isinstance(pending, int) else 0
        done = self._products[: len(self._products) - keep]
        self._products = self._products[len(done) :]
        self._results = {v: name for v, name in self._results.items() if name not in done}
        return [Fence(needs=tuple(done))] if done else []

    def _tma_load(self, note: Note) -> list[Step]:
        return events.tma_loaded(note, self._place)

    def _tma_store(self, note: Note) -> list[Step]:
        return events.tma_stored(note, self._place, self.under_way(note))

    def _store_wait(self, _note: Note) -> list[Step]:
        return [Fence()]

    def _tmem_load(self, note: Note) -> list[Step]:
        return events.tmem_loaded(note, self._place, self.under_way(note))

    def _tmem_store(self, note: Note) -> list[Step]:
        self._stored = True
        return events.tmem_stored(note, self._place)

    def _local_load(self, note: Note) -> list[Step]:
        size = bytes_of(note.op.result_types[-1])
        return [SharedLoad(bytes=size, gives=self.under_way(note), line=self._at(note))]

    def _local_store(self, note: Note) -> list[Step]:
        self._stored = True
        return [SharedStore(bytes=bytes_of(note.op.operand_types[0]), line=self._at(note))]

    def _global_load(self, note: Note) -> list[Step]:
        shared = note.op.name != "tt.load"
        kinds = (*note.op.result_types, *note.op.operand_types)
        target = next((kind for kind in kinds if isinstance(kind, MemDescType)), kinds[0])
        return [
            GlobalLoad(
                bytes=bytes_of(target),
                to_shared=shared,
                gives=None if shared else self.under_way(note),
                line=self._at(note),
            )
        ]

    def _global_store(self, note: Note) -> list[Step]:
        return [GlobalStore(bytes=bytes_of(note.op.operand_types[-1]), line=self._at(note))]

    def _at(self, note: Note) -> int:
        return self._place.names.line(note.op)


_HANDLERS: dict[str, Callable[[_Writer, Note], list[Step]]] = {
    events.WAIT: _Writer._wait,
    events.ARRIVE: _Writer._arrive,
    events.EXPECT: _Writer._arrive,
    events.MMA: _Writer._mma,
    events.COMMIT: _Writer._commit,
    events.DOT: _Writer._dot,
    "ttng.warp_group_dot_wait": _Writer._dot_wait,
    **dict.fromkeys(events.TMA_LOADS, _Writer._tma_load),
    **dict.fromkeys(events.TMA_STORES, _Writer._tma_store),
    "ttng.async_tma_store_wait": _Writer._store_wait,
    "ttg.async_wait": _Writer._store_wait,
    "ttng.tmem_load": _Writer._tmem_load,
    "ttng.tmem_store": _Writer._tmem_store,
    "ttg.local_load": _Writer._local_load,
    "ttg.local_store": _Writer._local_store,
    **dict.fromkeys(_LOADS, _Writer._global_load),
    "tt.store": _Writer._global_store,
}


def _dot_instructions(op: Operation) -> float:
    """Return how many mma.m16n8k16 a product of 16-bit operands takes, of all warps together."""
    shapes = [tuple(getattr(kind, "shape", ())) for kind in op.operand_types[:2]]
    (m, k), (_, n) = shapes[0][-2:], shapes[1][-2:]
    return float(2 * m * n * k / _MMA_SYNC_FLOPS)
