"""The mask of single elements in the ``blackwell`` family: as bits of a word, or as comparisons.

Where every row sees one or two intervals of keys, and the bounds of a mask say which, a fragment's
mask is a word with a bit for each key, and the tests are a few instructions for eight keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.expr import Literal, Op, Variable
from flash4gen.ir.masks import Compute, Row, RowPosition, Scalar, Segment, bounds
from flash4gen.ir.masks.scalar import ZERO
from flash4gen.render.context_blackwell import KeyMask

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context import Mask


def key_mask(
    attention: Attention, mask: Mask, step_arguments: tuple[str, ...], holder: str
) -> KeyMask:
    """Return the concern.

    Args:
        attention: the variant.
        mask: its mask as printed for the loop bounds.
        step_arguments: of ``_visible`` in the softmax step.
        holder: what has seq_q and seq_k.
    """
    segments = bounds(attention.mask).segments
    bits = bool(segments) and all(_is_exact(segment) for segment in segments)
    own = {"q_first": "q", "q_last": "q"}
    own |= {name: f"{holder}.{name}" for name in ("seq_q", "seq_k")}
    per_row = tuple(own.get(name, name) for name in mask.range_arguments)
    parameters = tuple(
        name
        for name in mask.range_parameters
        if name not in ("q_first", "q_last", "seq_q", "seq_k")
    )
    names = ("keys",) if len(segments) == 1 else ("first", "second")
    return KeyMask(
        impl="bits" if bits else "expr",
        title=mask.title,
        text=mask.text,
        parameters=mask.parameters,
        body=mask.body,
        origin=mask.origin,
        arguments=step_arguments,
        holder=holder,
        row_parameters=("q", *parameters, holder),
        row_arguments=("q", *parameters, holder),
        visible=f"{', '.join(names)} = _visible_keys({', '.join(per_row)})",
        bounds=tuple(
            text
            for name in names
            for text in (
                f"{name}[0] + 0 * q",
                f"gl.minimum({name}[1], {holder}.seq_k) + 0 * q",
            )
        ),
        bits=tuple(_bits(index, segment) for index, segment in enumerate(segments)),
    )


def _bits(index: int, segment: Segment) -> str:
    below = f"_bits_below(keys[{2 * index + 1}] - key)"
    if segment.live_start != ZERO:
        below += f" & ~_bits_below(keys[{2 * index}] - key)"
    return f"bits = {below}" if index == 0 else f"bits = bits | ({below})"


def _is_exact(segment: Segment) -> bool:
    """Whether the bounds of a single row are the very keys that it sees."""
    return _in_row(segment.live_start) == _in_row(segment.full_start) and _in_row(
        segment.live_end
    ) == _in_row(segment.full_end)


def _in_row(scalar: Scalar) -> Scalar:
    """Return a bound of a tile that is one row."""
    match scalar:
        case RowPosition():
            return RowPosition(Row.FIRST)
        case Compute(op=Op.MIN | Op.MAX as op, args=args):
            found = tuple(dict.fromkeys(_in_row(arg) for arg in args))
            return found[0] if len(found) == 1 else Compute(op, found)
        case Compute(op=op, args=args):
            return Compute(op, tuple(_in_row(arg) for arg in args))
        case Literal() | Variable():
            return scalar
