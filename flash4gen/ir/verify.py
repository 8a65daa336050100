"""The invariants of the IR: what holds for every ``Attention`` that a later stage may be given.

In: an attention. Out: a sentence for every invariant that does not hold. User mistakes are found
long before, with a place in the spec; a violation here is a fault of ours.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from flash4gen.ir.expr import (
    SIGNATURES,
    Apply,
    Expr,
    Extent,
    Input,
    InputDType,
    Literal,
    Op,
    Type,
    Var,
    lookups,
    variables,
    walk,
)
from flash4gen.ir.nodes import (
    Attention,
    DType,
    EmptyRow,
    Lengths,
    Norm,
    Pass,
    Weights,
    descales,
)
from flash4gen.ir.widths import HEAD_DIMS, HEAD_DIMS_8_BIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from enum import StrEnum

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INT32 = range(-(2**31), 2**31)
_MAX_FLOAT32 = (2 - 2**-23) * 2.0**127


class InvalidIRError(Exception):
    """The ``ir`` stage made an attention that breaks its invariants: an internal fault."""

    def __init__(self, name: str, violations: tuple[str, ...]) -> None:
        super().__init__(f"ir: attention {name!r} is invalid: {'; '.join(violations)}")
        self.violations = violations


def verify(attention: Attention) -> tuple[str, ...]:
    """Return what is wrong with an attention, nothing if it is valid."""
    return (
        *_text(attention),
        *_enums(attention),
        *_sizes(attention),
        *_expression("score", attention.score, Type.FLOAT),
        *_expression("mask", attention.mask, Type.BOOL),
        *_mask_variables(attention.mask),
        *_sink(attention.sink),
        *_weights(attention),
        *_formats(attention),
        *_dropout(attention),
        *_blocks(attention),
        *_norms(attention),
        *_epilogue(attention.epilogue),
        *_elements(attention),
        *_inputs(attention),
        *_lists(attention),
    )


def assert_valid(attention: Attention) -> None:
    """Check every invariant.

    Raises:
        InvalidIRError: with every violation, not just the first.
    """
    violations = verify(attention)
    if violations:
        raise InvalidIRError(attention.name, violations)


def _text(attention: Attention) -> Iterator[str]:
    if not _IDENTIFIER.fullmatch(attention.name):
        yield f"name {attention.name!r} is not an identifier"
    if "\n" in attention.doc:
        yield "doc has more than one line"


def _enums(attention: Attention) -> Iterator[str]:
    expected: tuple[tuple[str, object, type[StrEnum]], ...] = (
        ("dtype", attention.dtype, DType),
        ("empty_row", attention.empty_row, EmptyRow),
        ("lengths", attention.lengths, Lengths),
        ("weights", attention.weights, Weights),
    )
    for name, value, kind in expected:
        if not isinstance(value, kind):
            yield f"{name} is {value!r}, not of type {kind.__name__}"


def _sizes(attention: Attention) -> Iterator[str]:
    for name in ("heads", "kv_heads"):
        if not _is_count(getattr(attention, name)):
            yield f"{name} is {getattr(attention, name)!r}, not a whole number above 0"
    heads, kv_heads = attention.heads, attention.kv_heads
    if _is_count(heads) and _is_count(kv_heads) and heads % kv_heads != 0:
        yield f"heads {heads} is not a multiple of kv_heads {kv_heads}"
    eight = attention.dtype is DType.FP8_E4M3
    widths = HEAD_DIMS_8_BIT if eight else HEAD_DIMS
    for name in ("head_dim", "value_dim"):
        if not _is_count(getattr(attention, name)) or getattr(attention, name) not in widths:
            yield (
                f"{name} is {getattr(attention, name)!r}, "
                f"not one of {widths[0]}, {widths[1]}, ... {widths[-1]}"
            )
    scale = attention.scale
    if not isinstance(scale, float) or not math.isfinite(scale) or scale <= 0:
        yield f"scale is {scale!r}, not a finite float above 0"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _expression(name: str, expr: Expr, expected: Type) -> Iterator[str]:
    nodes = tuple(walk(expr))
    operators = tuple(node for node in nodes if isinstance(node, Apply))
    unknown = {str(node.op) for node in operators if node.op not in SIGNATURES}
    if unknown:  # nothing has a type then
        yield from (f"{name}: unknown operator {op!r}" for op in sorted(unknown))
        return
    if expr.type is not expected:
        yield f"{name} is {expr.type.value}, not {expected.value}"
    for operator in operators:
        yield from (f"{name}: {violation}" for violation in _operator(operator))
    for literal in (node for node in nodes if isinstance(node, Literal)):
        yield from (f"{name}: {violation}" for violation in _literal(literal))


def _operator(node: Apply) -> Iterator[str]:
    if node.op in (Op.FLOOR_DIV, Op.MOD) and node.args[1] == Literal(0):
        yield f"{node.op.value!r} by the constant 0"


def _literal(node: Literal) -> Iterator[str]:
    if node.type is Type.INT and node.value not in _INT32:
        yield f"{node.value} does not fit 32 bits"
    if node.type is Type.FLOAT and not abs(node.value) <= _MAX_FLOAT32:
        yield f"{node.value} is not a finite float32"


def _mask_variables(mask: Expr) -> Iterator[str]:
    if Var.S in variables(mask):
        yield "mask reads the score"


def _sink(sink: Expr | None) -> Iterator[str]:
    if sink is None:
        return
    yield from _expression("sink", sink, Type.FLOAT)
    if {Var.S, Var.Q, Var.K} & variables(sink):
        yield "sink reads the score or a position"


def _weights(attention: Attention) -> Iterator[str]:
    if not attention.normalised and attention.sink is not None:
        yield "a sink joins no sum of sigmoid weights"
    if not attention.normalised and attention.empty_row is not EmptyRow.ZERO:
        yield "with sigmoid weights an empty row is zero"


def _blocks(attention: Attention) -> Iterator[str]:
    if attention.block_size is None:
        return
    if not _is_count(attention.block_size):
        yield f"block_size is {attention.block_size!r}, not a whole number above 0"
    if attention.lengths is Lengths.EQUAL:
        yield "keys in blocks have lengths of their own, not that of the queries"
    if any(Extent.SEQ_K in tensor.axes for tensor in attention.inputs):
        yield "an input lies along keys, which have no common length"


def _norms(attention: Attention) -> Iterator[str]:
    for name in ("q_norm", "k_norm"):
        norm: Norm | None = getattr(attention, name)
        if norm is None:
            continue
        yield from _expression(name, norm.weight, Type.FLOAT)
        if not isinstance(norm.eps, float) or not 0 < norm.eps < math.inf:
            yield f"{name} has eps {norm.eps!r}, not a finite float above 0"
        if {Var.S, Var.Q, Var.K, Var.OUT} & variables(norm.weight):
            yield f"{name} reads the score, a position or the output"


def _epilogue(epilogue: Expr | None) -> Iterator[str]:
    if epilogue is None:
        return
    yield from _expression("epilogue", epilogue, Type.FLOAT)
    if {Var.S, Var.K} & variables(epilogue):
        yield "epilogue reads the score or a key"


def _elements(attention: Attention) -> Iterator[str]:
    for name in ("score", "mask", "sink"):
        expr: Expr | None = getattr(attention, name)
        if expr is not None and {Var.D, Var.OUT} & variables(expr):
            yield f"{name} reads an element of a row"


def _formats(attention: Attention) -> Iterator[str]:
    eight = attention.dtype is DType.FP8_E4M3
    if attention.output is DType.FP8_E4M3:
        yield "out has 8-bit elements"
    if not eight and (attention.out_dtype is not None or attention.scales is not None):
        yield f"{attention.dtype} has an output type of its own, or factors"
    if attention.scales is not None and attention.inputs[-3:] != descales(attention.scales):
        yield "the last three inputs are not the factors of q, k and v"


def _dropout(attention: Attention) -> Iterator[str]:
    if not isinstance(attention.dropout, float) or not 0 <= attention.dropout < 1:
        yield f"dropout is {attention.dropout!r}, not a probability below 1"
    own = attention.own_inputs
    if attention.dropout and attention.inputs[-len(own) :] != own:
        yield "the inputs do not end with the seed and the offset of dropout"


def _inputs(attention: Attention) -> Iterator[str]:
    for tensor in attention.inputs:
        yield from (f"input {tensor.name}: {violation}" for violation in _input(tensor))
    yield from _repeated("inputs", (tensor.name for tensor in attention.inputs))
    for found in lookups(*attention.expressions):
        name = found.tensor.name
        if found.tensor not in attention.inputs:
            yield f"{name} is read and not declared"
        if len(found.indices) != len(found.tensor.axes):
            yield f"{name} has {len(found.tensor.axes)} axes and {len(found.indices)} indices"
        if any(index.type is not Type.INT for index in found.indices):
            yield f"an index of {name} is not a whole number"


def _input(tensor: Input) -> Iterator[str]:
    if not _IDENTIFIER.fullmatch(tensor.name):
        yield "the name is not an identifier"
    if not isinstance(tensor.dtype, InputDType):
        yield f"dtype is {tensor.dtype!r}"
    if not tensor.axes:
        yield "there is no axis"
    for axis in tensor.axes:
        if not isinstance(axis, Extent) and not _is_count(axis):
            yield f"axis {axis!r} is neither a name nor a whole number above 0"


def _lists(attention: Attention) -> Iterator[str]:
    if not attention.passes:
        yield "passes is empty"
    for item in attention.passes:
        if not isinstance(item, Pass):
            yield f"passes holds {item!r}, not a Pass"
    yield from _repeated("passes", attention.passes)
    yield from _repeated("targets", attention.targets)
    yield from _repeated("pins", (pin.name for pin in attention.pins))
    yield from _repeated("fields", (field.name for field in attention.fields))


def _repeated(name: str, items: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for item in items:
        if item in seen:
            yield f"{name} holds {str(item)!r} twice"
        seen.add(item)
