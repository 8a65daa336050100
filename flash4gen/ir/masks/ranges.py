"""Integer interval arithmetic: what values an expression, and a mask, can take over a box.

In: an expression and a range of values per variable. Out: the least and the greatest value, or for
a mask whether it is true everywhere, nowhere, or not known to be either. Sound for every
expression; exact for sums in which no variable occurs twice after cancelling.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING

from flash4gen.ir.expr import BITWISE, Apply, Expr, Literal, Lookup, Op, Type, Var, Variable
from flash4gen.ir.masks.linear import UnanalysableError, linear
from flash4gen.ir.semantics import compute
from flash4gen.ir.simplify import INVERSE

if TYPE_CHECKING:
    from collections.abc import Mapping


class TileClass(StrEnum):
    """What a mask does to a tile. ``PARTIAL`` also stands for: not proven to be another."""

    EMPTY = "empty"
    FULL = "full"
    PARTIAL = "partial"

    @property
    def opposite(self) -> TileClass:
        """The class under the negated mask."""
        return _OPPOSITE[self]


_OPPOSITE = {
    TileClass.EMPTY: TileClass.FULL,
    TileClass.FULL: TileClass.EMPTY,
    TileClass.PARTIAL: TileClass.PARTIAL,
}


@dataclass(frozen=True, slots=True)
class Range:
    """The integers ``least`` to ``greatest``, both inclusive."""

    least: int
    greatest: int

    def meet(self, other: Range | None) -> Range:
        """Return what two ranges that both hold the same value have in common."""
        if other is None:
            return self
        return Range(max(self.least, other.least), min(self.greatest, other.greatest))


def truth(mask: Expr, box: Mapping[Var, Range]) -> TileClass:
    """Return whether a BOOL expression holds everywhere in a box, nowhere, or perhaps somewhere."""
    match mask:
        case Literal(value):
            return TileClass.FULL if value else TileClass.EMPTY
        case Apply(op=Op.NOT, args=(a,)):
            return truth(a, box).opposite
        case Apply(op=Op.AND, args=(a, b)):
            return _all_of(truth(a, box), truth(b, box))
        case Apply(op=Op.OR, args=(a, b)):
            return _all_of(truth(a, box).opposite, truth(b, box).opposite).opposite
        case Apply(op=Op.WHERE, args=(condition, a, b)):
            return _chosen(truth(condition, box), truth(a, box), truth(b, box))
        case Apply(op, args=(a, b)) if a.type is Type.INT:
            return _compared(op, _difference(a, b, box))
        case _:
            return TileClass.PARTIAL  # floats: rounding is the kernel's business


def range_of(expr: Expr, box: Mapping[Var, Range]) -> Range | None:
    """Return the range of an INT expression over a box.

    None where it may divide by zero or reads a tensor.
    """
    match expr:
        case Lookup():
            return None
        case Literal(value):
            return Range(int(value), int(value))
        case Variable(var):
            return box[var]
        case Apply(op=Op.WHERE, args=(condition, a, b)):
            return _where(truth(condition, box), range_of(a, box), range_of(b, box))
        case Apply(op=Op.ADD | Op.SUB | Op.NEG | Op.MUL):
            direct = _applied(expr, box)
            return direct and direct.meet(_sum_range(expr, box))
        case Apply():
            return _applied(expr, box)


def _applied(expr: Apply, box: Mapping[Var, Range]) -> Range | None:
    args = [range_of(arg, box) for arg in expr.args]
    known = [arg for arg in args if arg is not None]
    if len(known) < len(args):
        return None
    return _unary(expr.op, known[0]) if len(known) == 1 else _binary(expr.op, known[0], known[1])


def _unary(op: Op, a: Range) -> Range | None:
    match op:
        case Op.NEG:
            return Range(-a.greatest, -a.least)
        case Op.ABS:
            least = 0 if a.least <= 0 <= a.greatest else min(abs(a.least), abs(a.greatest))
            return Range(least, max(abs(a.least), abs(a.greatest)))
        case _:
            return None


def _binary(op: Op, a: Range, b: Range) -> Range | None:
    match op:
        case Op.ADD:
            return Range(a.least + b.least, a.greatest + b.greatest)
        case Op.SUB:
            return Range(a.least - b.greatest, a.greatest - b.least)
        case Op.MUL:
            corners = [x * y for x, y in product(_ends(a), _ends(b))]
            return Range(min(corners), max(corners))
        case Op.MIN:
            return Range(min(a.least, b.least), min(a.greatest, b.greatest))
        case Op.MAX:
            return Range(max(a.least, b.least), max(a.greatest, b.greatest))
        case Op.FLOOR_DIV | Op.MOD if not b.least <= 0 <= b.greatest:
            return _divided(a, b) if op is Op.FLOOR_DIV else _remainder(a, b)
        case _ if op in BITWISE and a.least == a.greatest and b.least == b.greatest:
            value = int(compute(op, (a.least, b.least)))
            return Range(value, value)
        case _:
            return None


def _divided(a: Range, b: Range) -> Range:
    # Monotone in the dividend, and in the divisor as long as that keeps its sign.
    corners = [x // y for x, y in product(_ends(a), _ends(b))]
    return Range(min(corners), max(corners))


def _remainder(a: Range, b: Range) -> Range:
    if b.least == b.greatest and a.least // b.least == a.greatest // b.least:
        ends = (a.least % b.least, a.greatest % b.least)
        return Range(min(ends), max(ends))
    return Range(0, b.greatest - 1) if b.least > 0 else Range(b.least + 1, 0)


def _ends(a: Range) -> tuple[int, int]:
    return a.least, a.greatest


def _difference(a: Expr, b: Expr, box: Mapping[Var, Range]) -> Range | None:
    return range_of(Apply(Op.SUB, (a, b)), box)


def _sum_range(expr: Expr, box: Mapping[Var, Range]) -> Range | None:
    """Return the range by the canonical sum, in which equal terms have cancelled."""
    try:
        total = linear(expr)
    except UnanalysableError:
        return None
    least = greatest = total.constant
    for term, weight in total.terms:
        # A product is the only term of its own sum: range_of would come back here for ever.
        if isinstance(term, Apply) and term.op is Op.MUL:
            values = _applied(term, box)
        else:
            values = range_of(term, box)
        if values is None:
            return None
        ends = (values.least * weight, values.greatest * weight)
        least, greatest = least + min(ends), greatest + max(ends)
    return Range(least, greatest)


def _where(condition: TileClass, a: Range | None, b: Range | None) -> Range | None:
    if condition is TileClass.FULL:
        return a
    if condition is TileClass.EMPTY:
        return b
    if a is None or b is None:
        return None
    return Range(min(a.least, b.least), max(a.greatest, b.greatest))


def _all_of(a: TileClass, b: TileClass) -> TileClass:
    if TileClass.EMPTY in (a, b):
        return TileClass.EMPTY
    return TileClass.FULL if a is b is TileClass.FULL else TileClass.PARTIAL


def _chosen(condition: TileClass, a: TileClass, b: TileClass) -> TileClass:
    if condition is TileClass.FULL:
        return a
    if condition is TileClass.EMPTY:
        return b
    return a if a is b else TileClass.PARTIAL


def _compared(op: Op, difference: Range | None) -> TileClass:
    """Return the class of ``difference op 0``."""
    if difference is None:
        return TileClass.PARTIAL
    low, high = difference.least, difference.greatest
    match op:
        case Op.LE:
            always, never = high <= 0, low > 0
        case Op.LT:
            always, never = high < 0, low >= 0
        case Op.EQ:
            always, never = low == high == 0, low > 0 or high < 0
        case Op.GE | Op.GT | Op.NE:
            return _compared(INVERSE[op], difference).opposite
        case _:
            always = never = False
    if always:
        return TileClass.FULL
    return TileClass.EMPTY if never else TileClass.PARTIAL
