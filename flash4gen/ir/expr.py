"""Typed expressions over scores, positions, constants and input tensors: what a spec computes.

Nodes are frozen and compare by value; spans are carried along and never compared. Every operator's
typing and arity stand in one table, ``SIGNATURES``, which the verifier, the oracle, the mask
analysis and the printers all cover.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.source import Span


class Type(StrEnum):
    """The three kinds of value: a score, a position or count, a mask."""

    FLOAT = "float"
    INT = "int"
    BOOL = "bool"


class Var(StrEnum):
    """What an expression may read. Positions count from 0.

    ``S`` is the scaled score ``(q·k)·scale``; ``H`` and ``HKV`` the query and the key/value head;
    ``B`` the batch entry; ``Q_END`` is ``Q + SEQ_K - SEQ_Q``, the query's position when the last
    query is aligned with the last key. It stands as ``Q + (SEQ_K - SEQ_Q)`` in the IR, so that
    there is one way to write it.

    Two have values in some places only: ``D`` is the place of an element in its row, in the weight
    of a norm and in the output; ``OUT`` an element of the output.
    """

    S = "s"
    Q = "q"
    K = "k"
    H = "h"
    HKV = "hkv"
    B = "b"
    SEQ_Q = "seq_q"
    SEQ_K = "seq_k"
    D = "d"
    OUT = "out"

    @property
    def type(self) -> Type:
        """FLOAT for the score and the output, INT for everything else."""
        return Type.FLOAT if self in (Var.S, Var.OUT) else Type.INT


class Op(StrEnum):
    """Operators of the IR. Overloads are resolved: ADD on ints and ADD on floats differ by type."""

    ADD = "+"
    SUB = "-"
    MUL = "*"
    DIV = "/"
    FLOOR_DIV = "//"
    MOD = "%"
    BIT_AND = "&"
    BIT_OR = "|"
    BIT_XOR = "^"
    SHIFT_LEFT = "<<"
    SHIFT_RIGHT = ">>"
    NEG = "neg"
    MIN = "min"
    MAX = "max"
    ABS = "abs"
    EXP = "exp"
    LOG = "log"
    TANH = "tanh"
    SIGMOID = "sigmoid"
    SQRT = "sqrt"
    RSQRT = "rsqrt"
    POW = "**"
    TO_FLOAT = "to_float"
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    EQ = "=="
    NE = "!="
    AND = "and"
    OR = "or"
    NOT = "not"
    WHERE = "where"


_F, _I, _B = Type.FLOAT, Type.INT, Type.BOOL
_NUMERIC: tuple[tuple[tuple[Type, ...], Type], ...] = (((_F, _F), _F), ((_I, _I), _I))
_COMPARE: tuple[tuple[tuple[Type, ...], Type], ...] = (((_F, _F), _B), ((_I, _I), _B))
_UNARY_FLOAT: tuple[tuple[tuple[Type, ...], Type], ...] = (((_F,), _F),)

SIGNATURES: dict[Op, tuple[tuple[tuple[Type, ...], Type], ...]] = {
    Op.ADD: _NUMERIC,
    Op.SUB: _NUMERIC,
    Op.MUL: _NUMERIC,
    Op.DIV: (((_F, _F), _F),),
    Op.FLOOR_DIV: (((_I, _I), _I),),
    Op.MOD: (((_I, _I), _I),),
    Op.BIT_AND: (((_I, _I), _I),),
    Op.BIT_OR: (((_I, _I), _I),),
    Op.BIT_XOR: (((_I, _I), _I),),
    Op.SHIFT_LEFT: (((_I, _I), _I),),
    Op.SHIFT_RIGHT: (((_I, _I), _I),),
    Op.NEG: (((_F,), _F), ((_I,), _I)),
    Op.MIN: _NUMERIC,
    Op.MAX: _NUMERIC,
    Op.ABS: (((_F,), _F), ((_I,), _I)),
    Op.EXP: _UNARY_FLOAT,
    Op.LOG: _UNARY_FLOAT,
    Op.TANH: _UNARY_FLOAT,
    Op.SIGMOID: _UNARY_FLOAT,
    Op.SQRT: _UNARY_FLOAT,
    Op.RSQRT: _UNARY_FLOAT,
    Op.POW: (((_F, _F), _F),),
    Op.TO_FLOAT: (((_I,), _F),),
    Op.LT: _COMPARE,
    Op.LE: _COMPARE,
    Op.GT: _COMPARE,
    Op.GE: _COMPARE,
    Op.EQ: _COMPARE,
    Op.NE: _COMPARE,
    Op.AND: (((_B, _B), _B),),
    Op.OR: (((_B, _B), _B),),
    Op.NOT: (((_B,), _B),),
    Op.WHERE: (((_B, _F, _F), _F), ((_B, _I, _I), _I), ((_B, _B, _B), _B)),
}
"""Operand types → result type, per operator. FLOOR_DIV and MOD round down, as in Python.

