"""Text to syntax tree: takes a source file, gives the tree of all that could be read and findings.

Never raises on any text. After an error, the field or item around it is blanked out, every other
character staying where it is, and the rest is read again; so one error does not hide the next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from lark.exceptions import UnexpectedInput

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.collect import Findings
from flash4gen.syntax import ast, tables
from flash4gen.syntax.builder import Builder
from flash4gen.syntax.limits import prune

if TYPE_CHECKING:
    from lark import Lark

    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.source import SourceFile
    from flash4gen.syntax.mistakes import Mistake

MAX_ERRORS = 20
_ITEM = re.compile(r"\b(?:attention|hardware|def|model)\s+([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class ParseResult:
    """What could be read of a file, and what was wrong with the rest."""

    file: ast.File
    diagnostics: tuple[Diagnostic, ...]


@cache
def grammar() -> Lark:
    """Return the parser of ``attn.lark``."""
    return tables.load() or tables.compiled()


def parse(source: SourceFile) -> ParseResult:
    """Parse a whole file, leaving out what does not follow the grammar, with a finding for each."""
    findings = Findings()
    text = source.text
    left_out: list[tuple[int, int]] = []
    for _ in range(MAX_ERRORS):
        try:
            tree = grammar().parse(text)
        except UnexpectedInput as problem:
            text, region = _recover(source, text, problem, findings)
            left_out.append(region)
        else:
            file = Builder(source).transform(tree)
            file = prune(_mark_damage(file, left_out), findings)
            return ParseResult(file, findings.in_order())
    findings.error(
        Code.TOO_MANY,
        f"more than {MAX_ERRORS} syntax errors; the rest of the file was not read",
        None,
    )
    return ParseResult(ast.File(source, (), damaged=True), findings.in_order())


def _recover(
    source: SourceFile, text: str, problem: UnexpectedInput, findings: Findings
) -> tuple[str, tuple[int, int]]:
    """Report one error; return the text without it and the offsets of what was left out."""
    from flash4gen.syntax.mistakes import explain  # not needed where nothing is wrong

    mistake = explain(source, text, problem)
    findings.add(mistake.diagnostic)
    if mistake.close and (closed := _close(text, mistake)) is not None:
        return closed, (mistake.at - 1, len(closed) if mistake.at >= len(text) else mistake.at)
    start, end = _region(text, mistake.at)
    blank = "".join(char if char == "\n" else " " for char in text[start:end])
    return text[:start] + blank + text[end:], (start, end)


def _close(text: str, mistake: Mistake) -> str | None:
    """Put a missing bracket in the place of the blank before ``at``, or at the very end."""
    if mistake.at >= len(text):
        return f"{text}\n{mistake.close}"
    if text[mistake.at - 1].isspace():
        return text[: mistake.at - 1] + mistake.close + text[mistake.at :]
    return None


def _region(text: str, at: int) -> tuple[int, int]:
    """Return the stretch to blank out, which always holds something, so that this ends."""
    from flash4gen.syntax.scan import scan, stretch

    start, end = stretch(scan(text), at)
    if text[start:end].strip():
        return start, end
    return (at, at + 1) if text[at : at + 1].strip() else (0, len(text))


def _mark_damage(file: ast.File, regions: list[tuple[int, int]]) -> ast.File:
    """Mark the items that lost something, and remember the names of those that are lost."""
    if not regions:
        return file
    items: list[ast.Item] = []
    for item in file.items:
        hit = any(start < item.span.end and end > item.span.start for start, end in regions)
        if hit and not isinstance(item, ast.Definition | ast.Use):
            items.append(replace(item, damaged=True))
        else:
            items.append(item)
    lost = (name for start, end in regions for name in _ITEM.findall(file.source.text[start:end]))
    return replace(file, items=tuple(items), damaged=True, lost=frozenset(lost))
