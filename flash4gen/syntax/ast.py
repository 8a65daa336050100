"""The syntax tree: what was written, word for word, with the place of everything.

Nothing is resolved here: names are names, ``192 / 128`` is a division, and ``bf16`` is a name. Two
nodes are the same only if they are the same object, as two places in a text are never the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flash4gen.source import SourceFile, Span


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """An identifier."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Number:
    """A literal number; ``value`` is an int where neither a point nor an exponent was written."""

    value: int | float
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Boolean:
    """``true`` or ``false``."""

    value: bool
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Unary:
    """``-x``, ``+x`` or ``not x``."""

    operator: Name
    operand: Expression
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Binary:
    """Arithmetic, or ``and`` / ``or``; ``operator.span`` is the operator's own place."""

    operator: Name
    left: Expression
    right: Expression
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Compare:
    """``a < b``, or a chain ``a <= b < c`` with one operator less than operands."""

    operands: tuple[Expression, ...]
    operators: tuple[Name, ...]
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Argument:
    """One argument of a call: ``value``, or ``name = value``."""

    name: Name | None
    value: Expression
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """``function(arguments)``."""

    function: Name
    arguments: tuple[Argument, ...]
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """``tensor[indices]``."""

    tensor: Name
    indices: tuple[Expression, ...]
    span: Span


Expression = Name | Number | Boolean | Unary | Binary | Compare | Call | Index


@dataclass(frozen=True, slots=True, eq=False)
class String:
    """A text in double quotes; ``value`` is without them."""

    value: str
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """A number with its unit, such as ``228 KiB``."""

    value: int | float
    unit: str
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """A list in square brackets."""

    items: tuple[Expression, ...]
    span: Span


Value = Expression | String | Quantity | Sequence


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """``name = value, … from "source"``; there is at least one value."""

    name: Name
    values: tuple[Value, ...]
    source: String | None
    span: Span

    @property
    def values_span(self) -> Span:
        """From the first to the last value."""
        first, last = self.values[0].span, self.values[-1].span
        return first.source.span(first.start, last.end)


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """A ``schedule { }`` block."""

    fields: tuple[Field, ...]
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """``input name : dtype[axes]``; there is at least one axis."""

    name: Name
    dtype: Name
    axes: tuple[Expression, ...]
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """An ``attention`` item. ``damaged`` where a syntax error took something out of it."""

    name: Name
    fields: tuple[Field, ...]
    inputs: tuple[Input, ...]
    schedules: tuple[Schedule, ...]
    span: Span
    damaged: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Hardware:
    """A ``hardware`` item. ``damaged`` where a syntax error took something out of it.

    ``base`` is the item that it extends.
    """

    name: Name
    fields: tuple[Field, ...]
    span: Span
    base: Name | None = None
    damaged: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """``use "file.attn"``: the items of another file."""

    path: String
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A stretch of layers: a name or runs in brackets, ``count`` times.

    ``repeat`` means as often as fills the model; there is no count then.
    """

    what: Name | tuple[Run, ...]
    count: Number | None
    repeat: bool
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """``layers 42 = repeat [local, full]``."""

    count: Number
    runs: tuple[Run, ...]
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A ``model`` item. ``damaged`` where a syntax error took something out of it."""

    name: Name
    fields: tuple[Field, ...]
    layers: tuple[Layers, ...]
    span: Span
    damaged: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """A parameter of a ``def``.

    Attributes:
        name: what the body calls it.
        choices: the symbols that it is restricted to; empty for an ordinary value.
        default: value where a call gives none.
        keyword_only: it stands after ``*`` and must be named in a call.
        span: the whole of it.
    """

    name: Name
    choices: tuple[Name, ...]
    default: Expression | None
    keyword_only: bool
    span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """``def name(parameters) requires condition = body``."""

    name: Name
    parameters: tuple[Parameter, ...]
    requires: Expression | None
    body: Expression
    span: Span


Item = Use | Attention | Hardware | Definition | Model


@dataclass(frozen=True, slots=True, eq=False)
class File:
    """One parsed file, items in the order of the text.

    Attributes:
        source: the text.
        items: what could be read.
        damaged: whether a syntax error took something out.
        lost: names of items that were taken out as a whole.
    """

    source: SourceFile
    items: tuple[Item, ...]
    damaged: bool = False
    lost: frozenset[str] = frozenset()

    @property
    def attentions(self) -> tuple[Attention, ...]:
        """The ``attention`` items."""
        return tuple(item for item in self.items if isinstance(item, Attention))

    @property
    def hardware(self) -> tuple[Hardware, ...]:
        """The ``hardware`` items."""
        return tuple(item for item in self.items if isinstance(item, Hardware))

    @property
    def definitions(self) -> tuple[Definition, ...]:
        """The ``def`` items."""
        return tuple(item for item in self.items if isinstance(item, Definition))

    @property
    def models(self) -> tuple[Model, ...]:
        """The ``model`` items."""
        return tuple(item for item in self.items if isinstance(item, Model))

    @property
    def uses(self) -> tuple[Use, ...]:
        """The ``use`` items."""
        return tuple(item for item in self.items if isinstance(item, Use))


def children(node: Value) -> tuple[Expression, ...]:
    """Return the expressions directly below a node."""
    match node:
        case Unary():
            return (node.operand,)
        case Binary():
            return (node.left, node.right)
        case Compare():
            return node.operands
        case Call():
            return tuple(argument.value for argument in node.arguments)
        case Index():
            return node.indices
        case Sequence():
            return node.items
        case Name() | Number() | Boolean() | String() | Quantity():
            return ()
