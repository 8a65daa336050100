"""Look-ups at ``[..., q, k]`` as text: whole rows of keys, 16 bytes at a time.

Where the last index is the key itself, a softmax thread reads neighbours in memory. Loads of 16
bytes without a condition ask for rows that begin at multiples of 16 bytes and end with a key tile:
the launcher copies others. Strides travel in groups of elements, so that the compiler sees it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.ir.expr import Extent, InputDType, Lookup, Var, Variable
from flash4gen.ir.nodes import Lengths
from flash4gen.render.environment import call
from flash4gen.render.inputs import surely_below

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr, Input
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context_inputs import InputText
    from flash4gen.render.source_expr import Names

GROUPS = {InputDType.F32: 4, InputDType.I32: 4, InputDType.BF16: 8, InputDType.FP16: 8}
"""Elements of 16 bytes."""

_KEY = Variable(Var.K)
_QUERY = Variable(Var.Q)


def by_rows(tensor: Input, own: tuple[Lookup, ...], attention: Attention) -> bool:
    """Whether every look-up of a tensor reads a row of keys of a head, query or batch entry."""
    return all(
        lookup.indices[-1] == _KEY
        and tensor.axes[-1] is Extent.SEQ_K
        and all(
            surely_below(index, extent) or _is_query(index, extent, attention)
            for index, extent in zip(lookup.indices[:-1], tensor.axes[:-1], strict=True)
        )
        for lookup in own
    )


def row_text(
    text: InputText, tensor: Input, own: tuple[Lookup, ...], attention: Attention
) -> InputText:
    """Return the text of a tensor of which rows are read, from that of one read by element."""
    group, last = GROUPS[tensor.dtype], len(tensor.axes) - 1
    clamped = [
        (axis, str(tensor.axes[axis]))
        for axis in range(last)
        if any(_is_query(lookup.indices[axis], tensor.axes[axis], attention) for lookup in own)
    ]
    sizes = tuple(dict.fromkeys(size for _, size in clamped))
    strides = tuple(f"stride_{axis}" for axis in range(last))
    indices = tuple(f"i{axis}" for axis in range(last))
    offset = " + ".join(f"{i} * {s}" for i, s in zip(indices, strides, strict=True))
    wrapped = f"({offset})" if last > 1 else offset
    more = ("key", "LAYOUT: gl.constexpr")
    counted = f"*(s // {group} for s in {tensor.name}.stride()[:-1])"
    return replace(
        text,
        parameters=("ptr", *strides, *sizes, *indices, *more),
        sizes=sizes,
        address=f"ptr + {wrapped} * {group}" if offset else "ptr",
        handed=(f"{tensor.name}_ptr", *(f"{tensor.name}_{stride}" for stride in strides)),
        kernel=(
            f"{tensor.name}_ptr",
            *(f"{tensor.name}_{stride}: gl.int64" for stride in strides),
        ),
        host=(tensor.name, *((counted,) if strides else ())),
        group=group,
        rows=tuple(f"i{axis} = gl.minimum(i{axis}, {size} - 1)" for axis, size in clamped),
    )


def row_read(lookup: Lookup, text: InputText, known: Names, indent: int) -> str:
    """Return the lines that read the elements of a fragment's keys.

    Args:
        lookup: what is read.
        text: its tensor.
        known: what variables, lengths and values are called.
        indent: columns to the left of the lines, which are not printed.
    """
    lengths = {var.value: known[Variable(var)] for var in (Var.SEQ_Q, Var.SEQ_K)}
    arguments = (
        *(f"inputs.{part}" for part in text.handed),
        *(lengths[size] for size in text.sizes),
        *(_printed(index, known) for index in lookup.indices[:-1]),
        *("key + first", "layout"),
    )
    lines = call(arguments, f"{known[lookup]} = {text.function}(", indent=indent)
    return lines.replace("\n" + " " * indent, "\n")


def _printed(index: Expr, known: Names) -> str:
    """Return an index, which is a variable or a number."""
    return known[index] if index in known else str(getattr(index, "value", index))


def _is_query(index: Expr, extent: Extent | int, attention: Attention) -> bool:
    """Whether an index is the query's own, below the length for every query that exists."""
    equal = attention.lengths is Lengths.EQUAL and extent is Extent.SEQ_K
    return index == _QUERY and (equal or extent is Extent.SEQ_Q)
