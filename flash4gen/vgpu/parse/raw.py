"""The parse tree as Lark hands it over: tokens and nesting, nothing resolved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lark import Token, Transformer, v_args


@dataclass(frozen=True, slots=True, kw_only=True)
class RawOp:
    """One operation: the tokens between its name and its location."""

    name: str
    line: int
    results: list[Token]
    items: list[Any]
    loc: Any


@dataclass(frozen=True, slots=True)
class Paren:
    """A parenthesised list of items."""

    items: list[Any]


@dataclass(frozen=True, slots=True)
class Group:
    """A bracketed list of items."""

    items: list[Any]


@dataclass(frozen=True, slots=True)
class RawBlock:
    """A block: label, the items of its argument list, operations."""

    label: str
    arguments: list[Any]
    operations: list[RawOp | RawLines]


@dataclass(frozen=True, slots=True)
class RawLines:
    """Operations that have a line each, one after the other, and are read elsewhere."""

    line: int


@dataclass(frozen=True, slots=True)
class RawRegion:
    """The blocks of a region."""

    blocks: list[RawBlock]


@dataclass(frozen=True, slots=True)
class RawLoc:
    """A location that is not a plain alias: its kind and parts."""

    kind: str
    parts: tuple[Any, ...]


def number(text: str) -> int | float:
    """Read a literal; hexadecimal ones are bit patterns and stay integers."""
    if "0x" in text:
        return int(text, 16)
    return float(text) if "." in text or "e" in text or "E" in text else int(text)


def _plain(value: Any) -> Any:
    """Turn the token of an attribute into the value it spells."""
    if not isinstance(value, Token):
        return value
    match value.type:
        case "STRING":
            return value[1:-1]
        case "WORD" if value in ("true", "false"):
            return value == "true"
        case "CALL" if value.startswith("array<"):
            body = value[value.index("<") + 1 : -1]
            _, _, values = body.partition(":")
            return tuple(number(part.strip()) for part in values.split(",") if part.strip())
        case _:
            return str(value)


def transformer() -> Transformer[Token, Any]:
    """Return what Lark calls for every rule of the grammar."""
    return _Build()


@v_args(inline=True)
class _Build(Transformer[Token, Any]):
    """Builds the raw tree while Lark parses."""

    def aliases(self, *children: Any) -> list[Any]:
        return list(children)

    def alias(self, name: Token, value: Any) -> tuple[str, Any]:
        return str(name), value

    def results(self, *names: Token) -> list[Token]:
        return list(names)

    def op(self, results: list[Token] | None, head: Token, *rest: Any) -> RawOp:
        name = head[1:-1] if head.type == "STRING" else str(head)
        return RawOp(
            name=name,
            line=head.line or 0,
            results=results or [],
            items=list(rest[:-1]),
            loc=rest[-1],
        )

    def lines(self, mark: Token) -> RawLines:
        return RawLines(mark.line or 0)

    def paren(self, *items: Any) -> Paren:
        return Paren(list(items))

    def group(self, *items: Any) -> Group:
        return Group(list(items))

    def region(self, *blocks: RawBlock) -> RawRegion:
        return RawRegion(list(blocks))

    def block(self, *children: Any) -> RawBlock:
        if children and isinstance(children[0], tuple):
            (label, arguments), *operations = children
            return RawBlock(label, arguments, operations)
        return RawBlock("", [], list(children))

    def label(self, name: Token, arguments: Paren | None, _colon: Token) -> tuple[str, list[Any]]:
        return str(name), arguments.items if arguments else []

    def attributes(self, *entries: tuple[str, Any] | None) -> dict[str, Any]:
        return dict(entry for entry in entries if entry is not None)

    properties = attributes

    def entry(self, key: Token, value: Any) -> tuple[str, Any]:
        name = key[1:-1] if key.type == "STRING" else str(key)
        return name, True if value is None else _plain(value)

    def number(self, value: Token, *_type: Any) -> int | float:
        return number(value)

    def attr_list(self, *values: Any) -> tuple[Any, ...]:
        return tuple(_plain(value) for value in values if value is not None)

    def loc(self, *parts: Any) -> Any:
        return parts[0] if len(parts) == 1 else parts[1]

    def loc_alias(self, name: Token) -> Any:
        return RawLoc("alias", (str(name),))

    def loc_unknown(self, *_: Any) -> RawLoc:
        return RawLoc("unknown", ())

    def loc_file(self, *parts: Any) -> RawLoc:
        file, _, line, _, column, *_range = parts
        return RawLoc("file", (file[1:-1], int(line), int(column)))

    def loc_name(self, name: Token, inner: Any) -> RawLoc:
        return RawLoc("name", (name[1:-1], inner))

    def loc_call(self, *parts: Any) -> RawLoc:
        _, callee, _, caller = parts
        return RawLoc("call", (callee, caller))

    def loc_fused(self, *parts: Any) -> RawLoc:
        return RawLoc("fused", tuple(part for part in parts[1:] if part is not None))
