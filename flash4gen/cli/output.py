"""How commands print: text and colour for people, one JSON document for programs.

Text goes to stdout, findings and progress to stderr. With JSON, all that was found is part of the
one document on stdout.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import typer

from flash4gen.cli.options import Format
from flash4gen.diagnostics.machine import as_object
from flash4gen.diagnostics.model import Severity
from flash4gen.diagnostics.text import render_text, summary

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType

    from flash4gen.diagnostics.model import Diagnostic

FINDINGS = 1
"""Exit code of a command that found something wrong."""

PLAIN_WIDTH = 100
"""Columns of a text that does not go to a terminal."""


def colored(stream: TextIO) -> bool:
    """Whether to write colours: to a capable terminal, unless NO_COLOR is set (no-color.org)."""
    return not os.environ.get("NO_COLOR") and lively(stream)


def lively(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def console(stream: TextIO) -> Console:
    """Return a rich console on a stream: plain where the stream is no capable terminal."""
    from rich.console import Console

    return Console(
        file=stream,
        force_terminal=lively(stream),
        no_color=not colored(stream),
        width=None if stream.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )


def succeeded(found: Iterable[Diagnostic]) -> bool:
    """Whether none of these is an error."""
    return not any(item.severity is Severity.ERROR for item in found)


def print_rich(*parts: RenderableType) -> None:
    """Print to stdout with rich, without the blanks that it fills lines with."""
    out = console(sys.stdout)
    with out.capture() as capture:
        for part in parts:
            out.print(part)
    for line in capture.get().splitlines():
        print(line.rstrip())


@dataclass(frozen=True, slots=True)
class Output:
    """Where one command prints."""

    format: Format

    @property
    def json(self) -> bool:
        """Whether a program reads this."""
        return self.format is Format.JSON

    def line(self, text: str) -> None:
        """Print a line of the result, for people."""
        if not self.json:
            print(text)

    def remark(self, text: str) -> None:
        """Print a line that is not part of the result, for people."""
        if not self.json:
            print(text, file=sys.stderr)

    def document(self, diagnostics: Iterable[Diagnostic], **content: Any) -> None:
        """Print the JSON document of a command: ``ok``, its own content, and what it found."""
        found = tuple(diagnostics)
        ok = succeeded(found) and "failure" not in content
        listed = [as_object(item) for item in found]
        document = {"ok": ok, **content, "diagnostics": listed}
        print(json.dumps(document, indent=2, ensure_ascii=False))

    def diagnostics(self, found: Iterable[Diagnostic]) -> None:
        """Print diagnostics and their count, for people."""
        found = tuple(found)
        if self.json or not found:
            return
        # A report before them must not come after them.
        sys.stdout.flush()
        sys.stderr.write(render_text(found, color=colored(sys.stderr)))
        self.remark(summary(found))

    def end(self, *, ok: bool) -> None:
        """End the command: with exit code 0, or with 1 where there are findings."""
        if not ok:
            raise typer.Exit(FINDINGS)