Bits are those of 32-bit words in two's complement. A shift is by the five lowest bits of its second
operand; one to the left drops what leaves the word, one to the right repeats the sign.
"""

BITWISE = frozenset({Op.BIT_AND, Op.BIT_OR, Op.BIT_XOR, Op.SHIFT_LEFT, Op.SHIFT_RIGHT})
WORD = 32
"""Bits of a whole number."""


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """A constant. Its Python type decides its IR type.

    Equal are literals of the same type and bits: 1 is not 1.0, and 0.0 is not -0.0.
    """

    value: bool | int | float
    span: Span | None = field(default=None, compare=False, repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[type, str]:
        return type(self.value), repr(self.value)

    @property
    def type(self) -> Type:
        """BOOL, INT or FLOAT by the Python value."""
        if isinstance(self.value, bool):
            return Type.BOOL
        return Type.INT if isinstance(self.value, int) else Type.FLOAT


@dataclass(frozen=True, slots=True)
class Variable:
    """A read of one of the variables."""

    var: Var
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def type(self) -> Type:
        """The variable's own type."""
        return self.var.type


@dataclass(frozen=True, slots=True)
class Apply:
    """An operator on operands whose types match one row of ``SIGNATURES``.

    Raises:
        TypeError: on construction, if no row matches.
    """

    op: Op
    args: tuple[Expr, ...]
    span: Span | None = field(default=None, compare=False, repr=False)
    type: Type = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        found = result_type(self.op, tuple(arg.type for arg in self.args))
        if found is None:
            kinds = ", ".join(arg.type for arg in self.args)
            raise TypeError(f"operator {self.op.value!r} does not take ({kinds})")
        object.__setattr__(self, "type", found)


class Extent(StrEnum):
    """The length of a tensor's axis, by name. The heads are known when a kernel is made."""

    HEADS = "heads"
    KV_HEADS = "kv_heads"
    BATCH = "batch"
    SEQ_Q = "seq_q"
    SEQ_K = "seq_k"


class InputDType(StrEnum):
    """Element types of input tensors. No spec declares one of I64: seeds have it."""

    F32 = "f32"
    BF16 = "bf16"
    FP16 = "fp16"
    I32 = "i32"
    I64 = "i64"

    @property
    def type(self) -> Type:
        """What an expression reads: a FLOAT, computed with in float32, or an INT."""
        return Type.INT if self in (InputDType.I32, InputDType.I64) else Type.FLOAT


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor that the generated function is handed beside q, k and v.

    Attributes:
        name: of the function's parameter.
        dtype: of its elements.
        axes: their lengths, outermost first: by name, or a whole number above 0.
    """

    name: str
    dtype: InputDType
    axes: tuple[Extent | int, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Lookup:
    """An element of an input tensor: ``bias[h, q, k]``. Outside of the tensor it is 0."""

    tensor: Input
    indices: tuple[Expr, ...]
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def type(self) -> Type:
        """INT for whole numbers, FLOAT for all others."""
        return self.tensor.dtype.type


Expr = Literal | Variable | Apply | Lookup


def result_type(op: Op, args: tuple[Type, ...]) -> Type | None:
    """Return the type of ``op`` on these operand types, or None if there is no such operator."""
    return next((result for operands, result in SIGNATURES[op] if operands == args), None)


def walk(expr: Expr) -> Iterator[Expr]:
    """Yield every node, parents before children."""
    yield expr
    for child in children(expr):
        yield from walk(child)


def children(expr: Expr) -> tuple[Expr, ...]:
    """Return the operands of an operator, the indices of a look-up, nothing for a leaf."""
    match expr:
        case Apply():
            return expr.args
        case Lookup():
            return expr.indices
        case _:
            return ()


def variables(expr: Expr) -> frozenset[Var]:
    """Return every variable that the expression reads."""
    return frozenset(node.var for node in walk(expr) if isinstance(node, Variable))


def lookups(*exprs: Expr) -> tuple[Lookup, ...]:
    """Return every look-up in some expressions once, in the order of the text."""
    found = (node for expr in exprs for node in walk(expr) if isinstance(node, Lookup))
    return tuple(dict.fromkeys(found))


SCORE = Variable(Var.S)
ALWAYS = Literal(True)
NEVER = Literal(False)
