"""Parses TTGIR text into a `Module`.

Lines that begin with `#` define aliases of layouts and locations, above and below the module; they
are read first, so that everything else can be resolved while it is built. The grammar knows no
single operation: it yields tokens and nesting, and `digest.py` sorts them into an `Operation`.

Nearly every line is an operation by itself. Such lines are read apart from the nesting around them,
and remembered.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lark import Lark, Token
from lark.exceptions import LarkError, UnexpectedInput

from flash4gen.vgpu.parse.digest import Digest
from flash4gen.vgpu.parse.raw import RawOp, transformer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.vgpu.parse.tree import Module, Operation


class TtgirSyntaxError(Exception):
    """The text is not TTGIR as this grammar knows it; names the line."""


# An operation that begins and ends on its line. Lines of this form stand alone wherever they stand.
_RESULTS = r"(?:%[\w$.-]+(?::\d+)?(?:, %[\w$.-]+)* = )?"
_ALONE = re.compile(
    rf'\s*{_RESULTS}(?!tt\.func)(?:[a-z_]\w*(?:\.[\w$-]+)+|"[^"]*").* loc\(#loc\d*\)'
)
# What stands for such lines while the nesting is read.
_MARK = "\x01"
_SKELETONS = 16


@cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("ttgir.lark").read_text()
    return Lark(
        grammar,
        parser="lalr",
        start=["aliases", "op"],
        maybe_placeholders=True,
        transformer=transformer(),
    )


def parse_ttgir(text: str) -> Module:
    """Return the module that `text` spells.

    Raises:
        TtgirSyntaxError: the text does not match the grammar; the message names the line.
    """
    lines = text.split("\n")
    is_alias = [line.startswith("#") for line in lines]
    alias_text = "\n".join(line for line, alias in zip(lines, is_alias, strict=True) if alias)
    # Blank lines stand in for the aliases, so that line numbers stay those of the whole text.
    body = ["" if alias else line for line, alias in zip(lines, is_alias, strict=True)]
    try:
        lexicon = _lexicon(alias_text)
        if lexicon.familiar:
            # Where that fails the text is not so regular, or wrong: reading it as one tells.
            with suppress(LarkError):
                return lexicon.by_lines(body)
        lexicon.familiar = True
        return lexicon.as_one(body)
    except UnexpectedInput as error:
        shown = lines[error.line - 1].strip() if 0 < error.line <= len(lines) else ""
        raise TtgirSyntaxError(f"TTGIR line {error.line}: cannot read `{shown[:160]}`") from error
    except LarkError as error:
        raise TtgirSyntaxError(f"TTGIR: {error}") from error


class _Lexicon:
    """What is known of the texts with one set of aliases.

    The first is read as one. Those that follow are mutants of it, most likely, and differ in a line
    or two: of these each line is read once.

    Attributes:
        familiar: whether there was one before.
    """

    def __init__(self, aliases: dict[str, Any]) -> None:
        self.familiar = False
        self._digest = Digest(aliases)
        self._lines: dict[str, Operation] = {}
        self._placed: dict[tuple[int, str], Operation] = {}
        self._skeletons: dict[str, RawOp] = {}

    def as_one(self, body: list[str]) -> Module:
        """Return the module of a text.

        Raises:
            LarkError: it is wrong.
        """
        return self._digest.module(_read("\n".join(body)))

    def by_lines(self, body: list[str]) -> Module:
        """Return the same, with lines that are operations by themselves read one by one.

        Raises:
            LarkError: it is wrong, or does not keep to lines.
        """
        lines = _Lines(self)
        for number, line in enumerate(body, 1):
            lines.add(number, line, alone=self._alone(line))
        return self._digest.module(self._skeleton("\n".join(lines.skeleton)), lines)

    def _skeleton(self, text: str) -> RawOp:
        """Return what is left of a text, which mutants have in common."""
        if text not in self._skeletons:
            if len(self._skeletons) >= _SKELETONS:
                self._skeletons.clear()
            self._skeletons[text] = _read(text)
        return self._skeletons[text]

    def _alone(self, line: str) -> bool:
        return line in self._lines or _ALONE.fullmatch(line) is not None

    def operation(self, number: int, line: str) -> Operation:
        """Return the operation that has a line for itself."""
        placed = self._placed.get((number, line))
        if placed is None:
            found = self._lines.get(line)
            if found is None:
                found = self._lines[line] = self._digest.operation(_read(line))
            placed = self._placed[number, line] = replace(found, line=number)
        return placed


class _Lines:
    """A text with runs of lines that stand alone left out: one mark stands for each run.

    Attributes:
        skeleton: its lines.
    """

    def __init__(self, lexicon: _Lexicon) -> None:
        self.skeleton: list[str] = []
        self._lexicon = lexicon
        self._numbers: list[int] = []
        self._runs: dict[int, list[str]] = {}

    def add(self, number: int, line: str, *, alone: bool) -> None:
        """Append a line of the whole text."""
        last = len(self.skeleton)
        if alone and last in self._runs:
            self._runs[last].append(line)
            return
        self.skeleton.append(_MARK if alone else line)
        self._numbers.append(number)
        if alone:
            self._runs[last + 1] = [line]

    def number(self, line: int) -> int:
        """Return the number of one of the skeleton's lines in the whole text."""
        return self._numbers[line - 1]

    def operations(self, line: int) -> Iterator[Operation]:
        """Return the operations that one of the skeleton's lines stands for."""
        for number, text in enumerate(self._runs[line], self._numbers[line - 1]):
            yield self._lexicon.operation(number, text)


def _read(text: str) -> RawOp:
    raw = _parser().parse(text, start="op")
    assert isinstance(raw, RawOp)
    return raw


@lru_cache(maxsize=16)
def _lexicon(alias_text: str) -> _Lexicon:
    return _Lexicon(_aliases(alias_text))


def _aliases(text: str) -> dict[str, Any]:
    pairs: Any = _parser().parse(text, start="aliases")
    return {
        name: str(value) if isinstance(value, Token) and value.type != "LOC_REF" else value
        for name, value in pairs
    }
