"""Look-ups of blocks of keys as text: ``words[b, q, k // 32]`` has two values in a fragment.

A fragment of 32 keys lies in one block of at least as many keys, or in two. A softmax thread reads
the element of its first key and that of its last one, and each score takes one of the two: a loop
over 32 loads would need their addresses and conditions in as many registers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.expr import Apply, Literal, Op, Var, Variable, variables
from flash4gen.render.blackwell_constants import FRAGMENT
from flash4gen.render.inputs import read
from flash4gen.render.source_expr import TRITON, Names, statements

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr, Lookup
    from flash4gen.render.context_inputs import InputText

_KEY = Variable(Var.K)
_FIRST, _LAST = "(key + first)", "(key + first + FRAGMENT - 1)"


def by_blocks(lookup: Lookup) -> bool:
    """Whether an index is the number of a block of keys, and the others are the same for all."""
    along = [index for index in lookup.indices if Var.K in variables(index)]
    return len(along) == 1 and _is_block(along[0])


def block_read(lookup: Lookup, text: InputText, known: Names, indent: int, owner: str) -> str:
    """Return the lines that read the elements of a fragment's keys.

    Args:
        lookup: what is read.
        text: its tensor.
        known: what variables, lengths and values are called.
        indent: columns to the left of the lines, which are not printed.
        owner: what stands before the names that were handed on.
    """
    name = known[lookup]
    reads = ends_read(lookup, text, known, indent, owner)
    (along,) = (index for index in lookup.indices if Var.K in variables(index))
    here, first = (_printed(along, {**known, _KEY: key}) for key in (known[_KEY], _FIRST))
    return "\n".join(
        (
            reads,
            f"{name}_block = {here}",
            f"{name}_same = {name}_block == ({first})",
            f"{name} = gl.where({name}_same, {name}_first, {name}_last)",
        )
    )


def ends_read(lookup: Lookup, text: InputText, known: Names, indent: int, owner: str) -> str:
    """Return the lines that read the elements of a fragment's first and last key."""
    ends = {f"{known[lookup]}_first": _FIRST, f"{known[lookup]}_last": _LAST}
    return "\n".join(
        read(lookup, text, {**known, _KEY: key, lookup: end}, indent, owner)
        for end, key in ends.items()
    )


def _is_block(index: Expr) -> bool:
    """Whether an index grows by one at most within a fragment, as k goes through its keys."""
    match index:
        case Apply(op=Op.SHIFT_RIGHT, args=(inner, Literal(value=int() as bits))):
            return 1 << bits >= FRAGMENT and is_step(inner)
        case Apply(op=Op.FLOOR_DIV, args=(inner, Literal(value=int() as size))):
            return size >= FRAGMENT and is_step(inner)
        case Apply(op=Op.ADD | Op.SUB, args=(inner, other)):
            return Var.K not in variables(other) and _is_block(inner)
    return False


def is_step(expr: Expr) -> bool:
    """Whether an expression grows by one from key to key."""
    match expr:
        case Apply(op=Op.ADD, args=(left, right)):
            one, other = (left, right) if Var.K in variables(left) else (right, left)
            return Var.K not in variables(other) and is_step(one)
        case Apply(op=Op.SUB, args=(left, right)):
            return Var.K not in variables(right) and is_step(left)
    return expr == _KEY


def _printed(index: Expr, known: Names) -> str:
    """Return an index in one line."""
    (text,) = statements([("", index)], TRITON, known, 10**6)
    return text
