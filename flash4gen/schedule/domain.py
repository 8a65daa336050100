"""The values that one field of a schedule may be pinned to, and the rule that they follow from."""

from __future__ import annotations

from dataclasses import dataclass

from flash4gen.diagnostics.suggest import did_you_mean, one_of

Value = int | float | str
"""What a pin is written as."""


@dataclass(frozen=True, slots=True)
class Span:
    """Numbers from ``least`` to ``most`` in steps; a step of 0 allows every number between."""

    least: float
    most: float
    step: int = 1


@dataclass(frozen=True, slots=True)
class Domain:
    """The values of a field.

    Attributes:
        values: all of them by name or number, or a span of numbers.
        rule: why these, as half a sentence.
    """

    values: tuple[int | str, ...] | Span
    rule: str = ""

    def read(self, written: Value) -> Value | None:
        """Return what was written as one of the values, None if it is none of them."""
        if not isinstance(self.values, Span):
            return next((value for value in self.values if str(value) == str(written)), None)
        if isinstance(written, str) or not self.values.least <= written <= self.values.most:
            return None
        if self.values.step == 0:
            return written
        whole = isinstance(written, int) and written % self.values.step == 0
        return written if whole else None

    def written(self, text: str) -> Value | None:
        """Return what a text says as one of the values, None if it says none of them."""
        return self.read(int(text) if text.isdecimal() else text)

    def says(self) -> str:
        """Return the values in words: what to write."""
        if not isinstance(self.values, Span):
            return one_of(str(value) for value in self.values)
        least, most, step = self.values.least, self.values.most, self.values.step
        kind = {0: "a number", 1: "a whole number"}.get(step, f"a multiple of {step}")
        return f"{kind} from {least} to {most}"

    def guesses(self, written: Value) -> tuple[str, ...]:
        """Return a help line with the name that was probably meant, or nothing."""
        if isinstance(self.values, Span):
            return ()
        return did_you_mean(str(written), (str(v) for v in self.values if isinstance(v, str)))

    def within(self, other: Domain) -> bool:
        """Whether the other has every value of this one, as far as both are lists."""
        if isinstance(self.values, Span) or isinstance(other.values, Span):
            return self == other
        return set(self.values) <= set(other.values)
