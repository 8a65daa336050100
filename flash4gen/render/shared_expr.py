"""Several expressions as source text that computes what they share once.

A score and its derivatives have whole subexpressions in common: ``tanh(s / 50)`` is in both. What
occurs more than once, in one or in several of them, becomes an assignment before its first use.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from flash4gen.ir.expr import Apply, Expr, Type, children
from flash4gen.render.source_expr import prepared, statements

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flash4gen.render.source_expr import Dialect, Names


def shared_statements(
    targets: Sequence[tuple[str, Expr]], dialect: Dialect, names: Names, width: int
) -> list[str]:
    """Return one assignment per target, after those of what occurs more than once.

    Args:
        targets: name and expression of each assignment.
        dialect: whose words to use.
        names: what is already computed.
        width: characters that a line may have.
    """
    exprs = [prepared(expr, dialect) for _, expr in targets]
    known = dict(names)
    lines: list[str] = []
    for node in _shared(exprs, names):
        name = f"part_{len(known) - len(names)}"
        *before, value = statements([(f"{name} = ", node)], dialect, known, width)
        lines += [*before, value]
        known[node] = name
    for (name, _), expr in zip(targets, exprs, strict=True):
        lines += statements([(f"{name} = ", expr)], dialect, known, width)
    return lines


def _shared(exprs: list[Expr], names: Names) -> Iterator[Apply]:
    """Yield the floats that occur more than once, operands before what they are operands of."""
    uses = Counter(exprs)
    order: dict[Expr, None] = {}

    def visit(node: Expr) -> None:
        if node in order or node in names:
            return
        for child in children(node):
            uses[child] += 1
            visit(child)
        order[node] = None

    for expr in exprs:
        visit(expr)
    for node in order:
        if isinstance(node, Apply) and uses[node] > 1 and node.type is Type.FLOAT:
            yield node
