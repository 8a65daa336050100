"""Look-ups at ``[..., q, k]`` as text: whole rows of keys, 16 bytes at a time.

Where the last index is the key itself, a softmax thread reads neighbours in memory. Loads of 16
bytes without a condition ask for rows that begin at multiples of 16 bytes and end with a key tile:
the launcher copies others. Strides travel in groups of elements, so that the compiler sees it.
"""

from __future__ import annotations

import re
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

WIDE = ".to(gl.int64)"
"""What makes an offset one of 64 bits."""


def by_rows(lookup: Lookup, attention: Attention) -> bool:
    """Whether a look-up reads a row of keys of a head, query or batch entry."""
    axes = lookup.tensor.axes
    return (
        lookup.indices[-1] == _KEY
        and axes[-1] is Extent.SEQ_K
        and all(
            surely_below(index, extent) or _is_query(index, extent, attention)
            for index, extent in zip(lookup.indices[:-1], axes[:-1], strict=True)
        )
    )


def is_large(tensor: Input) -> bool:
    """Whether a tensor has a number for each query and key: more than 32 bits can count."""
    return {Extent.SEQ_Q, Extent.SEQ_K} <= {*tensor.axes}


def widened(text: InputText, tensor: Input) -> InputText:
    """Return how a tensor is read, with offsets of 64 bits where it is large.

    Gluon of Triton 3.9 hands strides over in 32 bits where they fit, whatever their annotation is.
    """
    if not is_large(tensor):
        return text
    return replace(text, address=re.sub(r"(stride_\d+)", rf"\1{WIDE}", text.address))


def row_text(
    text: InputText, tensor: Input, own: tuple[Lookup, ...], attention: Attention
) -> InputText:
    """Return the text of a tensor of which rows are read, from that of one read by element.

    Args:
        text: how its single elements are read, if some are.
        tensor: the tensor.
        own: the look-ups that read rows of it.
        attention: the variant.
    """
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
    sizes_too = tuple(part for part in text.handed if _is_size(part, tensor))
    of_rows = replace(
        text,
        parameters=("ptr", *strides, *sizes, *indices, *more),
        sizes=sizes,
        address=f"ptr + {wrapped} * {group}" if offset else "ptr",
        inside="",
        handed=(
            f"{tensor.name}_ptr",
            *(f"{tensor.name}_{stride}" for stride in strides),
            *sizes_too,
        ),
        kernel=(
            f"{tensor.name}_ptr",
            *(f"{tensor.name}_{stride}: gl.int64" for stride in strides),
            *(f"{part}: gl.int32" for part in sizes_too),
        ),
        host=(
            tensor.name,
            *((counted,) if strides else ()),
            *(part for part in text.host if part.startswith(f"{tensor.name}.shape")),
        ),
        group=group,
        rows=tuple(f"i{axis} = gl.minimum(i{axis}, {size} - 1)" for axis, size in clamped),
    )
    return widened(of_rows, tensor)


def element_text(text: InputText, tensor: Input) -> InputText:
    """Return how single elements are read of a tensor of which rows are read too.

    Its strides count groups of elements then, whoever reads it.
    """
    group, last = GROUPS[tensor.dtype], len(tensor.axes) - 1
    offset = " + ".join(f"i{axis} * stride_{axis}" for axis in range(last))
    address = f"ptr + ({offset}) * {group} + i{last}" if offset else f"ptr + i{last}"
    alone = replace(text, function=f"{text.function}_element", address=address)
    return widened(alone, tensor)


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
        *(f"inputs.{part}" for part in text.handed if not _is_size(part, lookup.tensor)),
        *(lengths[size] for size in text.sizes),
        *(_printed(index, known) for index in lookup.indices[:-1]),
        *("key + first", "layout"),
    )
    lines = call(arguments, f"{known[lookup]} = {text.function}(", indent=indent)
    return lines.replace("\n" + " " * indent, "\n")


def _is_size(part: str, tensor: Input) -> bool:
    return part.startswith(f"{tensor.name}_size_")


def _printed(index: Expr, known: Names) -> str:
    """Return an index, which is a variable or a number."""
    return known[index] if index in known else str(getattr(index, "value", index))


def _is_query(index: Expr, extent: Extent | int, attention: Attention) -> bool:
    """Whether an index is the query's own, below the length for every query that exists."""
    equal = attention.lengths is Lengths.EQUAL and extent is Extent.SEQ_K
    return index == _QUERY and (equal or extent is Extent.SEQ_Q)
