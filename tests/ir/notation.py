"""The IR for tests: ``expr("k <= q and docs[b, k] < 4")``, ``attention(mask="k <= q")``.

Expressions are written as Python and read by Python's own parser, so that tests of the IR lean on
nothing of ours but the nodes.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from functools import reduce

from flash4gen.ir.expr import (
    ALWAYS,
    SCORE,
    Apply,
    Expr,
    Extent,
    Input,
    InputDType,
    Literal,
    Lookup,
    Op,
    Var,
    Variable,
    lookups,
)
from flash4gen.ir.nodes import Attention, DType, EmptyRow, Lengths, Pass

_UNARY: dict[type[ast.unaryop], Op] = {ast.USub: Op.NEG, ast.Not: Op.NOT}
_BINARY: dict[type[ast.operator], Op] = {
    ast.Add: Op.ADD,
    ast.Sub: Op.SUB,
    ast.Mult: Op.MUL,
    ast.Div: Op.DIV,
    ast.FloorDiv: Op.FLOOR_DIV,
    ast.Mod: Op.MOD,
    ast.BitAnd: Op.BIT_AND,
    ast.BitOr: Op.BIT_OR,
    ast.BitXor: Op.BIT_XOR,
    ast.LShift: Op.SHIFT_LEFT,
    ast.RShift: Op.SHIFT_RIGHT,
    ast.Pow: Op.POW,
}
_COMPARE: dict[type[ast.cmpop], Op] = {
    ast.Lt: Op.LT,
    ast.LtE: Op.LE,
    ast.Gt: Op.GT,
    ast.GtE: Op.GE,
    ast.Eq: Op.EQ,
    ast.NotEq: Op.NE,
}


TENSORS = {
    tensor.name: tensor
    for tensor in (
        Input("slopes", InputDType.F32, (Extent.HEADS,)),
        Input("temperature", InputDType.F32, (Extent.HEADS, Extent.SEQ_Q)),
        Input("key_bias", InputDType.BF16, (Extent.HEADS, Extent.SEQ_K)),
        Input("bias", InputDType.BF16, (Extent.HEADS, Extent.SEQ_Q, Extent.SEQ_K)),
        Input("table", InputDType.F32, (Extent.HEADS, 9)),
        Input("docs", InputDType.I32, (Extent.BATCH, Extent.SEQ_K)),
        Input("q_docs", InputDType.I32, (Extent.BATCH, Extent.SEQ_Q)),
        Input("lengths", InputDType.I32, (Extent.BATCH,)),
        Input("gains", InputDType.F32, (Extent.BATCH, Extent.HEADS)),
        Input("group_gains", InputDType.BF16, (Extent.KV_HEADS,)),
        Input("entry_gains", InputDType.F32, (Extent.BATCH,)),
    )
}
"""The input tensors that expressions may read."""


def expr(text: str) -> Expr:
    """Return the expression that a text in Python's syntax stands for, rewriting nothing."""
    return _convert(ast.parse(text, mode="eval").body)


def _convert(node: ast.expr) -> Expr:
    match node:
        case ast.Name(id=name):
            return _named(name)
        case ast.Constant(value=bool() | int() | float() as value):
            return Literal(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return Literal(-value)
        case ast.UnaryOp(op=op, operand=operand):
            return _apply(_UNARY[type(op)], operand)
        case ast.BinOp(left=left, op=operator, right=right):
            return _apply(_BINARY[type(operator)], left, right)
        case ast.Compare(left=left, ops=[comparison], comparators=[right]):
            return _apply(_COMPARE[type(comparison)], left, right)
        case ast.BoolOp(op=logical, values=values):
            chain = Op.AND if isinstance(logical, ast.And) else Op.OR
            return reduce(lambda a, b: Apply(chain, (a, b)), map(_convert, values))
        case ast.Subscript(value=ast.Name(id=name), slice=index):
            indices = index.elts if isinstance(index, ast.Tuple) else [index]
            return Lookup(TENSORS[name], tuple(map(_convert, indices)))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _apply(Op.TO_FLOAT if name == "float" else Op(name), *args)
        case _:
            raise ValueError(f"the tests' notation has no {ast.unparse(node)}")


def _apply(op: Op, *args: ast.expr) -> Expr:
    return Apply(op, tuple(map(_convert, args)))


def _named(name: str) -> Expr:
    if name in ("true", "false"):
        return Literal(name == "true")
    return expr("q + (seq_k - seq_q)") if name == "q_end" else Variable(Var(name))


def attention(**changes: object) -> Attention:
    """Return a small valid attention; ``score`` and ``mask`` may be given as text.

    It declares the tensors that they read.
    """
    exprs: list[Expr] = []
    for name in ("score", "mask"):
        if isinstance(text := changes.get(name), str):
            changes[name] = expr(text)
            exprs.append(expr(text))
    read = (lookup.tensor for lookup in lookups(*exprs))
    changes.setdefault("inputs", tuple(dict.fromkeys(read)))
    return replace(_SMALL, **changes)  # type: ignore[arg-type]  # checked by what a test does


_SMALL = Attention(
    name="small",
    doc="",
    dtype=DType.FP16,
    heads=4,
    kv_heads=2,
    head_dim=16,
    value_dim=16,
    scale=0.25,
    score=SCORE,
    mask=ALWAYS,
    empty_row=EmptyRow.ZERO,
    lengths=Lengths.ANY,
    passes=(Pass.FORWARD,),
    targets=(),
    pins=(),
    fields=(),
)
