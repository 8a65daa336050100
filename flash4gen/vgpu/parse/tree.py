"""The parsed TTGIR: modules, functions, operations, types and locations as frozen data.

Names of values are without `%`; the i-th result of `%r:4` is called `r#i`, as its users write it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Frame:
    """One source position: a file, and a line and column that count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Location:
    """Where an operation comes from: its own position, then the call sites it was inlined at."""

    frames: tuple[Frame, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class ScalarType:
    """`i1`, `i32`, `f16`, `bf16`, `f8E4M3FN`, `index`, ..."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class PointerType:
    """A pointer to global memory."""

    element: Type

    def __str__(self) -> str:
        return f"!tt.ptr<{self.element}>"


@dataclass(frozen=True, slots=True)
class TensorType:
    """A tensor in registers; `layout` is the text of its encoding, aliases resolved."""

    shape: tuple[int, ...]
    element: Type
    layout: str = ""

    def __str__(self) -> str:
        return f"tensor<{'x'.join(map(str, (*self.shape, self.element)))}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemDescType:
    """A view of shared or tensor memory; `space` is `smem` or `tmem`."""

    shape: tuple[int, ...]
    element: Type
    layout: str
    space: str

    def __str__(self) -> str:
        return f"!ttg.memdesc<{'x'.join(map(str, (*self.shape, self.element)))}, {self.space}>"


@dataclass(frozen=True, slots=True)
class DescriptorType:
    """A TMA descriptor whose boxes have this shape."""

    shape: tuple[int, ...]
    element: Type
    layout: str = ""

    def __str__(self) -> str:
        return f"!tt.tensordesc<{'x'.join(map(str, (*self.shape, self.element)))}>"


@dataclass(frozen=True, slots=True)
class OpaqueType:
    """A type the machine needs no insides of, such as `!ttg.async.token`."""

    text: str

    def __str__(self) -> str:
        return self.text


Type: TypeAlias = ScalarType | PointerType | TensorType | MemDescType | DescriptorType | OpaqueType
Attribute: TypeAlias = "int | float | bool | str | tuple[Attribute, ...] | Mapping[str, Attribute]"
Operand: TypeAlias = "str | int | float"


@dataclass(frozen=True, slots=True)
class BlockArgument:
    """An argument of a block or a function."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Block:
    """A label (empty if none), its arguments and its operations in order."""

    label: str
    arguments: tuple[BlockArgument, ...]
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """The blocks between a pair of braces."""

    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation, its text taken apart as far as it goes without knowing the operation.

    Attributes:
        name: `dialect.mnemonic`.
        line: 1-based line of the TTGIR text.
        results: names of the results.
        operands: values and numbers in order of appearance; values are names, numbers are numbers.
        subscripts: operand index -> what stands in the brackets right behind it.
        groups: bracketed lists that stand alone.
        labelled: word -> the values right behind it, as in `mask %m other %o`.
        bindings: `%a = %b` pairs, as in the `iter_args` of a loop.
        words: words that are neither labels nor types, such as predicates.
        strings: string operands.
        symbols: `@name` operands, without the `@`.
        attributes: all attributes, wherever they are written.
        operand_types: types before `->` or `to`, in order.
        result_types: types behind it; where there is no arrow, the same as `operand_types`.
        regions: nested regions, in order.
        successors: blocks that a branch may go to, each with the values it hands over.
        location: where the operation comes from.
    """

    name: str
    line: int
    results: tuple[str, ...] = ()
    operands: tuple[Operand, ...] = ()
    subscripts: Mapping[int, tuple[Operand, ...]] = field(default_factory=dict)
    groups: tuple[tuple[Operand, ...], ...] = ()
    labelled: Mapping[str, tuple[Operand, ...]] = field(default_factory=dict)
    bindings: tuple[tuple[str, Operand], ...] = ()
    words: tuple[str, ...] = ()
    strings: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    operand_types: tuple[Type, ...] = ()
    result_types: tuple[Type, ...] = ()
    regions: tuple[Region, ...] = ()
    successors: tuple[tuple[str, tuple[Operand, ...]], ...] = ()
    location: Location = field(default_factory=Location)


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A `tt.func`: its name, typed arguments, body, and whether it is a kernel."""

    name: str
    arguments: tuple[BlockArgument, ...]
    body: Region
    public: bool
    line: int


@dataclass(frozen=True, slots=True)
class Module:
    """A whole TTGIR text."""

    attributes: Mapping[str, Attribute]
    functions: tuple[Function, ...]

    @property
    def kernel(self) -> Function:
        """The public function: the one a launch runs."""
        return next(function for function in self.functions if function.public)
