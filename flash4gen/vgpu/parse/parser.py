"""Parses TTGIR text into a `Module`.

Lines that begin with `#` define aliases of layouts and locations, above and below the module; they
are read first, so that everything else can be resolved while it is built. The grammar knows no
single operation: it yields tokens and nesting, and `digest.py` sorts them into an `Operation`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lark import Lark, Token
from lark.exceptions import LarkError, UnexpectedInput

from flash4gen.vgpu.parse.digest import Digest
from flash4gen.vgpu.parse.raw import transformer

if TYPE_CHECKING:
    from flash4gen.vgpu.parse.tree import Module


class TtgirSyntaxError(Exception):
    """The text is not TTGIR as this grammar knows it; names the line."""


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
    body = "\n".join("" if alias else line for line, alias in zip(lines, is_alias, strict=True))
    try:
        aliases = _aliases(alias_text)
        raw = _parser().parse(body, start="op")
        return Digest(aliases).module(raw)  # type: ignore[arg-type]
    except UnexpectedInput as error:
        shown = lines[error.line - 1].strip() if 0 < error.line <= len(lines) else ""
        raise TtgirSyntaxError(f"TTGIR line {error.line}: cannot read `{shown[:160]}`") from error
    except LarkError as error:
        raise TtgirSyntaxError(f"TTGIR: {error}") from error


def _aliases(text: str) -> dict[str, Any]:
    pairs: Any = _parser().parse(text, start="aliases")
    return {
        name: str(value) if isinstance(value, Token) and value.type != "LOC_REF" else value
        for name, value in pairs
    }
