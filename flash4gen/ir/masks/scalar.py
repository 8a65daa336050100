"""Integers that a kernel computes once per query tile: the language that loop bounds are said in.

Like ``ir.expr``, but without the key and the score, and with the tile's first and last row in the
place of the query position. Booleans occur as conditions of ``where``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flash4gen.ir.expr import Apply, Expr, Literal, Lookup, Op, Var, Variable
from flash4gen.ir.semantics import Value, compute


class Row(StrEnum):
    """The rows of a query tile that a bound may read.

    ``LAST`` is inclusive and exists: the tile's last row, or ``seq_q - 1`` if that comes first.
    """

    FIRST = "q_first"
    LAST = "q_last"


@dataclass(frozen=True, slots=True)
class RowPosition:
    """The position of the tile's first or last row."""

    row: Row


@dataclass(frozen=True, slots=True)
class Compute:
    """An operator on scalars; the operators and their meaning are those of ``ir.expr``."""

    op: Op
    args: tuple[Scalar, ...]


Scalar = Literal | Variable | RowPosition | Compute
"""``Variable`` is one of H, HKV, B, SEQ_Q and SEQ_K; ``Literal`` an int or a bool."""

ZERO = Literal(0)
SEQ_K = Variable(Var.SEQ_K)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryTile:
    """The rows of one query tile and all else that a kernel instance knows of its place.

    Attributes:
        first: position of the first row.
        last: position of the last row, inclusive, below ``seq_q``.
        seq_q: query length.
        seq_k: key length.
        h: query head.
        hkv: key/value head.
        b: batch entry.
    """

    first: int
    last: int
    seq_q: int
    seq_k: int
    h: int = 0
    hkv: int = 0
    b: int = 0

    def value(self, var: Var) -> int:
        """Return what a variable is here; the score, the query and the key vary in a tile."""
        known = {
            Var.H: self.h,
            Var.HKV: self.hkv,
            Var.B: self.b,
            Var.SEQ_Q: self.seq_q,
            Var.SEQ_K: self.seq_k,
        }
        return known[var]


def evaluate_scalar(scalar: Scalar, at: QueryTile) -> Value:
    """Return the value of a scalar for one query tile."""
    match scalar:
        case Literal(value):
            return value
        case Variable(var):
            return at.value(var)
        case RowPosition(row):
            return at.first if row is Row.FIRST else at.last
        case Compute(op, args):
            return compute(op, tuple(evaluate_scalar(arg, at) for arg in args))


def place(expr: Expr, row: Row | None = None) -> Scalar:
    """Return an expression as a scalar, with ``row`` in the place of ``q``.

    Raises:
        ValueError: it reads what varies in a tile: ``s``, ``k``, or ``q`` where no row is given.
    """
    match expr:
        case Apply(op, args):
            return Compute(op, tuple(place(arg, row) for arg in args))
        case Variable(var=Var.Q) if row is not None:
            return RowPosition(row)
        case Variable(var=Var.S | Var.Q | Var.K):
            raise ValueError(f"{expr.var.value} differs between the elements of a tile")
        case Lookup(tensor):
            raise ValueError(f"what {tensor.name} holds is known at run time only")
        case Literal() | Variable():
            return expr
