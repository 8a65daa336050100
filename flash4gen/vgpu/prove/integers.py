"""Linear arithmetic over the integers: sums of variables, formulas of them, and a refuter.

In: formulas. Out: whether they contradict each other. The refuter is sound and incomplete: it
splits disjunctions and eliminates variables (Fourier and Motzkin), with constants rounded to what
integers can reach. What it refutes has no solution; what it does not refute may have one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import gcd
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Splits after which a question counts as open; a refutation here takes a few dozen.
_SPLITS = 2000
# Rows after which an elimination counts as open.
_ROWS = 400


@dataclass(frozen=True, slots=True)
class Sum:
    """A constant and multiples of variables: (variable, factor) pairs, sorted, no factor 0."""

    terms: tuple[tuple[int, int], ...] = ()
    constant: int = 0

    def __add__(self, other: Sum | int) -> Sum:
        if isinstance(other, int):
            return Sum(self.terms, self.constant + other)
        factors = dict(self.terms)
        for variable, factor in other.terms:
            factors[variable] = factors.get(variable, 0) + factor
        return Sum(_terms(factors), self.constant + other.constant)

    def __sub__(self, other: Sum | int) -> Sum:
        return self + (-other if isinstance(other, int) else other * -1)

    def __mul__(self, factor: int) -> Sum:
        factors = {variable: own * factor for variable, own in self.terms}
        return Sum(_terms(factors), self.constant * factor)

    @property
    def number(self) -> int | None:
        """Its value if it has no variables."""
        return None if self.terms else self.constant


def _terms(factors: dict[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((v, f) for v, f in factors.items() if f))


@dataclass(frozen=True, slots=True)
class NotNegative:
    """`sum >= 0`."""

    sum: Sum


@dataclass(frozen=True, slots=True)
class Zero:
    """`sum == 0`."""

    sum: Sum


@dataclass(frozen=True, slots=True)
class All:
    """A conjunction; without parts it is true."""

    parts: tuple[Formula, ...] = ()


@dataclass(frozen=True, slots=True)
class Some:
    """A disjunction; without parts it is false."""

    parts: tuple[Formula, ...] = ()


Formula: TypeAlias = NotNegative | Zero | All | Some
TRUE, FALSE = All(), Some()


def less(a: Sum, b: Sum) -> Formula:
    """Return `a < b`."""
    return NotNegative(b - a - 1)


def equal(a: Sum, b: Sum) -> Formula:
    """Return `a == b`."""
    return Zero(a - b)


def both(*parts: Formula) -> Formula:
    """Return a conjunction, without what is true anyway."""
    kept = tuple(part for part in parts if part != TRUE)
    return kept[0] if len(kept) == 1 else All(kept)


def negation(formula: Formula) -> Formula:
    """Return the opposite."""
    match formula:
        case NotNegative(total):
            return NotNegative(total * -1 - 1)
        case Zero(total):
            return Some((NotNegative(total - 1), NotNegative(total * -1 - 1)))
        case All(parts):
            return Some(tuple(negation(part) for part in parts))
        case Some(parts):
            return All(tuple(negation(part) for part in parts))


@dataclass(slots=True)
class Variables:
    """Makes variables, and knows what holds of each: a formula that its values always satisfy."""

    facts: list[Formula] = field(default_factory=list)

    def new(self, fact: Formula = TRUE) -> Sum:
        """Return a new variable."""
        self.facts.append(fact)
        return Sum(((len(self.facts) - 1, 1),))

    def defined(self, fact: Formula) -> None:
        """Say what holds of the newest variable, now that it can be written down."""
        self.facts[-1] = fact

    def refuted(self, *formulas: Formula) -> bool:
        """Whether no integers satisfy the formulas and what holds of their variables."""
        refuter = _Refuter(self.facts)
        return refuter.refutes(_State((), {}, frozenset(), list(formulas)))


@dataclass(slots=True)
class _State:
    """What is assumed: rows, choices still open, and variables whose facts have been taken in."""

    rows: tuple[NotNegative | Zero, ...]
    choices: dict[Some, None]
    known: frozenset[int]
    pending: list[Formula]


class _Refuter:
    """One question: a search through the choices, deepest first."""

    def __init__(self, facts: Sequence[Formula]) -> None:
        self._facts = facts
        self._splits = 0

    def refutes(self, state: _State) -> bool:
        """Whether every way to make the choices ends in a contradiction."""
        while True:
            self._absorb(state)
            if _contradict(state.rows):
                return True
            forced = self._forced(state)
            if forced is None:
                return True
            if not forced:
                break
            state.pending.extend(forced)
        if not state.choices:
            return False
        choice = min(state.choices, key=lambda some: len(some.parts))
        rest = {other: None for other in state.choices if other is not choice}
        self._splits += 1
        return self._splits <= _SPLITS and all(
            self.refutes(_State(state.rows, dict(rest), state.known, [part]))
            for part in choice.parts
        )

    def _absorb(self, state: _State) -> None:
        """Take in what is pending, with the facts of every variable that it brings up."""
        while state.pending:
            match state.pending.pop():
                case All(parts):
                    state.pending.extend(parts)
                case Some() as some:
                    state.choices[some] = None
                case row:
                    state.rows += (row,)
                    for variable, _ in row.sum.terms:
                        if variable not in state.known:
                            state.known |= {variable}
                            state.pending.append(self._facts[variable])

    def _forced(self, state: _State) -> list[Formula] | None:
        """Drop what the rows rule out; return what is left without a choice; None if nothing is."""
        forced: list[Formula] = []
        for some in list(state.choices):
            left = tuple(p for p in some.parts if not _contradict((*state.rows, *_rows(p))))
            if not left:
                return None
            if len(left) < len(some.parts) or len(left) == 1:
                del state.choices[some]
                if len(left) == 1:
                    forced.append(left[0])
                else:
                    state.choices[Some(left)] = None
        return forced


def _rows(formula: Formula) -> Iterator[NotNegative | Zero]:
    """Yield what a formula says without a choice."""
    match formula:
        case All(parts):
            for part in parts:
                yield from _rows(part)
        case Some():
            pass
        case row:
            yield row


# Factors by variable, and a constant: the sum is not negative.
_Row = tuple[dict[int, int], int]


def _contradict(rows: Sequence[NotNegative | Zero]) -> bool:
    """Whether rows have no integer solution, as far as elimination shows."""
    equalities = [(dict(r.sum.terms), r.sum.constant) for r in rows if isinstance(r, Zero)]
    others = [(dict(r.sum.terms), r.sum.constant) for r in rows if isinstance(r, NotNegative)]
    while equalities:
        factors, constant = equalities.pop()
        if not factors:
            if constant:
                return True
            continue
        unit = next((v for v, factor in factors.items() if abs(factor) == 1), None)
        if unit is None:
            if constant % gcd(*factors.values()):
                return True
            opposite = {v: -factor for v, factor in factors.items()}
            others += [(factors, constant), (opposite, -constant)]
            continue
        equalities = [_without(row, unit, (factors, constant)) for row in equalities]
        others = [_without(row, unit, (factors, constant)) for row in others]
    return _eliminated(others)


def _without(row: _Row, variable: int, equality: _Row) -> _Row:
    """Return a row with a variable replaced, by an equality in which its factor is 1 or -1."""
    factor = row[0].get(variable, 0) * -equality[0][variable]
    return _combined(row, 1, equality, factor) if factor else row


def _combined(one: _Row, times: int, two: _Row, by: int) -> _Row:
    factors = {v: times * factor for v, factor in one[0].items()}
    for variable, factor in two[0].items():
        total = factors.get(variable, 0) + by * factor
        if total:
            factors[variable] = total
        else:
            factors.pop(variable, None)
    return factors, times * one[1] + by * two[1]


def _eliminated(rows: list[_Row]) -> bool:
    """Whether inequalities contradict each other; they do once a negative constant is left."""
    while True:
        tight: dict[tuple[tuple[int, int], ...], int] = {}
        for factors, constant in rows:
            if not factors:
                if constant < 0:
                    return True
                continue
            common = gcd(*factors.values())
            key = tuple(sorted((v, factor // common) for v, factor in factors.items()))
            tight[key] = min(tight.get(key, constant // common), constant // common)
        if not tight or len(tight) > _ROWS:
            return False
        rows = _eliminate_one([(dict(key), constant) for key, constant in tight.items()])


def _eliminate_one(rows: list[_Row]) -> list[_Row]:
    """Return what rows say about all variables but the one that is cheapest to eliminate."""
    counts: dict[int, list[int]] = {}
    for factors, _ in rows:
        for variable, factor in factors.items():
            counts.setdefault(variable, [0, 0])[factor > 0] += 1
    variable = min(counts, key=lambda v: (counts[v][0] * counts[v][1] - sum(counts[v]), v))
    above = [row for row in rows if row[0].get(variable, 0) < 0]
    below = [row for row in rows if row[0].get(variable, 0) > 0]
    rest = [row for row in rows if variable not in row[0]]
    return rest + [
        _combined(low, -high[0][variable], high, low[0][variable])
        for low in below
        for high in above
    ]
