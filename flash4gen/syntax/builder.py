"""Turns Lark's parse tree into the syntax tree; takes the tree and its source, decides nothing.

One method for every rule of ``attn.lark``. The walk uses no recursion, so that a deeply nested text
reaches ``limits.py``, which refuses it with a diagnostic.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from lark import Token, v_args
from lark.visitors import Transformer_NonRecursive

from flash4gen.syntax import ast

if TYPE_CHECKING:
    from lark.tree import Meta

    from flash4gen.source import SourceFile, Span

MAX_DIGITS = 40
_QUANTITY = re.compile(r"([\d_.]+) *(\D+)")


@v_args(meta=True)
class Builder(Transformer_NonRecursive):  # type: ignore[type-arg]
    """Builds the nodes of one file. Children arrive as nodes, tokens and None (left out)."""

    def __init__(self, source: SourceFile) -> None:
        super().__init__(visit_tokens=False)
        self._source = source

    def _span(self, meta: Meta) -> Span:
        return self._source.span(meta.start_pos, meta.end_pos)

    def _name(self, token: Token) -> ast.Name:
        return ast.Name(str(token), self._token_span(token))

    def _token_span(self, token: Token) -> Span:
        assert token.start_pos is not None  # every token comes from a text
        return self._source.span(token.start_pos, token.start_pos + len(token))

    def _string(self, token: Token) -> ast.String:
        return ast.String(token[1:-1], self._token_span(token))

    def start(self, _meta: Meta, items: list[ast.Item]) -> ast.File:
        """The whole file."""
        return ast.File(self._source, tuple(items))

    def attention(self, meta: Meta, parts: list[object]) -> ast.Attention:
        """An `attention` item."""
        name, *entries = parts
        return ast.Attention(
            self._name(cast("Token", name)),
            tuple(entry for entry in entries if isinstance(entry, ast.Field)),
            tuple(entry for entry in entries if isinstance(entry, ast.Input)),
            tuple(entry for entry in entries if isinstance(entry, ast.Schedule)),
            self._span(meta),
        )

    def hardware(self, meta: Meta, parts: list[object]) -> ast.Hardware:
        """A `hardware` item."""
        name, base, *fields = parts
        return ast.Hardware(
            self._name(cast("Token", name)),
            tuple(cast("list[ast.Field]", fields)),
            self._span(meta),
            self._name(base) if isinstance(base, Token) else None,
        )

    def input(self, meta: Meta, parts: list[object]) -> ast.Input:
        """The declaration of a tensor."""
        name, dtype, *axes = parts
        return ast.Input(
            self._name(cast("Token", name)),
            self._name(cast("Token", dtype)),
            tuple(cast("list[ast.Expression]", axes)),
            self._span(meta),
        )

    def use(self, meta: Meta, parts: list[Token]) -> ast.Use:
        """A `use` item."""
        return ast.Use(self._string(parts[0]), self._span(meta))

    def model(self, meta: Meta, parts: list[object]) -> ast.Model:
        """A `model` item."""
        name, *entries = parts
        return ast.Model(
            self._name(cast("Token", name)),
            tuple(entry for entry in entries if isinstance(entry, ast.Field)),
            tuple(entry for entry in entries if isinstance(entry, ast.Layers)),
            self._span(meta),
        )

    def layers(self, meta: Meta, parts: list[object]) -> ast.Layers:
        """The layers of a model."""
        count, runs = parts
        return ast.Layers(
            self._count(cast("Token", count)), cast("tuple[ast.Run, ...]", runs), self._span(meta)
        )

    def pattern(self, _meta: Meta, parts: list[object]) -> tuple[ast.Run, ...]:
        """Runs, one after the other; brackets alone are a run of their own."""
        return tuple(
            part if isinstance(part, ast.Run) else self._run(cast("tuple[ast.Run, ...]", part))
            for part in parts
        )

    def layer(self, meta: Meta, parts: list[Token]) -> ast.Run:
        """One layer, by the name of its attention."""
        return ast.Run(self._name(parts[0]), None, False, self._span(meta))

    def times(self, meta: Meta, parts: list[object]) -> ast.Run:
        """Layers, several times."""
        count, _star, block = parts
        return ast.Run(_block(block), self._count(cast("Token", count)), False, self._span(meta))

    def repeat(self, meta: Meta, parts: list[object]) -> ast.Run:
        """Layers, as often as there is place for them."""
        return ast.Run(_block(parts[0]), None, True, self._span(meta))

    def _run(self, runs: tuple[ast.Run, ...]) -> ast.Run:
        first, last = runs[0].span, runs[-1].span
        return ast.Run(runs, None, False, self._source.span(first.start, last.end))

    def _count(self, token: Token) -> ast.Number:
        return ast.Number(_number(token), self._token_span(token))

    def schedule(self, meta: Meta, fields: list[ast.Field]) -> ast.Schedule:
        """A `schedule` block."""
        return ast.Schedule(tuple(fields), self._span(meta))

    def field(self, meta: Meta, parts: list[object]) -> ast.Field:
        """A field; its source comes last, None where there is none."""
        name, *values, source = parts
        return ast.Field(
            self._name(cast("Token", name)),
            tuple(cast("list[ast.Value]", values)),
            self._string(source) if isinstance(source, Token) else None,
            self._span(meta),
        )

    def string(self, _meta: Meta, parts: list[Token]) -> ast.String:
        """A text."""
        return self._string(parts[0])

    def quantity(self, meta: Meta, parts: list[Token]) -> ast.Quantity:
        """A number with a unit."""
        found = _QUANTITY.fullmatch(parts[0])
        assert found is not None  # narrower than the grammar's QUANTITY
        return ast.Quantity(_number(found[1]), found[2], self._span(meta))

    def sequence(self, meta: Meta, items: list[ast.Expression | None]) -> ast.Sequence:
        """A list in brackets."""
        return ast.Sequence(tuple(item for item in items if item is not None), self._span(meta))

    def definition(self, meta: Meta, parts: list[object]) -> ast.Definition:
        """A `def` item."""
        name, parameters, requires, body = parts
        return ast.Definition(
            self._name(cast("Token", name)),
            cast("tuple[ast.Parameter, ...]", parameters or ()),
            cast("ast.Expression | None", requires),
            cast("ast.Expression", body),
            self._span(meta),
        )

    def parameters(self, _meta: Meta, parts: list[ast.Parameter | None]) -> tuple[object, ...]:
        """Parameters; those after the star, which arrives as None, must be named."""
        star = parts.index(None) if None in parts else len(parts)
        return tuple(
            ast.Parameter(p.name, p.choices, p.default, i > star, p.span)
            for i, p in enumerate(parts)
            if p is not None
        )

    def star(self, _meta: Meta, _parts: list[Token]) -> None:
        """The star between parameters."""
        return

    def parameter(self, meta: Meta, parts: list[object]) -> ast.Parameter:
        """One parameter, as if it stood before the star."""
        name, choices, default = parts
        return ast.Parameter(
            self._name(cast("Token", name)),
            cast("tuple[ast.Name, ...]", choices or ()),
            cast("ast.Expression | None", default),
            False,
            self._span(meta),
        )

    def choices(self, _meta: Meta, parts: list[Token]) -> tuple[ast.Name, ...]:
        """The symbols of a parameter."""
        return tuple(self._name(part) for part in parts)

    def argument(self, meta: Meta, parts: list[object]) -> ast.Argument:
        """An argument, named or not."""
        name, value = parts
        keyword = self._name(name) if isinstance(name, Token) else None
        return ast.Argument(keyword, cast("ast.Expression", value), self._span(meta))

    def call(self, meta: Meta, parts: list[object]) -> ast.Call:
        """A call."""
        function, *arguments = parts
        given = tuple(part for part in arguments if isinstance(part, ast.Argument))
        return ast.Call(self._name(cast("Token", function)), given, self._span(meta))

    def index(self, meta: Meta, parts: list[object]) -> ast.Index:
        """An element of a tensor."""
        tensor, *indices = parts
        return ast.Index(
            self._name(cast("Token", tensor)),
            tuple(cast("list[ast.Expression]", indices)),
            self._span(meta),
        )

    def binary(self, meta: Meta, parts: list[object]) -> ast.Binary:
        """An operator between two operands."""
        left, operator, right = parts
        return ast.Binary(
            self._name(cast("Token", operator)),
            cast("ast.Expression", left),
            cast("ast.Expression", right),
            self._span(meta),
        )

    def unary(self, meta: Meta, parts: list[object]) -> ast.Unary:
        """An operator before its operand."""
        operator, operand = parts
        return ast.Unary(
            self._name(cast("Token", operator)), cast("ast.Expression", operand), self._span(meta)
        )

    def compare(self, meta: Meta, parts: list[object]) -> ast.Compare:
        """One comparison or a chain: operands and operators in turn."""
        return ast.Compare(
            tuple(cast("list[ast.Expression]", parts[::2])),
            tuple(self._name(cast("Token", part)) for part in parts[1::2]),
            self._span(meta),
        )

    def group(self, meta: Meta, parts: list[ast.Expression]) -> ast.Expression:
        """Parentheses leave no node, but what they hold is underlined with them."""
        return replace(parts[0], span=self._span(meta))

    def number(self, meta: Meta, parts: list[Token]) -> ast.Number:
        """A number."""
        return ast.Number(_number(parts[0]), self._span(meta))

    def true(self, meta: Meta, _parts: list[object]) -> ast.Boolean:
        """The constant `true`."""
        return ast.Boolean(True, self._span(meta))

    def false(self, meta: Meta, _parts: list[object]) -> ast.Boolean:
        """The constant `false`."""
        return ast.Boolean(False, self._span(meta))

    def name(self, _meta: Meta, parts: list[Token]) -> ast.Name:
        """A name."""
        return self._name(parts[0])


def _block(part: object) -> ast.Name | tuple[ast.Run, ...]:
    """Return what is repeated: a name, or the runs in brackets."""
    return part.what if isinstance(part, ast.Run) else cast("tuple[ast.Run, ...]", part)


def _number(text: str) -> int | float:
    """Read a literal. What is absurdly long becomes infinite, which every user of it refuses."""
    if not text.replace("_", "").isdigit():
        return float(text)
    return int(text) if len(text) <= MAX_DIGITS else math.inf
