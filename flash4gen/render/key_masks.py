"""The mask of single elements in the ``blackwell`` family: as bits of a word, or as comparisons.

Where every row sees one or two intervals of keys, and the bounds of a mask say which, a fragment's
mask is a word with a bit for each key, and the tests are a few instructions for eight keys.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from flash4gen.ir.expr import ALWAYS, Apply, Expr, Literal, Op, Var, Variable, lookups
from flash4gen.ir.masks import Compute, Row, RowPosition, Scalar, Segment, bounds
from flash4gen.ir.masks.scalar import ZERO
from flash4gen.render import expressions
from flash4gen.render.context_blackwell import KeyMask
from flash4gen.render.inputs import ordered, outside, value_names
from flash4gen.render.source_expr import TRITON, statements
from flash4gen.render.word_masks import word_mask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flash4gen.ir.expr import Lookup
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context import Mask
    from flash4gen.render.source_expr import Names
    from flash4gen.render.word_masks import WordMask


def key_mask(attention: Attention, mask: Mask, names: Mapping[Var, str], holder: str) -> KeyMask:
    """Return the concern.

    Args:
        attention: the variant.
        mask: its mask as printed for the loop bounds.
        names: of variables in the softmax step.
        holder: what has seq_q and seq_k.
    """
    found = _parts(attention, mask, names, holder)
    said = word_mask(_split(attention.mask)[1])
    if said is None or found.impl != "bits_read" or said.words in lookups(attention.score):
        return found
    return _by_words(found, said, attention, names)


def is_word(lookup: Lookup, attention: Attention) -> bool:
    """Whether a look-up is that of a mask's words, and nothing else reads it."""
    said = word_mask(_split(attention.mask)[1])
    alone = said is not None and said.words == lookup
    return alone and lookup not in lookups(attention.score) and _has_bits(attention)


def _by_words(
    found: KeyMask, said: WordMask, attention: Attention, names: Mapping[Var, str]
) -> KeyMask:
    """Return the concern of a mask that words say."""
    name = value_names(ordered(*attention.expressions))[said.words]
    read = set().union(*(outside(part) for part in (said.at, *said.before))) - {Var.K}
    given = [var for var in expressions.ORDER if var in read]
    values = tuple(names[var] for var in given)
    known: dict[Expr, str] = {Variable(var): var.value for var in given}
    known[Variable(Var.K)] = "key"
    return replace(
        found,
        impl="bits_words",
        parameters=("x", "keys", "key", "low", "high", *(var.value for var in given)),
        arguments=("part", "keys", "key + first", f"{name}_first", f"{name}_last", *values),
        body=_line(said.at, known),
        before=tuple(_line(bound, known) for bound in said.before),
        reads=tuple(var.value for var in given),
    )


def _line(expr: Expr, known: Names) -> str:
    """Return an expression in one line."""
    (text,) = statements([("", expr)], TRITON, known, 10**6)
    return text


def _parts(attention: Attention, mask: Mask, names: Mapping[Var, str], holder: str) -> KeyMask:
    segments = bounds(attention.mask).segments
    _, opaque = _split(attention.mask)
    bits = _has_bits(attention)
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


def _has_bits(attention: Attention) -> bool:
    """Whether the keys of a row are intervals, but for what tensors say.

    That leaves no tile whole, and the others' bounds as they are.
    """
    segments = bounds(attention.mask).segments
    known = bounds(_split(attention.mask)[0]).segments
    exact = bool(known) and all(is_exact(segment) for segment in known)
    return exact and [_live(segment) for segment in known] == [_live(part) for part in segments]


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


def _split(mask: Expr) -> tuple[Expr, Expr]:
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


def _live(segment: Segment) -> tuple[Scalar, Scalar]:
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
