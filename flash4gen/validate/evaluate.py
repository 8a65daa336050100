"""Expressions of a spec in PyTorch: every operation by the one of PyTorch that means the same."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flash4gen.ir.expr import WORD, Apply, Expr, Literal, Lookup, Op, Type, Var, Variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NO_TENSORS: Mapping[str, Tensor] = MappingProxyType({})
"""For attentions without inputs."""

_MEANING: dict[Op, Callable[..., Tensor]] = {
    Op.ADD: torch.add,
    Op.SUB: torch.sub,
    Op.MUL: torch.mul,
    Op.DIV: torch.true_divide,
    Op.FLOOR_DIV: torch.floor_divide,
    Op.MOD: torch.remainder,
    Op.BIT_AND: torch.bitwise_and,
    Op.BIT_OR: torch.bitwise_or,
    Op.BIT_XOR: torch.bitwise_xor,
    Op.SHIFT_LEFT: lambda a, b: (a << b % WORD).to(torch.int32).long(),
    Op.SHIFT_RIGHT: lambda a, b: a >> b % WORD,
    Op.NEG: torch.neg,
    Op.MIN: torch.minimum,
    Op.MAX: torch.maximum,
    Op.ABS: torch.abs,
    Op.EXP: torch.exp,
    Op.LOG: torch.log,
    Op.TANH: torch.tanh,
    Op.SIGMOID: torch.sigmoid,
    Op.SQRT: torch.sqrt,
    Op.RSQRT: torch.rsqrt,
    Op.POW: torch.pow,
    Op.LT: torch.lt,
    Op.LE: torch.le,
    Op.GT: torch.gt,
    Op.GE: torch.ge,
    Op.EQ: torch.eq,
    Op.NE: torch.ne,
    Op.AND: torch.logical_and,
    Op.OR: torch.logical_or,
    Op.NOT: torch.logical_not,
    Op.WHERE: torch.where,
}


def evaluate(
    expr: Expr,
    env: Mapping[Var, Tensor],
    *,
    float_dtype: torch.dtype = torch.float64,
    tensors: Mapping[str, Tensor] = NO_TENSORS,
) -> Tensor:
    """Return the value of an expression on tensors that broadcast against each other.

    Args:
        expr: any expression.
        env: a tensor for every variable that it reads: int64, for the score ``float_dtype``.
        float_dtype: in what floats are computed.
        tensors: the inputs that it looks up, by name.

    Returns:
        bool, int64 or ``float_dtype``, of the broadcast shape. Integer division and remainder
        round down.

    Raises:
        KeyError: a variable or an input has no value.
        RuntimeError: an integer is divided by zero (PyTorch's message).
    """
    match expr:
        case Literal(value):
            dtypes = {Type.BOOL: torch.bool, Type.INT: torch.int64, Type.FLOAT: float_dtype}
            return torch.tensor(value, dtype=dtypes[expr.type])
        case Variable(var):
            return env[var]
        case Apply(op, args):
            values = [evaluate(arg, env, float_dtype=float_dtype, tensors=tensors) for arg in args]
            if op is Op.TO_FLOAT:
                return values[0].to(float_dtype)
            return _MEANING[op](*values)
        case Lookup(tensor, indices):
            places = [evaluate(index, env, tensors=tensors) for index in indices]
            found = _elements(tensors[tensor.name], places)
            return found.to(float_dtype if expr.type is Type.FLOAT else torch.int64)


def _elements(tensor: Tensor, indices: list[Tensor]) -> Tensor:
    """Return elements of a tensor, 0 where an index lies outside; indices broadcast."""
    inside = torch.tensor(True)
    for index, size in zip(indices, tensor.shape, strict=True):
        inside = inside & (index >= 0) & (index < size)
    found = torch.zeros(inside.shape, dtype=tensor.dtype)
    found[inside] = tensor[tuple(index.expand(inside.shape)[inside] for index in indices)]
    return found
