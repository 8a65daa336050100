"""Sorts the tokens of raw operations into `Operation`s and resolves types and locations."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lark import Token

from flash4gen.vgpu.parse.raw import (
    Group,
    Paren,
    RawBlock,
    RawLines,
    RawLoc,
    RawOp,
    RawRegion,
    number,
)
from flash4gen.vgpu.parse.tree import (
    Attribute,
    Block,
    BlockArgument,
    Frame,
    Function,
    Location,
    Module,
    Operand,
    Operation,
    Region,
    Type,
)
from flash4gen.vgpu.parse.types import TypeReader

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

_T = TypeVar("_T")

# Words that stand between the types of an operation.
_ARROWS = ("->", "to")
_TYPE_TOKENS = ("TYPE", "WORD")


@dataclass(slots=True)
class _Parts:
    """What has been collected of an operation so far; see `Operation` for the fields."""

    operands: list[Operand] = field(default_factory=list)
    subscripts: dict[int, tuple[Operand, ...]] = field(default_factory=dict)
    groups: list[tuple[Operand, ...]] = field(default_factory=list)
    labelled: dict[str, tuple[Operand, ...]] = field(default_factory=dict)
    bindings: list[tuple[str, Operand]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    strings: list[str] = field(default_factory=list)
    symbols: list[str] = field(default_factory=list)
    attributes: dict[str, Attribute] = field(default_factory=dict)
    operand_types: list[Type] = field(default_factory=list)
    result_types: list[Type] | None = None
    regions: list[Region] = field(default_factory=list)
    successors: list[tuple[str, tuple[Operand, ...]]] = field(default_factory=list)


class Lines(Protocol):
    """What a text stands for in which some lines are left out."""

    def number(self, line: int) -> int:
        """Return the number of one of its lines in the whole text."""
        ...

    def operations(self, line: int) -> Iterable[Operation]:
        """Return the operations that one of its lines stands for."""
        ...


class Digest:
    """Builds one module; knows its aliases.

    Args:
        aliases: alias with its `#` -> layout text, or raw location.
    """

    def __init__(self, aliases: Mapping[str, Any]) -> None:
        self._aliases = aliases
        self._locations: dict[str, Location] = {}
        self._lines: Lines | None = None
        # Blocks, regions and operations with regions, by what they are made of: texts that differ
        # in a line have the rest in common, as the very same objects.
        self._made: dict[Hashable, Any] = {}
        self._regions: dict[int, Region] = {}
        self._type = TypeReader({k: v for k, v in aliases.items() if isinstance(v, str)})

    def module(self, raw: RawOp, lines: Lines | None = None) -> Module:
        """Return the module that the outermost operation spells.

        Args:
            raw: that operation.
            lines: those that its text stands for, if operations with a line each were left out.
        """
        self._lines = lines
        self._regions = {}
        attributes: dict[str, Attribute] = {}
        functions: list[Function] = []
        for item in raw.items:
            if isinstance(item, dict):
                attributes.update(item)
            elif isinstance(item, RawRegion):
                nested = [op for block in item.blocks for op in block.operations]
                functions = [self._function(op) for op in nested if isinstance(op, RawOp)]
        return Module(attributes, tuple(functions))

    def _function(self, raw: RawOp) -> Function:
        name = next(str(item)[1:] for item in raw.items if _is(item, "SYMBOL"))
        arguments = next(item for item in raw.items if isinstance(item, Paren))
        region = next((item for item in raw.items if isinstance(item, RawRegion)), RawRegion([]))
        return Function(
            name=name.strip('"'),
            arguments=self._arguments(arguments.items),
            body=self._region(region),
            public=not any(_is(item, "WORD") and item == "private" for item in raw.items),
            line=self._number(raw.line),
        )

    def _arguments(self, items: list[Any]) -> tuple[BlockArgument, ...]:
        """Read `%a: type {attributes} loc(...), ...`."""
        return tuple(
            BlockArgument(str(items[i])[1:], self._type(items[i + 2]))
            for i in range(len(items))
            if _is(items[i], "VALUE") and i + 2 < len(items) and _is(items[i + 1], "COLON")
        )

    def _region(self, raw: RawRegion) -> Region:
        region = self._regions.get(id(raw))
        if region is None:
            blocks = tuple(self._block(block) for block in raw.blocks)
            region = self._regions[id(raw)] = self._same_region(blocks)
        return region

    def _same_region(self, blocks: tuple[Block, ...]) -> Region:
        key = (Region, *map(id, blocks))
        return self._once(key, lambda: Region(blocks))

    def _block(self, raw: RawBlock) -> Block:
        operations = tuple(op for nested in raw.operations for op in self._nested(nested))
        return self._same_block(raw.label, self._arguments(raw.arguments), operations)

    def _same_block(
        self, label: str, arguments: tuple[BlockArgument, ...], operations: tuple[Operation, ...]
    ) -> Block:
        key = (Block, label, arguments, *map(id, operations))
        return self._once(key, lambda: Block(label, arguments, operations))

    def _nested(self, raw: RawOp | RawLines) -> Iterable[Operation]:
        if isinstance(raw, RawLines):
            assert self._lines is not None
            return self._lines.operations(raw.line)
        if self._lines is None:
            return (self.operation(raw),)
        parts = (raw.name, *raw.results, *map(self._key, raw.items), raw.loc)
        key = (Operation, self._number(raw.line), *parts)
        return (self._once(key, lambda: self.operation(raw)),)

    def _once(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return what was made of the same parts before, which it keeps alive, or make it."""
        if self._lines is None:
            return make()
        if key not in self._made:
            self._made[key] = make()
        made: _T = self._made[key]
        return made

    def _key(self, item: Any) -> Hashable:
        """Return what tells an item from others."""
        if item.__class__ is Token:
            return item
        if isinstance(item, RawRegion):
            return id(self._region(item))
        if isinstance(item, (Paren, Group)):
            return (type(item), *map(self._key, item.items))
        return repr(item) if isinstance(item, dict) else item

    def _number(self, line: int) -> int:
        return line if self._lines is None else self._lines.number(line)

    def operation(self, raw: RawOp) -> Operation:
        """Return one operation."""
        parts = _Parts()
        items = raw.items
        colon = _type_colon(items)
        self._operand_part(items[:colon], parts)
        self._type_part(items[colon:], parts)
        types = tuple(parts.operand_types)
        if raw.name == "ttg.warp_specialize":
            parts.regions = self._partitions(items, parts.regions)
        return Operation(
            name=raw.name,
            line=self._number(raw.line),
            results=_result_names(raw.results),
            operands=tuple(parts.operands),
            subscripts=parts.subscripts,
            groups=tuple(parts.groups),
            labelled=parts.labelled,
            bindings=tuple(parts.bindings),
            words=tuple(parts.words),
            strings=tuple(parts.strings),
            symbols=tuple(parts.symbols),
            attributes=parts.attributes,
            operand_types=types,
            result_types=types if parts.result_types is None else tuple(parts.result_types),
            regions=tuple(parts.regions),
            successors=tuple(parts.successors),
            location=self.location(raw.loc),
        )

    def _partitions(self, items: list[Any], regions: list[Region]) -> list[Region]:
        """Give the regions of `partition0(%a: type) ... { }` the arguments in front of them."""
        lists = [
            self._arguments(item.items)
            for previous, item in pairwise(items)
            if isinstance(item, Paren)
            and _is(previous, "WORD")
            and str(previous).startswith("partition")
        ]
        default, *partitions = regions
        return [default, *map(self._with_arguments, partitions, lists)]

    def _with_arguments(self, region: Region, arguments: tuple[BlockArgument, ...]) -> Region:
        first, *rest = region.blocks or (Block("", (), ()),)
        block = self._same_block(first.label, arguments, first.operations)
        return self._same_region((block, *rest))

    def _operand_part(self, items: list[Any], parts: _Parts) -> None:
        label: str | None = None
        previous: Any = None
        for i, item in enumerate(items):
            following = items[i + 1] if i + 1 < len(items) else None
            if _is(item, "EQUAL") and _is(previous, "VALUE"):
                parts.bindings.append((str(previous)[1:], _operand(items[i + 1])))
            elif _is(item, "VALUE") and _is(previous, "EQUAL") and _is(items[i - 2], "WORD"):
                parts.labelled[parts.words.pop()] = (_operand(item),)
            elif isinstance(item, Token):
                label = self._operand_token(item, previous, following, label, parts)
            else:
                self._operand_nest(item, previous, label, parts)
            previous = item

    def _operand_token(
        self, item: Token, previous: Any, following: Any, label: str | None, parts: _Parts
    ) -> str | None:
        """Sort one token; return the label that the values behind it belong to."""
        match item.type:
            case "VALUE" | "NUMBER":
                _add_value(item, previous, following, label, parts)
            case "WORD" if _is(previous, "EQUAL"):
                parts.attributes[parts.words.pop()] = str(item)
            case "WORD" if _is(following, "VALUE") or isinstance(following, (Paren, Group)):
                return str(item)
            case "WORD" | "CALL":
                parts.words.append(str(item))
            case "STRING":
                parts.strings.append(item[1:-1])
            case "SYMBOL":
                parts.symbols.append(item[1:].strip('"'))
            case "BLOCK":
                parts.successors.append((str(item), ()))
            case _:
                pass  # commas and arrows
        return label

    def _operand_nest(self, item: Any, previous: Any, label: str | None, parts: _Parts) -> None:
        if isinstance(item, dict):
            parts.attributes.update(item)
        elif isinstance(item, RawRegion):
            parts.regions.append(self._region(item))
        elif isinstance(item, Group):
            values = tuple(_operand(v) for v in item.items if _is(v, "VALUE", "NUMBER"))
            if _is(previous, "VALUE"):
                parts.subscripts[len(parts.operands) - 1] = values
            else:
                parts.groups.append(values)
        elif isinstance(item, Paren) and _is(previous, "BLOCK"):
            values = tuple(_operand(v) for v in item.items if _is(v, "VALUE"))
            parts.successors[-1] = (str(previous), values)
        elif isinstance(item, Paren):
            self._paren(item, label, parts)

    def _paren(self, item: Paren, label: str | None, parts: _Parts) -> None:
        inner = _Parts(
            operands=[] if label else parts.operands,
            subscripts=parts.subscripts,
            bindings=parts.bindings,
        )
        self._operand_part(item.items, inner)
        parts.regions.extend(inner.regions)
        if label:
            parts.labelled[label] = (*parts.labelled.get(label, ()), *inner.operands)

    def _type_part(self, items: list[Any], parts: _Parts) -> None:
        for item in items:
            if isinstance(item, dict):
                parts.attributes.update(item)
            elif isinstance(item, RawRegion):
                parts.regions.append(self._region(item))
            elif isinstance(item, Paren):
                self._type_part(item.items, parts)
            elif isinstance(item, Token):
                if item in _ARROWS:
                    parts.result_types = []
                elif item.type in _TYPE_TOKENS and item not in ("else", "do", "attributes"):
                    kinds = (
                        parts.operand_types if parts.result_types is None else parts.result_types
                    )
                    kinds.append(self._type(item))

    def location(self, raw: Any) -> Location:
        """Resolve a raw location to its chain of frames, innermost first."""
        if isinstance(raw, Token):
            return self._alias(raw[4:-1])
        match raw.kind:
            case "alias":
                return self._alias(raw.parts[0])
            case "file":
                return Location((Frame(*raw.parts),))
            case "name":
                name, inner = raw.parts
                frames = self.location(inner).frames if inner is not None else ()
                return Location(frames, name)
            case "call":
                callee, caller = (self.location(part) for part in raw.parts)
                return Location(callee.frames + caller.frames, callee.name)
            case "fused":
                return self.location(raw.parts[0])
            case _:
                return Location()

    def _alias(self, name: str) -> Location:
        known = self._locations.get(name)
        if known is None:
            raw = self._aliases.get(name, RawLoc("unknown", ()))
            known = self._locations[name] = self.location(raw)
        return known


