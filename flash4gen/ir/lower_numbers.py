"""The numbers of an ``attention`` item: heads, widths and scale, each a constant expression."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.ir.expr import Literal
from flash4gen.ir.lower_constants import MAX_FLOAT
from flash4gen.ir.widths import HEAD_DIMS, LEAST_WIDTH, MOST_WIDTH, STEP
from flash4gen.syntax import ast

if TYPE_CHECKING:
    from flash4gen.ir.lower_expr import Expressions
    from flash4gen.ir.lower_fields import Fields
    from flash4gen.ir.lower_scope import Scope

MAX_COUNT = 65535
_SMALLEST_SCALE = 2.0**-126


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The numbers of an item; None where one is missing or wrong."""

    heads: int | None
    kv_heads: int | None
    head_dim: int | None
    value_dim: int | None
    scale: float | None
    block_size: int | None


def lower_numbers(fields: Fields, expressions: Expressions, scope: Scope) -> tuple[Numbers, Scope]:
    """Return an item's numbers, and the scope in which its other expressions can read them."""
    lowering = _Lowering(fields, expressions, scope)
    return lowering.numbers(), lowering.scope


class _Lowering:
    """Reads the fields in an order in which each can use those before."""

    def __init__(self, fields: Fields, expressions: Expressions, scope: Scope) -> None:
        self._fields = fields
        self._findings = fields.findings
        self._expressions = expressions
        self.scope = scope

    def numbers(self) -> Numbers:
        heads = self._count("heads")
        self._know(heads=heads)
        kv_heads = self._count("kv_heads") if self._fields.get("kv_heads") else heads
        self._know(kv_heads=kv_heads)
        if heads and kv_heads and heads % kv_heads:
            self._heads_mismatch(heads, kv_heads)
        head_dim, value_dim = self._head_dims()
        self._know(head_dim=head_dim, value_dim=value_dim)
        scale = self._scale(head_dim)
        self._know(scale=scale)
        return Numbers(
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            value_dim=value_dim,
            scale=scale,
            block_size=self._count("block_size"),
        )

    def _know(self, **constants: int | float | None) -> None:
        known = {
            name: None if value is None else Literal(value) for name, value in constants.items()
        }
        self.scope = replace(self.scope, constants={**self.scope.constants, **known})

    def _count(self, name: str) -> int | None:
        value = self._fields.single(name)
        number = None if value is None else self._whole(name, value)
        if value is None or number is None or 1 <= number <= MAX_COUNT:
            return number
        self._findings.error(
            Code.OUT_OF_RANGE,
            f"`{name}` must be between 1 and {MAX_COUNT}",
            Label(value.span, f"this is {number}"),
        )
        return None

    def _whole(self, name: str, value: ast.Value) -> int | None:
        """Return a constant whole number, or None after an error."""
        if isinstance(value, ast.String | ast.Quantity | ast.Sequence):
            self._findings.error(Code.BAD_VALUE, f"`{name}` is a whole number", value.span)
            return None
        number = self._expressions.constant(value, self.scope)
        if number is None or (isinstance(number, int) and not isinstance(number, bool)):
            return number
        self._findings.error(Code.WRONG_TYPE, f"`{name}` is a whole number", value.span)
        return None

    def _heads_mismatch(self, heads: int, kv_heads: int) -> None:
        field, other = self._fields.get("kv_heads"), self._fields.get("heads")
        assert field is not None  # otherwise they are equal
        divisors = [n for n in range(1, heads + 1) if heads % n == 0]
        nearest = min(divisors, key=lambda n: abs(n - kv_heads))
        self._findings.error(
            Code.HEADS,
            f"{heads} query heads cannot share {kv_heads} key/value heads evenly",
            Label(field.values_span, f"{heads} is no multiple of {kv_heads}"),
            also=(Label(other.values_span, "query heads"),) if other else (),
            helps=(f"the nearest that works is `kv_heads = {nearest}`",),
        )

    def _head_dims(self) -> tuple[int | None, int | None]:
        value = self._fields.single("head_dim")
        if value is None:
            return None, None
        if isinstance(value, ast.Binary) and value.operator.text == "/":
            return self._head_dim(value.left), self._head_dim(value.right)
        both = self._head_dim(value)
        return both, both

    def _head_dim(self, value: ast.Value) -> int | None:
        number = self._whole("head_dim", value)
        if number is None or number in HEAD_DIMS:
            return number
        nearest = min(HEAD_DIMS, key=lambda n: (abs(n - number), -n))
        self._findings.error(
            Code.HEAD_DIM,
            f"`head_dim` must be between {LEAST_WIDTH} and {MOST_WIDTH}, in steps of {STEP}",
            Label(value.span, f"this is {number}"),
            notes=("`head_dim = 192 / 128` gives two widths: of q and k, then of v",),
            helps=(f"the nearest that works is {nearest}; pad with zeros to reach it",)
            if 0 < number < nearest
            else (),
        )
        return None

    def _scale(self, head_dim: int | None) -> float | None:
        if self._fields.get("scale") is not None:
            return self._written_scale()
        return None if head_dim is None else 1.0 / math.sqrt(head_dim)

    def _written_scale(self) -> float | None:
        node = self._fields.expression("scale")
        number = None if node is None else self._expressions.constant(node, self.scope)
        if node is None or number is None:
            return None
        if isinstance(number, bool):
            self._findings.error(Code.WRONG_TYPE, "`scale` is a number", node.span)
            return None
        if _SMALLEST_SCALE <= number <= MAX_FLOAT:
            return float(number)
        self._findings.error(
            Code.SCALE,
            "`scale` must be a positive number that float32 can hold",
            Label(node.span, f"this is {number:g}"),
            helps=("the usual factor is `scale = rsqrt(head_dim)`, which is also the default",),
        )
        return None
