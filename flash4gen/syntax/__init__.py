"""The language of `.attn` files: from text to a syntax tree, with every mistake reported."""

from __future__ import annotations

from flash4gen.syntax.format import formatted
from flash4gen.syntax.link import Unit, link
from flash4gen.syntax.parser import ParseResult, parse
from flash4gen.syntax.read import MAX_BYTES, decoded, read_source

__all__ = [
    "MAX_BYTES",
    "ParseResult",
    "Unit",
    "decoded",
    "formatted",
    "link",
    "parse",
    "read_source",
]
