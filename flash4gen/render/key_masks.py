"""The mask of single elements in the ``blackwell`` family: as bits of a word, or as comparisons.

Where every row sees one or two intervals of keys, and the bounds of a mask say which, a fragment's
mask is a word with a bit for each key, and the tests are a few instructions for eight keys.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from flash4gen.ir.expr import ALWAYS, Apply, Expr, Literal, Op, Var, Variable, lookups
from flash4gen.ir.masks import Compute, Row, RowPosition, Scalar, Segment, bounds
from flash4gen.ir.masks.scalar import ZERO
from flash4gen.render import expressions
from flash4gen.render.context_blackwell import KeyMask
from flash4gen.render.inputs import outside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context import Mask


def key_mask(attention: Attention, mask: Mask, names: Mapping[Var, str], holder: str) -> KeyMask:
    """Return the concern.

    Args:
        attention: the variant.
        mask: its mask as printed for the loop bounds.
        names: of variables in the softmax step.
        holder: what has seq_q and seq_k.
    """
    segments = bounds(attention.mask).segments
    plain, opaque = split(attention.mask)
    # What tensors say leaves no tile whole, and the others' bounds as they are.
    known = bounds(plain).segments
    bits = bool(known) and all(is_exact(segment) for segment in known)
    bits = bits and [live(segment) for segment in known] == [live(part) for part in segments]
    own = {"q_first": "q", "q_last": "q"}
    own |= {name: f"{holder}.{name}" for name in ("seq_q", "seq_k")}
    per_row = tuple(own.get(name, name) for name in mask.range_arguments)
    parameters = tuple(
        name
        for name in mask.range_parameters
        if name not in ("q_first", "q_last", "seq_q", "seq_k")
    )
    ranges = ("keys",) if len(segments) == 1 else ("first", "second")
    return KeyMask(
        impl=_impl(opaque, bits=bits),
        title=mask.title,
        origin=mask.origin,
        **_comparison(attention, opaque if bits and opaque != ALWAYS else attention.mask, names),
        holder=holder,
        row_parameters=("q", *parameters, holder),
        row_arguments=("q", *parameters, holder),
        visible=f"{', '.join(ranges)} = _visible_keys({', '.join(per_row)})",
        bounds=tuple(
            text
            for name in ranges
            for text in (
                f"{name}[0] + 0 * q",
                f"gl.minimum({name}[1], {holder}.seq_k) + 0 * q",
            )
        ),
        bits=tuple(_bits(index, segment) for index, segment in enumerate(segments) if bits),
        reads=_reads(attention, opaque, bits=bits),
    )


def _impl(opaque: Expr, *, bits: bool) -> str:
    if bits:
        return "bits" if opaque == ALWAYS else "bits_read"
    return "expr" if opaque == ALWAYS else "read"


def _reads(attention: Attention, opaque: Expr, *, bits: bool) -> tuple[str, ...]:
    """Return the variables of the comparisons; without intervals, they are of all keys."""
    read = outside(opaque) if bits else outside(attention.mask) | {Var.K}
    return tuple(var.value for var in expressions.ORDER if var in read)


def _comparison(attention: Attention, part: Expr, names: Mapping[Var, str]) -> dict[str, Any]:
    """Return the function of a mask, or of a part of it, and what it is given."""
    read = outside(part)
    values = expressions.values(part, attention)
    return {
        "text": expressions.short(part),
        "parameters": (*(var.value for var in expressions.ORDER if var in read), *values),
        "body": expressions.returned(part, attention),
        "arguments": (*(names[var] for var in expressions.ORDER if var in read), *values),
    }


def split(mask: Expr) -> tuple[Expr, Expr]:
    """Return the conditions of a mask without look-ups, and those with some; either may be none."""
    plain = [term for term in _terms(mask) if not lookups(term)]
    opaque = [term for term in _terms(mask) if lookups(term)]
    return _all(plain), _all(opaque)


def _terms(mask: Expr) -> list[Expr]:
    if isinstance(mask, Apply) and mask.op is Op.AND:
        return [term for arg in mask.args for term in _terms(arg)]
    return [mask]


def _all(terms: list[Expr]) -> Expr:
    return reduce(lambda a, b: Apply(Op.AND, (a, b)), terms) if terms else ALWAYS


def live(segment: Segment) -> tuple[Scalar, Scalar]:
    """Return where a segment begins and ends."""
    return segment.live_start, segment.live_end


def _bits(index: int, segment: Segment) -> str:
    below = f"_bits_below(keys[{2 * index + 1}] - key)"
    if segment.live_start != ZERO:
        below += f" & ~_bits_below(keys[{2 * index}] - key)"
    return f"bits = {below}" if index == 0 else f"bits = bits | ({below})"


def is_exact(segment: Segment) -> bool:
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
