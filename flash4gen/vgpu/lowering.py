"""How operations become Python calls: the registry of handlers and what a handler returns.

A handler looks at an operation once, before anything runs, and returns the callable that will
execute it with the values it wants. Whatever it does not know it must refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import signature
from typing import Any, Protocol, TypeAlias

from flash4gen.vgpu.errors import FaultError, FindingKind
from flash4gen.vgpu.parse.tree import Operand, Operation, Region, Type


@dataclass(frozen=True, slots=True)
class Step:
    """A call: `results = call(*operands)`, with the running program first if `machine`.

    One that `blocks` has no result and returns an iterable: the checked machine delegates to it.
    """

    call: Callable[..., Any]
    operands: tuple[Operand | None, ...]
    machine: bool = False
    blocks: bool = False


@dataclass(frozen=True, slots=True)
class Constant:
    """The result is known: it is shared by all programs and never written to."""

    value: Any


@dataclass(frozen=True, slots=True)
class Alias:
    """The results are these operands: the operation moves data between layouts at most."""

    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    """The operation has no effect on this rung and no result."""


Lowered: TypeAlias = Step | Constant | Alias | Nothing


class RegionCompiler(Protocol):
    """What a handler with regions may ask for."""

    def elementwise(self, region: Region) -> Callable[..., Any]:
        """Return a function that applies a region of scalar operations to whole tensors."""
        ...


Handler: TypeAlias = Callable[[Operation, RegionCompiler], Lowered]


@dataclass(frozen=True, slots=True)
class _Entry:
    handler: Handler
    attributes: frozenset[str]


_ENTRIES: dict[str, _Entry] = {}
# Attributes that no result depends on: axis information, hints of the pipeliner, printing.
_HINTS = frozenset(
    {
        "tt.divisibility",
        "tt.contiguity",
        "tt.constancy",
        "tt.num_stages",
        "tt.latency",
        "tt.loop_unroll_factor",
        "tt.flatten",
        "tt.disallow_acc_multi_buffer",
        "tt.self_latency",
        "loop.stage",
        "loop.cluster",
        "ttg.partition",
        "amd.pipeliner_part",
        "OpIdx",
    }
)


def operation(
    *names: str, attributes: Iterable[str] = ()
) -> Callable[[Callable[..., Lowered]], Callable[..., Lowered]]:
    """Register a handler for operations that may carry these attributes and no other.

    The handler takes the operation, and a `RegionCompiler` if it has two parameters.
    """

    def register(handler: Callable[..., Lowered]) -> Callable[..., Lowered]:
        takes_compiler = len(signature(handler).parameters) == 2
        full: Handler = handler if takes_compiler else (lambda op, _compiler: handler(op))
        for name in names:
            _ENTRIES[name] = _Entry(full, frozenset(attributes))
        return handler

    return register


def lower(op: Operation, compiler: RegionCompiler) -> Lowered:
    """Return what an operation becomes.

    Raises:
        FaultError: the operation, or one of its attributes or types, is not known.
    """
    entry = _ENTRIES.get(op.name)
    if entry is None:
        raise FaultError(FindingKind.UNSUPPORTED, f"operation {op.name} is not supported")
    for attribute in op.attributes:
        if attribute not in entry.attributes and attribute not in _HINTS:
            raise FaultError(
                FindingKind.UNSUPPORTED, f"attribute {attribute} of {op.name} is not supported"
            )
    return entry.handler(op, compiler)


def operand_type(op: Operation) -> Type:
    """Return the first printed type."""
    if not op.operand_types:
        raise FaultError(FindingKind.UNSUPPORTED, f"{op.name} is printed without a type")
    return op.operand_types[0]


def result_type(op: Operation) -> Type:
    """Return the last printed type."""
    if not op.result_types:
        raise FaultError(FindingKind.UNSUPPORTED, f"{op.name} is printed without a result type")
    return op.result_types[-1]


def integer(op: Operation, name: str) -> int:
    """Return an attribute that must be an integer."""
    value = op.attributes.get(name)
    if not isinstance(value, int):
        raise unsupported(f"{op.name} with {name} = {value} is not supported")
    return value


def integers(op: Operation, name: str) -> tuple[int, ...]:
    """Return an attribute that must be an array of integers."""
    value = op.attributes.get(name)
    if not isinstance(value, tuple):
        raise unsupported(f"{op.name} with {name} = {value} is not supported")
    return tuple(item for item in value if isinstance(item, int))


def unsupported(message: str) -> FaultError:
    """Return the refusal of a case that a handler does not know."""
    return FaultError(FindingKind.UNSUPPORTED, message)
