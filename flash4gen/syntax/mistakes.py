"""Syntax errors in words: takes what Lark could not read, gives a diagnostic and where to go on."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Diagnostic, Label, Severity
from flash4gen.diagnostics.suggest import nearest
from flash4gen.syntax.place import Place, find_place
from flash4gen.syntax.scan import ITEM_WORDS, Anchor, Piece

if TYPE_CHECKING:
    from lark.exceptions import UnexpectedInput

    from flash4gen.source import SourceFile

RESERVED = frozenset(
    {"attention", "hardware", "def", "model", "use", "input", "schedule", "extends", "layers",
     "repeat", "from", "requires", "and", "or", "not", "true", "false"}
)  # fmt: skip
ITEMS = ("attention", "hardware", "def", "model", "use")
_VALUE = frozenset({"NUMBER", "NAME", "LPAR", "MINUS"})
_SIGNS = {
    "LBRACE": "`{`", "RBRACE": "`}`", "LPAR": "`(`", "RPAR": "`)`", "LSQB": "`[`", "RSQB": "`]`",
    "EQUAL": "`=`", "COMMA": "`,`", "COLON": "`:`", "BITOR": "`|`", "STRING": "a text in quotes",
    "FROM": "`from`", "REQUIRES": "`requires`", "EXTENDS": "`extends`", "STAR": "`*`",
    "NUMBER": "a number",
}  # fmt: skip
_NUMBER = re.compile(r"\d+(_\d+)*(\.\d+)?([eE]\d*|[GT]B|[KMG]i?B|B|[MG]Hz)?")
"""Digits that are right for ``scan``: of a number with a unit too, or up to an exponent's sign."""
_OPERATORS = frozenset(
    {"OR", "AND", "PLUS", "MINUS", "STAR", "POWER", "DIVISION", "COMPARISON", "BITOR", "BITXOR",
     "BITAND", "SHIFT"}
)  # fmt: skip

