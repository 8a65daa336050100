"""``schedule { }`` blocks: pins, kept as written. Which names there are, `schedule/` knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.ir.lower_constants import MAX_INT
from flash4gen.ir.nodes import Pin
from flash4gen.syntax import ast

if TYPE_CHECKING:
    from flash4gen.diagnostics.collect import Findings


def lower_pins(blocks: tuple[ast.Schedule, ...], findings: Findings) -> tuple[Pin, ...]:
    """Return the pins of an item, reporting values that no pin can have and names given twice."""
    for block in blocks[1:]:
        findings.error(
            Code.DUPLICATE,
            "a second `schedule` block",
            block.span,
            also=(Label(blocks[0].span, "first here"),),
            helps=("put all pins into one block",),
        )
    pins: dict[str, Pin] = {}
    for field in (field for block in blocks for field in block.fields):
        name = field.name.text
        value = _value(field, findings)
        if first := pins.get(name):
            assert first.span is not None
            findings.error(
                Code.DUPLICATE,
                f"`{name}` is pinned twice",
                field.span,
                also=(Label(first.span, "first here"),),
            )
        elif value is not None:
            pins[name] = Pin(name, value, field.span)
    return tuple(pins.values())


def _value(field: ast.Field, findings: Findings) -> int | float | str | None:
    value = field.values[0]
    if len(field.values) == 1 and field.source is None:
        number = _number(value)
        if number is not None and abs(number) <= MAX_INT:
            return number
        if isinstance(value, ast.Name):
            return value.text
        if isinstance(value, ast.Boolean):
            return "true" if value.value else "false"
    findings.error(
        Code.BAD_PIN,
        f"`{field.name.text}` can be pinned to a number or a name",
        field.values_span,
        helps=("for example `tile_q = 128`",),
    )
    return None


def _number(value: ast.Value) -> int | float | None:
    """Return a literal number with its sign, None for everything else."""
    if isinstance(value, ast.Number):
        return value.value
    if isinstance(value, ast.Unary) and value.operator.text == "-":
        number = _number(value.operand)
        return None if number is None else -number
    return None
