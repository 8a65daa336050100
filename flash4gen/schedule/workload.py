"""What one attention asks of a kernel, counted: operations per score, key tiles per query tile.

In: an ``Attention``. Out: counts that ``cost`` turns into cycles; nothing here knows a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.ir.expr import (
    Apply,
    InputDType,
    Literal,
    Lookup,
    Op,
    Type,
    Var,
    lookups,
    variables,
    walk,
)
from flash4gen.ir.masks import KeyBounds, QueryTile, bounds, loops
from flash4gen.schedule.capped import is_capped
from flash4gen.schedule.space import pad

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr
    from flash4gen.ir.nodes import Attention

NOMINAL_LENGTH = 8192
"""Query and key length at which candidates are compared."""

SAMPLES = 6
"""Query tiles, evenly spread, at which key tiles are counted."""


class Operations(NamedTuple):
    """Work of an expression on one element: plain instructions, and results of the MUFU."""

    plain: float
    mufu: float


class KeyTiles(NamedTuple):
    """Tiles of one head at the nominal length: key tiles visited, masked ones, query tiles."""

    visited: float
    masked: float
    query_tiles: int


class TileRead(NamedTuple):
    """What comes into each key tile: one element per key, or per score; and its size.

    It is looked up, or else computed from the keys: the factors that a norm leaves of them.
    """

    per_score: bool
    bytes: int
    looked_up: bool = True


_WEIGHT: dict[Op, Operations] = {
    Op.DIV: Operations(2, 1),
    Op.FLOOR_DIV: Operations(6, 0),
    Op.MOD: Operations(7, 0),
    Op.EXP: Operations(1, 1),
    Op.LOG: Operations(1, 1),
    Op.TANH: Operations(5, 2),
    Op.SIGMOID: Operations(2, 2),
    Op.SQRT: Operations(2, 1),
    Op.RSQRT: Operations(1, 1),
    Op.POW: Operations(2, 2),
}
"""What an operator costs where it is not one plain instruction."""

LOOK_UP = Operations(6, 0)
"""A load per element: a 64-bit address, a predicate, the load, its way to the scores' layout."""