def _is(item: Any, *kinds: str) -> bool:
    return isinstance(item, Token) and item.type in kinds


def _operand(token: Token) -> Operand:
    return token[1:] if token.type == "VALUE" else number(token)


def _add_value(
    item: Token, previous: Any, following: Any, label: str | None, parts: _Parts
) -> None:
    """File a value or number under the operands, a label or an attribute."""
    if _is(previous, "EQUAL"):
        if item.type == "NUMBER" and parts.words:
            parts.attributes[parts.words.pop()] = _operand(item)
    elif _is(following, "EQUAL"):
        pass  # the name that a loop binds
    elif label is None:
        parts.operands.append(_operand(item))
    else:
        parts.labelled[label] = (*parts.labelled.get(label, ()), _operand(item))


def _type_colon(items: list[Any]) -> int:
    """Return the index of the colon, or of the arrow without one, that opens the types."""
    for i, item in enumerate(items):
        if _is(item, "COLON") or (_is(item, "PUNCT") and item == "->"):
            return i
    return len(items)


def _result_names(tokens: list[Token]) -> tuple[str, ...]:
    names: list[str] = []
    for token in tokens:
        name, _, count = token[1:].partition(":")
        names.extend([f"{name}#{i}" for i in range(int(count))] if count else [name])
    return tuple(names)
