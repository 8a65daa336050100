"""Goes through a kernel once for all launches: which operation happens under which conditions.

In: a parsed function. Out: events, each with the condition under which it happens and the barriers
it may be about. A loop that provably ends after a few turns is gone through turn by turn; any other
once, for a turn of which nothing is known but that it is within the bounds. Arguments of the kernel
may be anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from flash4gen.vgpu.parse.tree import Block, MemDescType, OpaqueType, Operation, Region
from flash4gen.vgpu.prove.integers import (
    TRUE,
    Formula,
    NotNegative,
    Sum,
    Variables,
    both,
    less,
    negation,
)
from flash4gen.vgpu.prove.scalars import Scalar, constant, evaluate, merged, unknown

if TYPE_CHECKING:
    from flash4gen.vgpu.parse.tree import Function, Operand, Type

# Loops of at most so many turns are gone through turn by turn.
_TURNS = 6


@dataclass(frozen=True, slots=True)
class Place:
    """Part of what a line allocates, under a condition; without a path, any part of it."""

    when: Formula
    allocation: int
    path: tuple[Sum, ...] | None


@dataclass(frozen=True, slots=True)
class Places:
    """What a memory descriptor may be: one of some places, or anything at all."""

    options: tuple[Place, ...] | None

    def among(self, when: Formula) -> Places:
        """Return the same under one more condition."""
        if self.options is None:
            return self
        return Places(tuple(Place(both(when, p.when), p.allocation, p.path) for p in self.options))


ANYWHERE = Places(None)
Value: TypeAlias = "Scalar | Places | None"


@dataclass(frozen=True, slots=True)
class Event:
    """An operation that happens if a condition holds.

    Attributes:
        operation: what happens.
        when: the condition, over variables of the walk.
        places: the memory it is about, whatever it does there.
        repeated: whether it stands for many turns of a loop, whose variables differ.
    """

    operation: Operation
    when: Formula
    places: tuple[Places, ...]
    repeated: bool


class UnknownError(Exception):
    """The kernel is of a form of which nothing can be said."""


@dataclass(slots=True)
class Walk:
    """The walk through one function; `events` is what came of it."""

    variables: Variables = field(default_factory=Variables)
    events: list[Event] = field(default_factory=list)
    _values: dict[str, Value] = field(default_factory=dict)
    _repeated: int = 0

    def function(self, function: Function) -> None:
        """Go through a whole function."""
        for argument in function.arguments:
            self._values[argument.name] = self._anything(argument.type)
        self._block(_body(function.body), TRUE)

    # --- values -------------------------------------------------------------------------------

    def _anything(self, kind: Type | None) -> Value:
        # Of what has no type written out, the worst is assumed: that it is some memory.
        if kind is None or isinstance(kind, MemDescType):
            return ANYWHERE
        return unknown(kind, self.variables)

    def _use(self, operand: Operand) -> Value:
        match operand:
            case str():
                return self._values.get(operand)
            case int():
                return Sum((), operand)
        return None

    def _condition(self, operand: Operand) -> Formula:
        value = self._use(operand)
        if isinstance(value, Formula):
            return value
        return NotNegative(self.variables.new())

    def _merge(self, kind: Type | None, cases: tuple[tuple[Formula, Value], ...]) -> Value:
        """Return the value of the case that holds."""
        if isinstance(kind, MemDescType):
            options: list[Place] = []
            for when, value in cases:
                if not isinstance(value, Places) or value.options is None:
                    return ANYWHERE
                options.extend(value.among(when).options or ())
            return Places(tuple(options))
        value = merged(cases, self.variables)
        return self._anything(kind) if value is None else value

    # --- operations ---------------------------------------------------------------------------

    def _block(self, block: Block, path: Formula) -> tuple[Value, ...]:
        """Go through a block and return what it yields."""
        for op in block.operations:
            if op.name in _YIELDS:
                return tuple(self._use(operand) for operand in op.operands)
            self._operation(op, path)
        return ()

    def _operation(self, op: Operation, path: Formula) -> None:
        match op.name:
            case "scf.for":
                self._for(op, path)
            case "scf.if":
                self._if(op, path)
            case "scf.while":
                self._while(op, path)
            case "ttg.warp_specialize":
                self._partitions(op, path)
            case "tt.call" | "cf.br" | "cf.cond_br":
                raise UnknownError
            case name if op.regions and name not in _COMBINING:
                raise UnknownError
            case _:
                self._plain(op, path)

    def _plain(self, op: Operation, path: Formula) -> None:
        operands = tuple(self._use(operand) for operand in op.operands)
        results = self._results(op, operands)
        for name, value in zip(op.results, results, strict=True):
            self._values[name] = value
        if op.name.startswith(("arith.", "math.")) or (op.name in _VIEWS and op.results):
            return
        places = tuple(value for value in operands if isinstance(value, Places))
        when = both(path, self._predicate(op))
        self.events.append(Event(op, when, places, self._repeated > 0))

    def _predicate(self, op: Operation) -> Formula:
        """Return the condition that an operation itself makes, where it has one."""
        index = _PREDICATES.get(op.name)
        if index is None or index >= len(op.operands):
            return TRUE
        return self._condition(op.operands[index])

    def _results(self, op: Operation, operands: tuple[Value, ...]) -> tuple[Value, ...]:
        if not op.results:
            return ()
        kinds = _result_types(op)
        if op.name == "arith.constant":
            return (constant(op),)
        if op.name == "tt.get_program_id":
            return (self._natural(),)
        if op.name in ("ttg.local_alloc", "ttng.tmem_alloc"):
            # All allocations of one line count as one: whatever is about one is about each.
            place = Places((Place(TRUE, op.line, ()),))
            return (place, *(None for _ in op.results[1:]))
        if op.name in _VIEWS and isinstance(operands[0], Places):
            return (self._view(op, operands[0]),)
        if op.name == "arith.select" and isinstance(kinds[0], MemDescType):
            when = self._condition(op.operands[0])
            return (self._merge(kinds[0], ((when, operands[1]), (negation(when), operands[2]))),)
        if len(op.results) == 1:
            value = evaluate(op, operands, self.variables)
            if value is not None:
                return (value,)
        return tuple(self._anything(kind) for kind in kinds)

    def _natural(self) -> Sum:
        result = self.variables.new()
        self.variables.defined(NotNegative(result))
        return result

    def _view(self, op: Operation, base: Places) -> Places:
        """Return part of a place: an element of an array of buffers, or something within."""
        if base.options is None:
            return ANYWHERE
        index = self._use(op.subscripts[0][0]) if op.name == "ttg.memdesc_index" else None
        return Places(
            tuple(
                Place(
                    place.when,
                    place.allocation,
                    (*place.path, index)
                    if isinstance(index, Sum) and place.path is not None
                    else None,
                )
                for place in base.options
            )
        )

    # --- structured control flow --------------------------------------------------------------

    def _if(self, op: Operation, path: Formula) -> None:
        when = self._condition(op.operands[0])
        cases: list[tuple[Formula, tuple[Value, ...]]] = []
        for condition, region in zip((when, negation(when)), op.regions, strict=False):
            inner = both(path, condition)
            if not self.variables.refuted(inner):
                cases.append((condition, self._block(_body(region), inner)))
        self._join(op, cases)

    def _join(self, op: Operation, cases: list[tuple[Formula, tuple[Value, ...]]]) -> None:
        """Give an operation the results of the case that holds."""
        for index, (name, kind) in enumerate(zip(op.results, _result_types(op), strict=True)):
            options = tuple((when, values[index]) for when, values in cases)
            self._values[name] = self._merge(kind, options) if options else self._anything(kind)

    def _for(self, op: Operation, path: Formula) -> None:
        (variable, start), *carried = op.bindings
        low, high, step = (
            self._use(operand) for operand in (start, op.labelled["to"][0], op.labelled["step"][0])
        )
        initial = tuple(self._use(value) for _, value in carried)
        names = tuple(name for name, _ in carried)
        known = (
            isinstance(low, Sum)
            and isinstance(high, Sum)
            and isinstance(step, Sum)
            and (step.number or 0) > 0
            and "unsigned" not in op.words
        )
        if known:
            turns = self._turns(path, low, high, step.constant)  # type: ignore[arg-type,union-attr]
            if turns is not None:
                self._unrolled(op, path, (low, high, step.constant, turns), initial)  # type: ignore[arg-type,union-attr]
                return
        self._values[variable] = self.variables.new()
        inner = path
        if known:
            index = self._values[variable]
            inner = both(path, negation(less(index, low)), less(index, high))  # type: ignore[arg-type]
        self._generic(op, inner, names, initial)

    def _turns(self, path: Formula, low: Sum, high: Sum, step: int) -> int | None:
        """Return the most turns a loop takes, if that is few."""
        for turns in range(_TURNS + 1):
            if self.variables.refuted(both(path, less(low + turns * step, high))):
                return turns
        return None

    def _unrolled(
        self,
        op: Operation,
        path: Formula,
        bounds: tuple[Sum, Sum, int, int],
        initial: tuple[Value, ...],
    ) -> None:
        """Go through a loop turn by turn."""
        low, high, step, turns = bounds
        variable, *names = (name for name, _ in op.bindings)
        values = initial
        cases: list[tuple[Formula, tuple[Value, ...]]] = []
        before: Formula = TRUE
        for turn in range(turns):
            now = low + turn * step
            cases.append((both(before, negation(less(now, high))), values))
            before = less(now, high)
            self._values[variable] = now
            self._values.update(zip(names, values, strict=True))
            values = self._block(_body(op.regions[0]), both(path, before))
        cases.append((before, values))
        self._join(op, cases)

    def _while(self, op: Operation, path: Formula) -> None:
        before, after = (_body(region) for region in op.regions)
        names = tuple(name for name, _ in op.bindings)
        self._repeated += 1
        self._values.update((name, ANYWHERE) for name in names)
        for inner in before.operations[:-1]:
            self._operation(inner, path)
        condition = before.operations[-1]
        handed = tuple(self._use(value) for value in condition.operands[1:])
        for argument, value in zip(after.arguments, handed, strict=True):
            self._values[argument.name] = value
        self._block(after, both(path, self._condition(condition.operands[0])))
        self._repeated -= 1
        for name, kind in zip(op.results, _result_types(op), strict=True):
            self._values[name] = self._anything(kind)

    def _generic(
        self,
        op: Operation,
        path: Formula,
        names: tuple[str, ...],
        initial: tuple[Value, ...],
    ) -> None:
        """Go through any turn of a loop.

        A memory descriptor that is handed from turn to turn is what it was at first, or any part of
        the allocations that the turns hand on: a first walk, which leaves no events, tells those.
        """
        kinds, block = _result_types(op), _body(op.regions[0])
        self._repeated += 1
        self._values.update(zip(names, (self._anything(kind) for kind in kinds), strict=True))
        count = len(self.events)
        handed = self._block(block, path)
        del self.events[count:]
        carried = tuple(
            self._carried(kind, old, new)
            for kind, old, new in zip(kinds, initial, handed, strict=True)
        )
        self._values.update(zip(names, carried, strict=True))
        self._block(block, path)
        self._repeated -= 1
        self._values.update(
            zip(
                op.results,
                (
                    value if isinstance(value, Places) else self._anything(kind)
                    for kind, value in zip(kinds, carried, strict=True)
                ),
                strict=True,
            )
        )

    def _carried(self, kind: Type | None, first: Value, later: Value) -> Value:
        if not isinstance(kind, MemDescType):
            return self._anything(kind)
        options: list[Place] = []
        for value in (first, later):
            if not isinstance(value, Places) or value.options is None:
                return ANYWHERE
            # Conditions and paths of another turn say nothing about this one.
            options.extend(
                place if value is first else Place(TRUE, place.allocation, None)
                for place in value.options
            )
        return Places(tuple(options))

    def _partitions(self, op: Operation, path: Formula) -> None:
        captured = tuple(self._use(operand) for operand in op.operands)
        for region in op.regions[1:]:
            block = _body(region)
            for argument, value in zip(block.arguments, captured, strict=True):
                self._values[argument.name] = value
            self._block(block, path)
        results = self._block(_body(op.regions[0]), path)
        self._values.update(zip(op.results, results, strict=True))


# Views of memory; with `memdesc_index`, a known part of it.
_VIEWS = frozenset(
    {
        "ttg.memdesc_index",
        "ttg.memdesc_subslice",
        "ttg.memdesc_trans",
        "ttg.memdesc_reshape",
        "ttg.memdesc_reinterpret",
        "ttng.tmem_subslice",
    }
)
_NO_MEMORY = OpaqueType("")
_YIELDS = ("scf.yield", "ttg.warp_yield")
# Operations whose regions are functions of scalars.
_COMBINING = ("tt.reduce", "tt.scan", "tt.map_elementwise")
# Where an operation keeps its predicate.
_PREDICATES = {
    "ttng.wait_barrier": 2,
    "ttng.arrive_barrier": 2,
    "ttng.barrier_expect": 2,
    "ttng.async_tma_copy_global_to_local": 3,
    "ttng.tc_gen5_mma": 4,
    "ttng.tc_gen5_mma_scaled": 6,
    "ttng.tc_gen5_commit": 1,
}


def _result_types(op: Operation) -> tuple[Type | None, ...]:
    """Return the type of each result; None for what may be memory, if the text does not tell."""
    count = len(op.results)
    if op.name == "scf.for":  # the type of the counter comes last
        return op.result_types[:count]
    if len(op.result_types) == count:
        return op.result_types
    memory = any(isinstance(kind, MemDescType) for kind in op.result_types)
    return (None if memory else _NO_MEMORY,) * count


def _body(region: Region) -> Block:
    """Return the only block of a region; one without operations is not printed at all."""
    if len(region.blocks) > 1:
        raise UnknownError
    return region.blocks[0] if region.blocks else Block("", (), ())
