"""A module's text → the same with each part in its language: Gluon's words, or Triton's.

Templates are written in Triton's words, also those that both languages print, such as loop bounds
and expressions. A module with a warp-specialised kernel is in Gluon, but for what its skeleton
marks with the filter ``in_triton``.
"""

from __future__ import annotations

import re

from flash4gen.ir.module_names import IN_TRITON
from flash4gen.render.environment import BEGIN_TRITON, END_TRITON
from flash4gen.render.fitting import fitted

_TRITON_WORD = re.compile(
    r"""
      (?P<kept>    \"{3} .*? \"{3} | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | \#[^\n]* )
    | (?P<jit>     ^@triton\.jit$ )
    | (?P<sigmoid> (?<![\w.]) tl\.sigmoid (?=\() )
    | (?P<other>   (?<![\w.]) tl\. )
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_GLUON_WORD = {"jit": "@gluon.jit", "sigmoid": "_logistic", "other": "gl."}


def in_gluon(text: str) -> str:
    """Return a module's text with Triton's words in Gluon's, the same functions by other names.

    But for the sigmoid, which is a function of the module. Strings and comments stay: they may be
    a user's own words.
    """
    return _TRITON_WORD.sub(lambda found: _GLUON_WORD.get(found.lastgroup or "", found[0]), text)


def in_its_languages(text: str) -> str:
    """Return a module's text in Gluon, but for what is marked to be in Triton.

    A function of Triton cannot call one of Gluon: what both compute with is printed twice, and
    what is marked has an ending at the names that stand before it as well.
    """
    before, _, rest = text.partition(BEGIN_TRITON)
    between, _, after = rest.partition(END_TRITON)
    return in_gluon(before) + told_apart(between, before) + in_gluon(after)


def told_apart(text: str, other: str) -> str:
    """Return text with an ending at the names that other text defines as well."""
    both = _defined(text) & _defined(other)
    parts = _BETWEEN.split(text)
    return fitted("".join(_ended(part, both - _parameters(part)) for part in parts))


_BETWEEN = re.compile(r"(\n{3,})")
"""What lies between functions, also before blank lines are counted."""

_DEFINED = re.compile(r"^(?:def (\w+)\(|(\w+): Final = )", re.MULTILINE)
_PARAMETER = re.compile(r"(\w+): tl\.constexpr")


def _defined(text: str) -> set[str]:
    return {function or constant for function, constant in _DEFINED.findall(text)}


def _parameters(text: str) -> set[str]:
    return set(_PARAMETER.findall(text))


def _ended(text: str, names: set[str]) -> str:
    if not names:
        return text
    known = re.compile(rf"\b({'|'.join(sorted(names))})\b")
    return known.sub(lambda found: found[1] + _ending(found[1]), text)


def _ending(name: str) -> str:
    return IN_TRITON if name.isupper() else IN_TRITON.lower()
