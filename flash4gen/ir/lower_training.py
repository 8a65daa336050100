"""The fields ``dropout`` and ``deterministic``: what a training run asks of an attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.ir.nodes import DROPOUT_STATE
from flash4gen.syntax import ast

if TYPE_CHECKING:
    from flash4gen.diagnostics.collect import Findings
    from flash4gen.ir.expr import Input
    from flash4gen.ir.lower_expr import Expressions
    from flash4gen.ir.lower_fields import Fields
    from flash4gen.ir.lower_scope import Scope

PERCENT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a training run asks for.

    Attributes:
        dropout: probability that a weight is dropped.
        deterministic: whether every run is to give the same bits.
    """

    dropout: float
    deterministic: bool

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The tensors that say which weights are dropped."""
        return DROPOUT_STATE if self.dropout else ()


def lower_training(fields: Fields, expressions: Expressions, scope: Scope) -> Training | None:
    """Return what an item asks for, or None after an error in its dropout.

    Args:
        fields: of the item.
        expressions: evaluates constants.
        scope: what they can read.
    """
    dropout = _dropout(fields, expressions, scope, fields.findings)
    deterministic = _deterministic(fields, fields.findings)
    return None if dropout is None else Training(dropout=dropout, deterministic=deterministic)


def _dropout(
    fields: Fields, expressions: Expressions, scope: Scope, findings: Findings
) -> float | None:
    """Return the probability that a weight is dropped: 0 where left out; None after an error."""
    if fields.get("dropout") is None:
        return 0.0
    node = fields.expression("dropout")
    found = None if node is None else expressions.constant(node, scope)
    if node is None or found is None:
        return None
    if isinstance(found, bool):
        findings.error(Code.WRONG_TYPE, "`dropout` is a number, a probability", node.span)
        return None
    if 0 <= found < 1:
        return float(found)
    helps = ["write a number from 0 on, below 1: `dropout = 0.1`"]
    if found == 1:
        helps = ["nothing would be left of the output; to switch attention off, leave it out"]
    elif 1 < found < PERCENT:
        helps = [f"{found:g} percent are `dropout = {found / PERCENT:g}`"]
    findings.error(
        Code.DROPOUT,
        "`dropout` is the probability that a weight is dropped, below 1",
        Label(node.span, f"this is {found:g}"),
        helps=helps,
    )
    return None


def _deterministic(fields: Fields, findings: Findings) -> bool:
    value = fields.single("deterministic")
    if value is None:
        return False
    if isinstance(value, ast.Boolean):
        return value.value
    findings.error(
        Code.BAD_VALUE,
        "`deterministic` is `true` or `false`",
        value.span,
        helps=("write `deterministic = true`",),
    )
    return False
