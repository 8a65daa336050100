"""Reads the text of one TTGIR type into a `Type`; aliases of layouts are replaced by their text."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lark import Lark, Token, Transformer

from flash4gen.vgpu.parse.tree import (
    DescriptorType,
    MemDescType,
    OpaqueType,
    PointerType,
    ScalarType,
    TensorType,
    Type,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_SPACES = {"#ttg.shared_memory": "smem", "#ttng.tensor_memory": "tmem"}


class _Build(Transformer[Token, Any]):
    """Turns the parse tree of a type into a `Type`; layouts stay text."""

    def scalar(self, children: list[Token]) -> Type:
        return ScalarType(str(children[0]))

    def pointer(self, children: list[Any]) -> Type:
        return PointerType(children[0])

    def dims(self, children: list[Token]) -> tuple[int, ...]:
        return tuple(int(dim[:-1]) for dim in children)

    def layout(self, children: list[Token]) -> str:
        return str(children[0])

    def tensor(self, children: list[Any]) -> Type:
        shape, element, layout = children
        return TensorType(shape, element, layout or "")

    def memdesc(self, children: list[Any]) -> Type:
        shape, element, layout, space, *_ = children
        return MemDescType(
            shape=shape, element=element, layout=layout, space=_SPACES.get(space, space)
        )

    def descriptor(self, children: list[Any]) -> Type:
        shape, element, layout = children
        return DescriptorType(shape, element, layout or "")

    def opaque(self, children: list[Token]) -> Type:
        return OpaqueType(str(children[0]))


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("types.lark").read_text()
    return Lark(grammar, parser="lalr", maybe_placeholders=True, transformer=_Build())


@cache
def _parse(text: str) -> Type:
    kind: Type = _parser().parse(text)  # type: ignore[assignment]
    return kind


class TypeReader:
    """Reads types of one module, whose layout aliases it knows.

    Args:
        aliases: alias with its `#` -> layout text, in which other aliases may stand.
    """

    def __init__(self, aliases: Mapping[str, str]) -> None:
        self._aliases = aliases
        self._known: dict[str, Type] = {}

    def __call__(self, text: str) -> Type:
        """Return the type that `text` spells; raises `lark.exceptions.LarkError`."""
        kind = self._known.get(text)
        if kind is None:
            kind = self._known[text] = _parse(self.expand(text))
        return kind

    def expand(self, text: str) -> str:
        """Replace the aliases in a text by what they stand for."""
        while (expanded := re.sub(r"#\w+\b(?!\.)", self._lookup, text)) != text:
            text = expanded
        return text

    def _lookup(self, match: re.Match[str]) -> str:
        return self._aliases.get(match.group(), match.group())