@dataclass(frozen=True)
class Workload:
    """The counts of one attention.

    Attributes:
        head_pad: padded width of q and k.
        value_pad: padded width of v and out.
        score: operations per element of the score expression.
        mask: operations per element of the mask, where it is evaluated.
        key_bounds: the loops over keys.
        ragged: whether a head dimension is narrower than its padding.
        packed: whether a tile of keys may end in another sequence.
        paged: whether a tile of keys is found by way of a block table.
        output_reads: tensors that are read for each element of the output.
        reads: the look-ups that differ from key to key.
        differentiable: whether there are kernels of gradients beside this one.
        element: bytes of an element of q, k and v.
        capped: whether weights need no running maximum where the unit can do without.
        drops: whether weights are dropped.
    """

    head_pad: int
    value_pad: int
    score: Operations
    mask: Operations
    key_bounds: KeyBounds
    ragged: bool = False
    reads: tuple[TileRead, ...] = ()
    packed: bool = False
    differentiable: bool = False
    paged: bool = False
    output_reads: int = 0
    element: int = 2
    capped: bool = False
    drops: bool = False

    @property
    def identity(self) -> bool:
        """Whether the score is the scaled product itself."""
        return self.score == Operations(0, 0)

    @cached_property
    def _counts(self) -> dict[tuple[int, int], KeyTiles]:
        return {}

    def key_tiles(self, tile_q: int, tile_k: int) -> KeyTiles:
        """Return the key tiles that all query tiles of the first head visit together."""
        found = self._counts.get((tile_q, tile_k))
        if found is None:
            found = self._counts[tile_q, tile_k] = self._count(tile_q, tile_k)
        return found

    def _count(self, tile_q: int, tile_k: int) -> KeyTiles:
        tiles = NOMINAL_LENGTH // tile_q
        sampled = sorted({tiles * (2 * i + 1) // (2 * SAMPLES) for i in range(SAMPLES)})
        parts = [
            loop
            for tile in sampled
            for loop in loops(self.key_bounds, _query_tile(tile, tile_q), tile_k)
        ]
        visited = sum(part.last - part.first for part in parts)
        full = sum(part.full_last - part.full_first for part in parts)
        scale = tiles / len(sampled)
        return KeyTiles(visited * scale, (visited - full) * scale, tiles)

    def grows(self) -> bool:
        """Whether late query tiles visit more keys than early ones, as under a causal mask."""
        tile = 64
        early, late = (
            sum(part.last - part.first for part in loops(self.key_bounds, at, tile))
            for at in (_query_tile(0, tile), _query_tile(NOMINAL_LENGTH // tile - 1, tile))
        )
        return late > early


def workload(attention: Attention) -> Workload:
    """Count the work of an attention."""
    element = attention.dtype.bytes
    widths = pad(attention.head_dim, element), pad(attention.value_dim, element)
    ragged = widths != (attention.head_dim, attention.value_dim)
    work = workload_of(attention.score, attention.mask, *widths)
    score = work.score
    if not attention.normalised:  # 1 / (1 + 2^x) where a softmax has 2^x
        score = Operations(score.plain + 1, score.mufu + 1)
    return replace(
        work,
        ragged=ragged,
        reads=tile_reads(attention),
        score=score,
        packed=attention.packed,
        differentiable=attention.differentiable,
        paged=attention.paged,
        output_reads=_output_reads(attention),
        element=element,
        capped=is_capped(attention),
        drops=bool(attention.dropout),
    )


def tile_reads(attention: Attention) -> tuple[TileRead, ...]:
    """Return what the look-ups of an attention load per key tile, and the factors of its keys."""
    factors = () if attention.k_norm is None else (TileRead(False, 4, looked_up=False),)
    found = ((item, variables(item)) for item in lookups(*attention.expressions))
    loaded = (
        TileRead(Var.Q in reads, 4 if item.tensor.dtype in _WORDS else 2)
        for item, reads in found
        if Var.K in reads
    )
    return (*loaded, *factors)


def _output_reads(attention: Attention) -> int:
    made = attention.epilogue
    return 0 if made is None else sum(Var.D in variables(found) for found in lookups(made))


_WORDS = (InputDType.F32, InputDType.I32)


def workload_of(score: Expr, mask: Expr, head_pad: int, value_pad: int) -> Workload:
    """Count the work of a score and a mask on heads of these widths, powers of two."""
    return Workload(head_pad, value_pad, _operations(score), _operations(mask), bounds(mask))


def _operations(expr: Expr) -> Operations:
    """Return the work of an expression per element.

    What reads neither the score nor a position is computed once, outside the loop; what reads only
    one of the positions once per row or column. Both cost nothing here.
    """
    inner = {
        node
        for node in walk(expr)
        if isinstance(node, Apply | Lookup) and _per_element(variables(node))
    }
    weights = [_weight(node) for node in inner]
    plain = sum(weight.plain for weight in weights) + (expr.type is Type.BOOL and bool(inner))
    return Operations(plain, sum(weight.mufu for weight in weights))


def _weight(node: Apply | Lookup) -> Operations:
    if isinstance(node, Lookup):
        return LOOK_UP
    if node.op is Op.DIV and isinstance(node.args[1], Literal):
        return Operations(1, 0)  # a multiplication by the reciprocal
    return _WEIGHT.get(node.op, Operations(1, 0))


def _per_element(reads: frozenset[Var]) -> bool:
    return Var.S in reads or {Var.Q, Var.K} <= reads


def _query_tile(index: int, tile_q: int) -> QueryTile:
    """Return a query tile of the first head at the nominal length."""
    first = index * tile_q
    return QueryTile(
        first=first, last=first + tile_q - 1, seq_q=NOMINAL_LENGTH, seq_k=NOMINAL_LENGTH
    )