_INSTEAD = {
    "&": "conditions are joined with `and`",
    "&&": "conditions are joined with `and`",
    "|": "conditions are joined with `or`",
    "||": "conditions are joined with `or`",
    "!": "write `not` before a condition",
    "^": "powers are written `**`",
    "'": "texts stand in double quotes",
    ";": "fields need no separator; start the next one on its own line",
    "?": "choose between two values with `where(condition, a, b)`",
    "if": "choose between two values with `where(condition, a, b)`",
    "else": "choose between two values with `where(condition, a, b)`",
    "//": "comments start with `#`",
    ".": "numbers have digits after the point, names have no parts",
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """A syntax error.

    Attributes:
        diagnostic: what to say.
        at: the offset whose field or item is to be left out.
        close: a bracket that can be put before ``at`` instead.
    """

    diagnostic: Diagnostic
    at: int
    close: str = ""


def explain(source: SourceFile, text: str, problem: UnexpectedInput) -> Mistake:
    """Say what is wrong where Lark stopped.

    Args:
        source: the file, for positions.
        text: what was parsed: the file's text, with earlier errors blanked out.
        problem: Lark's exception.
    """
    place = find_place(source, text, problem)
    rules = (
        _bad_character,
        _unclosed,
        _layers,
        _number,
        _comma,
        _missing_value,
        _colon,
        _reserved,
        _instead,
    )
    for rule in rules:
        found = rule(place)
        if found is not None:
            return found
    return _expected(place)


def _mistake(
    code: Code, message: str, at: Label, *, go_on: int, helps: tuple[str, ...] = ()
) -> Mistake:
    diagnostic = Diagnostic(
        code=code, severity=Severity.ERROR, message=message, primary=at, helps=helps
    )
    return Mistake(diagnostic, go_on)


def _bad_character(place: Place) -> Mistake | None:
    first = place.text[:1]
    if place.accepts or not first:
        return None
    if first == '"':
        return _mistake(
            Code.UNTERMINATED_STRING,
            "this text is not closed on its line",
            Label(place.span),
            go_on=place.start,
            helps=('end it with `"`',),
        )
    span = place.source.span(place.start, place.start + 1)
    name = f"`{first}`"
    if not first.isascii() or not first.isprintable():
        name = f"U+{ord(first):04X} ({unicodedata.name(first, 'a control character')})"
    helps = _INSTEAD.get(place.text) or _INSTEAD.get(first)
    if not first.isascii() and f"x{first}".isidentifier():
        helps = "names are made of the letters a to z and A to Z, digits and `_`"
    return _mistake(
        Code.SYNTAX,
        f"unexpected character {name}",
        Label(span),
        go_on=place.start,
        helps=(helps,) if helps else (),
    )


def _layers(place: Place) -> Mistake | None:
    """``layers = …``: the number of them comes before the sign."""
    word = place.before(1)
    if word is None or word.text != "layers" or place.accepts != {"NUMBER"}:
        return None
    return _mistake(
        Code.SYNTAX,
        "`layers` says how many there are",
        Label(place.span, "expected a number"),
        go_on=word.start,
        helps=("write `layers 42 = repeat [local, full]`",),
    )


def _unclosed(place: Place) -> Mistake | None:
    opened = place.open
    if not opened:
        return None
    here = place.pieces[place.index] if place.index < len(place.pieces) else None
    ends_file = here is None
    starts_item = here is not None and here.anchor is Anchor.ITEM
    bracket = opened[-1]
    if bracket.text == "{":
        if not (ends_file or starts_item) or "RBRACE" not in place.accepts:
            return None
        return _never_closed(place, bracket, "}")
    if ends_file or starts_item or (here is not None and here.anchor is not None):
        return _never_closed(place, bracket, "")
    return None


def _never_closed(place: Place, bracket: Piece, close: str) -> Mistake:
    noticed = "the file ends here" if not place.text else "noticed here"
    secondary = (Label(place.span, noticed),)
    wanted = {"(": ")", "[": "]", "{": "}"}[bracket.text]
    diagnostic = Diagnostic(
        code=Code.UNCLOSED,
        severity=Severity.ERROR,
        message=f"`{bracket.text}` is never closed",
        primary=Label(place.span_of(bracket), "opened here"),
        secondary=secondary,
        helps=(f"add `{wanted}`",),
    )
    at = place.start if place.text or not close else len(place.source.text)
    return Mistake(diagnostic, at if close else bracket.start, close)


def _number(place: Place) -> Mistake | None:
    """``0x10``, ``5f``: digits that a name sticks to, which Lark reads as a number and a name."""
    last = place.before(1)
    if last is None or not last.text[0].isdigit() or _NUMBER.fullmatch(last.text):
        return None
    return _mistake(
        Code.SYNTAX,
        f"`{last.text}` is no number",
        Label(place.span_of(last)),
        go_on=last.start,
        helps=("numbers are decimal, without a suffix: `16`, `0.5`, `1e-6`",),
    )


def _comma(place: Place) -> Mistake | None:
    """``score = s, mask = full``: what seems to be a list holds the next field."""
    name, sign = place.before(1), place.before(2)
    if place.text != "=" or name is None or sign is None or sign.text != ",":
        return None
    if name.anchor is not None or not name.is_word or "RBRACE" not in place.accepts:
        return None
    return _mistake(
        Code.SYNTAX,
        "fields are not separated by commas",
        Label(place.span_of(sign)),
        go_on=sign.start,
        helps=("leave the comma out",),
    )


def _missing_value(place: Place) -> Mistake | None:
    """``heads = kv_heads = 8``: the next field's name was read as a part of this one's value."""
    name, sign, owner = place.before(1), place.before(2), place.before(3)
    if place.text not in ("=", ":") or name is None or name.anchor is not Anchor.FIELD:
        return None
    if sign is None or sign.text in ("{", "}") or place.accepts == {"EQUAL"}:
        return None
    at = Label(place.span_of(sign))
    if sign.text == ",":
        return _mistake(
            Code.SYNTAX,
            "fields are not separated by commas",
            at,
            go_on=sign.start,
            helps=("leave the comma out",),
        )
    if sign.text == "=" and owner is not None:
        return _mistake(Code.SYNTAX, f"`{owner.text}` has no value", at, go_on=owner.start)
    return _mistake(Code.SYNTAX, f"expected a value after `{sign.text}`", at, go_on=sign.start)


def _colon(place: Place) -> Mistake | None:
    name = place.before(1)
    if place.text != ":" or name is None or name.anchor is not Anchor.FIELD:
        return None
    return _mistake(
        Code.SYNTAX,
        "fields are written with `=`",
        Label(place.span),
        go_on=name.start,
        helps=(f"write `{name.text} = …`",),
    )


def _reserved(place: Place) -> Mistake | None:
    if place.text not in RESERVED or "NAME" not in place.accepts or "RBRACE" in place.accepts:
        return None
    if place.text in ITEM_WORDS and place.pieces[place.index].anchor is Anchor.ITEM:
        return None
    return _mistake(
        Code.SYNTAX,
        f"`{place.text}` is a reserved word",
        Label(place.span, _wanted(place)),
        go_on=place.start,
    )


def _instead(place: Place) -> Mistake | None:
    instead = _INSTEAD.get(place.text)
    if instead is None:
        return None
    return _mistake(
        Code.SYNTAX,
        f"unexpected `{place.text}`",
        Label(place.span, _wanted(place)),
        go_on=place.start,
        helps=(instead,),
    )


def _expected(place: Place) -> Mistake:
    here = place.pieces[place.index] if place.index < len(place.pieces) else None
    last = place.before(1)
    if last is not None and (here is None or here.anchor in (Anchor.FIELD, Anchor.ITEM)):
        # A new field or item starts too early: what comes before it is unfinished.
        message = f"{_wanted(place)} after `{last.text}`"
        return _mistake(Code.SYNTAX, message, Label(place.span_of(last)), go_on=last.start)
    words = [word for word in RESERVED if word.upper() in place.accepts]
    meant = nearest(place.text, words)
    helps = (f"did you mean `{meant}`?",) if meant else ()
    if last is not None and last.text == "use" and place.text[:1].isalpha():
        helps = (f'write `use "{place.text}.attn"`',)
    before = place.before(2)
    if last is not None and before is not None and (before.text, place.text) == ("def", "="):
        helps = (f"write `def {last.text}() = …`: a function has parentheses",)
    return _mistake(
        Code.SYNTAX,
        f"{_wanted(place)}, found `{place.text}`",
        Label(place.span),
        go_on=place.start,
        helps=helps,
    )


def _wanted(place: Place) -> str:
    """Spell what could stand here, in people's words."""
    accepts = place.accepts
    if accepts & {"RPAR", "COMMA"}:
        accepts -= {"LPAR", "LSQB", "EQUAL"}  # true, but never what was forgotten
    if accepts >= _VALUE:
        return "expected a value"
    if "REPEAT" in accepts:
        return "expected the layers: names, `2 * name`, `[…]` or `repeat […]`"
    wanted: list[str] = []
    if "ATTENTION" in accepts:
        wanted += [f"`{word}`" for word in ITEMS]
    elif {"NAME", "RBRACE"} <= accepts:
        wanted += ["a field (`name = value`)", "`}`"]
    elif "NAME" in accepts:
        wanted += ["a name"]
    in_block = {"NAME", "RBRACE"} <= accepts or "ATTENTION" in accepts
    signs = [] if in_block else [spelt for name, spelt in _SIGNS.items() if name in accepts]
    operators = {"`*`", "`|`"} if "BITAND" in accepts else {"`*`"}  # `|` is between symbols too
    signs = [spelt for spelt in signs if spelt not in wanted and spelt not in operators]
    wanted += signs
    if not wanted and accepts & _OPERATORS:
        wanted.append("an operator")
    if not wanted:
        return "expected something else"
    return "expected " + " or ".join([", ".join(wanted[:-1]), wanted[-1]] if wanted[1:] else wanted)
