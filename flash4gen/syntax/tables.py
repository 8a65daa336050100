"""The grammar's parse tables, computed ahead: reading them is ten times faster than compiling.

``write()`` makes ``attn.tables.json`` from ``attn.lark``. The file names the grammar and the
version of Lark that it was made with. Where either differs the grammar is compiled as usual, so
that a stale file costs time and nothing else; a test keeps it fresh.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

GRAMMAR = Path(__file__).with_name("attn.lark")
TABLES = Path(__file__).with_name("attn.tables.json")


def compiled() -> lark.Lark:
    """Compile the grammar, which takes a few hundredths of a second.

    The basic lexer keeps reserved words reserved everywhere. With the contextual one, `mask = and`
    would read `and` as a name, and the message would come a line too late.
    """
    return lark.Lark(
        GRAMMAR.read_text(encoding="utf-8"),
        parser="lalr",
        lexer="basic",
        propagate_positions=True,
        maybe_placeholders=True,
    )


def load() -> lark.Lark | None:
    """Return the parser from its tables, or None where there are none for this grammar and Lark."""
    try:
        tables = json.loads(TABLES.read_bytes(), object_hook=_with_whole_keys)
    except (OSError, ValueError):
        return None
    if tables.get("made_from") != made_from():
        return None
    parser: lark.Lark = lark.Lark.load(tables)
    return parser


def made_from() -> dict[str, str]:
    """Name what tables depend on: the grammar's digest and the version of Lark."""
    digest = hashlib.sha256(GRAMMAR.read_bytes()).hexdigest()
    return {"grammar": digest, "lark": lark.__version__}


def write() -> None:
    """Make the file of tables anew."""
    TABLES.write_text(dump(), encoding="utf-8")


def dump() -> str:
    """Return the tables as the text of their file."""
    data, memo = compiled().memo_serialize([TerminalDef, Rule])
    tables = {"made_from": made_from(), "data": data, "memo": memo}
    return json.dumps(tables, separators=(",", ":"), sort_keys=True) + "\n"


def _with_whole_keys(entries: dict[str, Any]) -> dict[str | int, Any]:
    """Undo JSON's turning of numbers into strings where they are keys."""
    return {int(key) if key.isdigit() else key: value for key, value in entries.items()}
