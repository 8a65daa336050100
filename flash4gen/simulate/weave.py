"""One turn of a loop: pieces of the SASS, in its order, with the barriers of the recorded run."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flash4gen.clock.program import (
    Compute,
    Fence,
    GlobalLoad,
    Mma,
    Operand,
    SharedLoad,
    SharedStore,
    Step,
    Sync,
    TmemLoad,
    TmemStore,
)
from flash4gen.simulate import events
from flash4gen.simulate.costs import work
from flash4gen.simulate.ways import Do, Piece, Way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash4gen.simulate.events import Place
    from flash4gen.vgpu.record import Note


GROUPED = {
    Do.COPY: "ttg.async_copy_global_to_local",
    Do.COPY_WAIT: "ttg.async_wait",
    Do.PRODUCT: events.DOT,
    Do.PRODUCT_WAIT: "ttng.warp_group_dot_wait",
}
"""Instructions of cp.async and wgmma, and the operations that they come from. ptxas keeps both in
the order of the source, so that the first instructions are those of the first operation."""

FEW_SPECIAL = 8
"""Instructions of the special function unit that addresses and lengths may need beside."""

OFF = 3
"""Factor by which their number in the SASS may differ from what TTGIR lets expect: a division or
a tanh is several, an exponential in software is none."""


def fits(way: Way, notes: Sequence[Note], warps: int) -> bool:
    """Whether a way has the synchronisation, memory, products and exponentials of a recorded turn.

    Waits and arrivals whose predicate kept them from happening stand in the SASS as well. Roles may
    have as many of both by chance: what they compute tells them apart.
    """
    noted = Counter(note.op.name for note in notes)
    commits = sum(len(n.barriers) for n in notes if n.op.name in (events.COMMIT, events.MMA))
    same = (
        (way.count(Do.WAIT), noted[events.WAIT]),
        (way.count(Do.ARRIVE), noted[events.ARRIVE] + noted[events.EXPECT]),
        (way.count(Do.COMMIT), commits),
    )
    both = (
        (way.count(Do.PRODUCT), noted[events.MMA] + noted[events.DOT]),
        (way.count(Do.TMA_LOAD), sum(noted[name] for name in events.TMA_LOADS)),
        (way.count(Do.TMA_STORE), sum(noted[name] for name in events.TMA_STORES)),
        (way.count(Do.TMEM_LOAD), noted["ttng.tmem_load"]),
        (way.count(Do.COPY), noted["ttg.async_copy_global_to_local"]),
        (sum(piece.work.mma for piece in way.pieces), noted["tt.dot"]),
    )
    return (
        all(a == b for a, b in same)
        and all((a > 0) == (b > 0) for a, b in both)
        and _as_special(way, notes, warps)
        and any(a > 0 for a, _ in (*same, *both))
    )


def _as_special(way: Way, notes: Sequence[Note], warps: int) -> bool:
    """Whether a way uses the special function unit about as much as a recorded turn."""
    found = FEW_SPECIAL + sum(piece.work.mufu for piece in way.pieces)
    noted = FEW_SPECIAL + sum(work(note.op, warps, packed=False).mufu for note in notes)
    return noted / OFF <= found <= noted * OFF


@dataclass(slots=True)
class Groups:
    """Copies and products of a role that no wait has covered yet, from turn to turn.

    Attributes:
        open: copies, and TMA stores, of the group that is not closed.
        copies: closed groups, oldest first.
        products: wgmma products, oldest first.
    """

    open: list[str] = field(default_factory=list)
    copies: deque[tuple[str, ...]] = field(default_factory=deque)
    products: deque[str] = field(default_factory=deque)

    def take_copies(self, pending: int) -> tuple[str, ...]:
        """Return the copies of all groups but the last few, which a wait covers."""
        done: tuple[str, ...] = ()
        while len(self.copies) > pending:
            done += self.copies.popleft()
        return done

    def take_products(self, pending: int) -> tuple[str, ...]:
        """Return the products but the last few, which a wait covers."""
        done: tuple[str, ...] = ()
        while len(self.products) > pending:
            done += (self.products.popleft(),)
        return done


def weave(way: Way, notes: Sequence[Note], place: Place, turn: int, groups: Groups) -> list[Step]:
    """Return the steps of a turn.

    Args:
        way: through the loop that the turn took.
        notes: of the turn.
        place: whose it is.
        turn: its number, for the names of results.
        groups: what is under way from turns before; updated.
    """
    weaver = _Weaver(way, notes, place, turn, groups)
    for at, piece in enumerate(way.pieces):
        weaver.add(at, piece)
    return weaver.steps


def _lines(do: Do, way: Way, notes: Sequence[Note], place: Place) -> list[int]:
    """Return the line of each instruction of a kind, those of an operation in a row."""
    noted = [place.names.line(note.op) for note in notes if note.op.name == GROUPED[do]]
    count = way.count(do)
    return [noted[n * len(noted) // count] for n in range(count)] if noted else []


class _Weaver:
    def __init__(
        self, way: Way, notes: Sequence[Note], place: Place, turn: int, groups: Groups
    ) -> None:
        self.steps: list[Step] = []
        self._place = place
        self._turn = turn
        self._line = 0
        self._waits = deque(n for n in notes if n.op.name == events.WAIT)
        self._arrivals = deque(n for n in notes if n.op.name in (events.ARRIVE, events.EXPECT))
        self._loads = deque(n for n in notes if n.op.name in events.TMA_LOADS)
        self._stores = deque(n for n in notes if n.op.name in events.TMA_STORES)
        self._products = deque(n for n in notes if n.op.name == events.MMA)
        self._commits = deque(
            step for note in notes if note.op.name in (events.COMMIT, events.MMA)
            for step in events.committed(note, place)
        )  # fmt: skip
        self._boxes = max(1, way.count(Do.TMA_LOAD) // max(1, len(self._loads)))
        self._box = 0
        self._parts = max(1, way.count(Do.TMA_STORE) // max(1, len(self._stores)))
        self._part = 0
        self._left = 0  # instructions of the product that has been issued already
        self._groups = groups
        self._lines = {do: deque(_lines(do, way, notes, place)) for do in GROUPED}

    def add(self, at: int, piece: Piece) -> None:
        """Append the steps of a piece."""
        lines = self._lines.get(piece.do)
        self._line = (lines.popleft() if lines else 0) or self._line
        new = self._made(at, piece)
        self._line = next((step.line for step in new if step.line), self._line)
        self.steps += new

    def _name(self, at: int) -> str:
        return f"r{at}"

    def _made(self, at: int, piece: Piece) -> list[Step]:
        match piece.do:
            case Do.WAIT:
                return events.waited(self._waits.popleft(), self._place)
            case Do.ARRIVE:
                return events.arrived(self._arrivals.popleft(), self._place)
            case Do.COMMIT:
                return [self._commits.popleft()]
            case Do.PRODUCT:
                return self._product(at, piece)
            case Do.TMA_LOAD:
                return self._tma_load()
            case Do.TMA_STORE:
                return self._tma_store(at)
            case Do.COPY | Do.COPY_COMMIT | Do.COPY_WAIT | Do.PRODUCT_WAIT:
                return self._grouped(at, piece)
        return self._own(at, piece)

    def _own(self, at: int, piece: Piece) -> list[Step]:
        """Work, and what a role does with memory by itself."""
        line, name, size = self._line, self._name(at), piece.bytes * self._place.warps
        match piece.do:
            case Do.WORK:
                needs = tuple(self._name(load) for load in piece.loads)
                return [Compute(work=piece.work, needs=needs, label=piece.label, line=line)]
            case Do.TMEM_LOAD:
                return [TmemLoad(bytes=size, gives=name, label=piece.do, line=line)]
            case Do.TMEM_STORE:
                return [TmemStore(bytes=size, label=piece.do, line=line)]
            case Do.SHARED_LOAD | Do.RELOAD:
                return [SharedLoad(bytes=size, gives=name, label=piece.do, line=line)]
            case Do.SHARED_STORE:
                return [SharedStore(bytes=size, label=piece.do, line=line)]
            case Do.SYNC:
                return [Sync(label=piece.do, line=line)]
            case Do.FENCE:
                return [Fence(label=piece.do, line=line, copies=False)]
        return []

    def _grouped(self, at: int, piece: Piece) -> list[Step]:
        """cp.async and wgmma: groups that are closed, and waited for but the last few."""
        groups = self._groups
        match piece.do:
            case Do.COPY:
                name = f"copy {self._turn}.{at}"
                groups.open.append(name)
                size = piece.bytes * self._place.warps
                return [
                    GlobalLoad(
                        bytes=size, to_shared=True, gives=name, label=piece.do, line=self._line
                    )
                ]
            case Do.COPY_COMMIT:
                groups.copies.append(tuple(groups.open))
                groups.open.clear()
            case Do.COPY_WAIT:
                done = groups.take_copies(piece.pending)
                return [Fence(needs=done, label=piece.do, line=self._line)] if done else []
            case Do.PRODUCT_WAIT:
                done = groups.take_products(piece.pending)
                return [Fence(needs=done, label=piece.do, line=self._line)] if done else []
        return []

    def _product(self, at: int, piece: Piece) -> list[Step]:
        if piece.shape != (0, 0):
            name = f"product {self._turn}.{at}"
            self._groups.products.append(name)
            a_from = Operand.SMEM if piece.from_shared else Operand.REGISTERS
            m, n = piece.shape
            label, line = "product", self._line
            return [Mma(m=m, n=n, count=1, a_from=a_from, gives=name, label=label, line=line)]
        if self._left:
            self._left -= 1
            return []
        while self._products:
            made = events.product(self._products.popleft(), self._place)
            if made:
                first = made[0]
                self._left = first.count - 1 if isinstance(first, Mma) else 0
                return made
        return []

    def _tma_load(self) -> list[Step]:
        """The first request of several for one box stands for all."""
        self._box += 1
        if (self._box - 1) % self._boxes or not self._loads:
            return []
        return events.tma_loaded(self._loads.popleft(), self._place)

    def _tma_store(self, at: int) -> list[Step]:
        """As loads; who waits for the group waits for them."""
        self._part += 1
        if (self._part - 1) % self._parts or not self._stores:
            return []
        name = f"store {self._turn}.{at}"
        self._groups.open.append(name)
        return events.tma_stored(self._stores.popleft(), self._place, name)
