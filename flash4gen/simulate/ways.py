"""SASS → for each loop, its ways through one turn as pieces: work in order, and what is not work.

ptxas moves arithmetic and loads about, but not the barrier operations of one role among each other.
So the listing says how much work lies between two of them, and the recorded run says which
barriers and phases they are about.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from flash4gen.build.sass.cold import cold_blocks
from flash4gen.build.sass.graph import build_graph
from flash4gen.build.sass.kinds import Kind
from flash4gen.build.sass.listing import read_listings
from flash4gen.build.sass.loops import find_loops, turn
from flash4gen.clock.program import Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash4gen.build.sass.graph import Graph
    from flash4gen.build.sass.listing import Instruction
    from flash4gen.build.sass.loops import Loop

WINDOW = 24
"""Instructions of a piece at most: a warp issues in order, and pipes overlap within a window."""

WARP = 32
_REGISTER = re.compile(r"\bR(\d+)\b")
_NUMBER = re.compile(r"0x[0-9a-f]+")
_REPEAT = re.compile(r"\.x(\d+)")
_SHAPE = re.compile(r"GMMA\.(\d+)x(\d+)x(\d+)")


class Do(StrEnum):
    """What a piece does."""

    WORK = "work"
    WAIT = "wait"
    ARRIVE = "arrive"
    TMEM_LOAD = "tensor memory load"
    TMEM_STORE = "tensor memory store"
    SHARED_LOAD = "shared memory load"
    SHARED_STORE = "shared memory store"
    RELOAD = "reload of a spilled register"
    PRODUCT = "product"
    PRODUCT_WAIT = "wait for products"
    COMMIT = "commit"
    TMA_LOAD = "TMA load"
    TMA_STORE = "TMA store"
    COPY = "copy"
    COPY_COMMIT = "close a group of copies"
    COPY_WAIT = "wait for copies"
    SYNC = "bar.sync"
    FENCE = "fence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some instructions in a row, or one that is about memory or synchronisation.

    Attributes:
        do: what.
        work: of one warp.
        bytes: that one warp moves.
        pending: groups that a wait leaves under way.
        shape: rows and columns of a product of a warp group; 0 where tcgen05's are meant.
        from_shared: whether such a product reads its left operand from shared memory.
        loads: numbers of the pieces of this way whose results it reads.
        label: the kind that takes most of the time.
    """

    do: Do
    work: Work = field(default_factory=Work)
    bytes: int = 0
    pending: int = 0
    shape: tuple[int, int] = (0, 0)
    from_shared: bool = False
    loads: tuple[int, ...] = ()
    label: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """One way through a turn of a loop."""

    pieces: tuple[Piece, ...]

    def count(self, do: Do) -> int:
        """Return how many pieces do something."""
        return sum(piece.do is do for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class SassLoop:
    """An innermost loop.

    Attributes:
        address: of its first instruction.
        around: address of the loop around it; -1 if there is none.
        ways: the longest first, then the shortest if it is another.
    """

    address: int
    around: int
    ways: tuple[Way, ...]


def read_loops(sass: str) -> tuple[SassLoop, ...]:
    """Return the innermost loops of all functions of a disassembly, by address."""
    found: list[SassLoop] = []
    for listing in read_listings(sass):
        graph = build_graph(listing)
        loops = find_loops(graph, cold_blocks(graph))
        inner = [a for a in loops if not any(b.body < a.body for b in loops)]
        found += [_loop(graph, loop, loops) for loop in inner]
    return tuple(sorted(found, key=lambda loop: loop.address))


def _loop(graph: Graph, loop: Loop, loops: Sequence[Loop]) -> SassLoop:
    outer = [other for other in loops if loop.body < other.body]
    around = min(outer, key=lambda other: len(other.body), default=None)
    blocks = {turn(graph, loop, longest=longest): None for longest in (True, False)}
    ways = tuple(Way(_pieces([i for b in way for i in graph.blocks[b]])) for way in blocks)
    address = graph.blocks[loop.header][0].address
    return SassLoop(address, -1 if around is None else around.header, ways)


def _pieces(instructions: Sequence[Instruction]) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    run: list[Instruction] = []
    pending: dict[int, int] = {}  # register -> the piece that loads it
    needs: set[int] = set()

    def flush() -> None:
        if run:
            pieces.append(_worked(run, tuple(sorted(needs))))
        run.clear()
        needs.clear()

    for instruction in instructions:
        if instruction.kind is Kind.NOTHING:
            continue
        read = {pending[r] for r in _reads(instruction) if r in pending}
        if read - needs:
            flush()
            needs |= read
            pending = {r: at for r, at in pending.items() if at not in read}
        special = _special(instruction)
        if special is None:
            run.append(instruction)
            if len(run) >= WINDOW:
                flush()
            continue
        flush()
        if special.do in _LOADS:
            pending |= dict.fromkeys(_loaded(instruction, special), len(pieces))
        pieces.append(special)
    flush()
    return tuple(pieces)


_LOADS = (Do.TMEM_LOAD, Do.SHARED_LOAD, Do.RELOAD)


def _reads(instruction: Instruction) -> list[int]:
    registers = [int(r) for r in _REGISTER.findall(instruction.operands)]
    stores = instruction.kind in (Kind.TENSOR_STORE, Kind.SHARED, Kind.GLOBAL)
    return registers if stores else registers[1:]


def _loaded(instruction: Instruction, piece: Piece) -> range:
    first = _REGISTER.search(instruction.operands)
    start = int(first[1]) if first else 0
    return range(start, start + max(1, piece.bytes // (WARP * 4)))


def _worked(run: Sequence[Instruction], loads: tuple[int, ...]) -> Piece:
    work = Work()
    cycles: dict[str, float] = {}
    for instruction in run:
        one = work_of(instruction)
        work += one
        name = instruction.kind.value
        cycles[name] = cycles.get(name, 0.0) + one.issue + 7 * one.mufu + one.fma2 + one.alu
    label = max(cycles, key=lambda name: cycles[name])
    return Piece(do=Do.WORK, work=work, loads=loads, label=label)


_MUFU = Work(mufu=1)
_FMA2 = Work(fma2=1)
_FMA = Work(fma=1)
_ALU = Work(alu=1)
_OTHER = Work(other=1)
_PIPES: dict[Kind, Work] = {
    Kind.EXP2: _MUFU,
    Kind.MUFU: _MUFU,
    Kind.CONVERT: _MUFU,
    **dict.fromkeys((Kind.FMA2, Kind.ADD2, Kind.MUL2), _FMA2),
    **dict.fromkeys((Kind.FMA, Kind.ADD, Kind.MUL, Kind.HALF), _FMA),
    **dict.fromkeys((Kind.MAX3, Kind.MAX, Kind.SELECT, Kind.COMPARE), _ALU),
    **dict.fromkeys((Kind.INTEGER, Kind.MOVE), _ALU),
    Kind.PACK: Work(cvt=1),
    Kind.SHUFFLE: Work(shuffle=1),
    Kind.MMA: Work(mma=1),
}


def work_of(instruction: Instruction) -> Work:
    """Return what one warp instruction occupies.

    Conversions other than packing go through the special function unit (CUDA C Programming Guide,
    arithmetic instruction throughput), but not ``I2FP``, which integers become floats by from sm_86
    on: ptxas waits for no scoreboard after it, as after what the ALU does and never after what the
    special function unit does, and it is one of the 64 a cycle that the guide has for conversions.
    Uniform instructions take an issue slot.
    """
    if instruction.mnemonic.startswith("I2FP"):
        return _ALU
    if instruction.kind is Kind.PACK and ("E4M3" in instruction.mnemonic):
        return Work(cvt8=1)
    return _PIPES.get(instruction.kind, _OTHER)


def _special(instruction: Instruction) -> Piece | None:
    """Return the piece of an instruction about memory or synchronisation, None for others."""
    name, kind = instruction.mnemonic, instruction.kind
    if name.startswith("WARPGROUP.DEPBAR"):
        return Piece(do=Do.PRODUCT_WAIT, pending=_last_number(instruction))
    if name.startswith(("LDGDEPBAR", "UTMACMDFLUSH")):
        return Piece(do=Do.COPY_COMMIT)
    if name.startswith("DEPBAR"):
        return Piece(do=Do.COPY_WAIT, pending=_last_number(instruction))
    if name.startswith("BAR.SYNC"):
        return Piece(do=Do.SYNC)
    if name.startswith("FENCE"):
        return Piece(do=Do.FENCE)
    if kind is Kind.MMA:
        return _product(instruction)
    if kind in (Kind.TENSOR_LOAD, Kind.TENSOR_STORE):
        repeat = _REPEAT.search(name)
        size = (int(repeat[1]) if repeat else 1) * WARP * 4
        return Piece(do=_SIMPLE[kind], bytes=size)
    moved = _moved(name, kind)
    if moved is not None:
        return Piece(do=moved, bytes=_width(name))
    return Piece(do=_SIMPLE[kind]) if kind in _SIMPLE else None


def _moved(name: str, kind: Kind) -> Do | None:
    """Return what an instruction does that moves as many bytes as its name says.

    Reloads of spilled registers come from L1, which shares its memory with shared memory (CUDA C
    Programming Guide). Nobody waits until one is spilled, so that this is an issue slot.
    """
    match kind:
        case Kind.SHARED:
            return Do.SHARED_LOAD if name.startswith("LDS") else Do.SHARED_STORE
        case Kind.COPY:
            return Do.COPY
        case Kind.SPILL if name.startswith("LDL"):
            return Do.RELOAD
    return None


_SIMPLE: dict[Kind, Do] = {
    Kind.WAIT: Do.WAIT,
    Kind.ARRIVE: Do.ARRIVE,
    Kind.COMMIT: Do.COMMIT,
    Kind.TENSOR_LOAD: Do.TMEM_LOAD,
    Kind.TENSOR_STORE: Do.TMEM_STORE,
    Kind.TILE_LOAD: Do.TMA_LOAD,
    Kind.TILE_STORE: Do.TMA_STORE,
}


def _product(instruction: Instruction) -> Piece | None:
    """Return the piece of an asynchronous product; mma.sync is work like any other."""
    if instruction.mnemonic.startswith("UTC"):
        return Piece(do=Do.PRODUCT)
    shape = _SHAPE.search(instruction.mnemonic)
    if shape is None:
        return None
    sources = instruction.operands.split(",")[1:2]
    return Piece(
        do=Do.PRODUCT,
        shape=(int(shape[1]), int(shape[2])),
        from_shared=any("gdesc" in source for source in sources),
    )


def _last_number(instruction: Instruction) -> int:
    found = _NUMBER.findall(instruction.operands)
    return int(found[-1], 16) if found else 0


def _width(name: str) -> int:
    """Return the bytes that one warp moves with an instruction."""
    parts = name.split(".")
    if parts[0] in ("LDSM", "STSM"):
        return WARP * 4 * int(parts[-1]) if parts[-1].isdigit() else WARP * 4
    bits = next((int(part) for part in parts if part in ("64", "128")), 32)
    return WARP * bits // 8
