"""What a template promises: the head in its first line, and the macros it defines.

A head reads ``{# concern: softmax | macros: define, call | api: 1 #}``. Files of one concern have
the same macros, so that one can stand in for another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import jinja2
from jinja2 import nodes

from flash4gen.render.environment import environment
from flash4gen.resources import resource_dir

if TYPE_CHECKING:
    from pathlib import Path

ENDING = ".py.j2"

_HEAD = re.compile(r"\{# *(\w+): *([^|#]+?) *((?:\| *[a-z]+: *[^|]+?)*) *#\}")


@dataclass(frozen=True, slots=True)
class Signature:
    """A macro: its name, its parameters, defaults of the last of them, and its line."""

    name: str
    parameters: tuple[str, ...]
    defaults: tuple[str, ...] = ()
    line: int = 1

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.parameters)})"

    def takes(self, other: Signature) -> bool:
        """Whether it can be called as the other is."""
        least = len(self.parameters) - len(self.defaults)
        return least <= len(other.parameters) <= len(self.parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a template says and defines.

    Attributes:
        kind: ``skeleton``, ``concern`` or ``shared``, as its head says; empty without a head.
        about: what its head says about it.
        fields: the other entries of the head, by name.
        macros: that it defines, and names that it sets at its top, which stand for any macro.
        blocks: that lie in no other block, with their lines.
        mentions: all texts in it, the names of other templates among them.
    """

    kind: str
    about: str
    fields: dict[str, tuple[str, ...]]
    macros: dict[str, Signature | None]
    blocks: dict[str, int]
    mentions: frozenset[str]

    @property
    def signatures(self) -> tuple[Signature, ...]:
        """The macros with known parameters, in the order of the file."""
        return tuple(one for one in self.macros.values() if one is not None)


def read_contract(text: str) -> Contract:
    """Return what a template promises.

    Raises:
        jinja2.TemplateSyntaxError: it is no template.
    """
    tree = environment().parse(text)
    head = _HEAD.fullmatch(text.partition("\n")[0].strip())
    entries = (part.partition(":") for part in head[3].split("|") if part.strip()) if head else ()
    macros: dict[str, Signature | None] = {
        node.name: _signature(node) for node in tree.find_all(nodes.Macro)
    }
    for assigned in tree.find_all(nodes.Assign):
        if isinstance(assigned.target, nodes.Name):
            macros.setdefault(assigned.target.name, None)
    return Contract(
        kind=head[1] if head else "",
        about=head[2] if head else "",
        fields={
            name.strip(): tuple(item.strip() for item in value.split(","))
            for name, _, value in entries
        },
        macros=macros,
        blocks={node.name: node.lineno for node in tree.body if isinstance(node, nodes.Block)},
        mentions=frozenset(
            node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)
        ),
    )


def _signature(macro: nodes.Macro) -> Signature:
    names = tuple(argument.name for argument in macro.args)
    defaults = tuple(
        repr(one.value) if isinstance(one, nodes.Const) else "none" for one in macro.defaults
    )
    return Signature(macro.name, names, defaults, macro.lineno)


@cache
def shipped_templates() -> dict[str, Contract]:
    """Return the contract of every shipped template, by its name: ``concern/load/tma.py.j2``."""
    folder = resource_dir("templates")
    return {
        file.relative_to(folder).as_posix(): read_contract(file.read_text(encoding="utf-8"))
        for file in sorted(folder.rglob(f"*{ENDING}"))
    }


def family_of(name: str) -> tuple[str, ...]:
    """Return the shipped templates that one of this name can stand in for.

    Those of its concern, else the shipped one of the same name, if there is one.
    """
    folder = name.rpartition("/")[0]
    if folder.startswith("concern/"):
        return tuple(one for one in shipped_templates() if one.rpartition("/")[0] == folder)
    return (name,) if name in shipped_templates() else ()


def template_files(folder: Path) -> list[Path]:
    """Return the templates of a directory."""
    return sorted(folder.rglob("*.j2"))


def syntax_line(error: jinja2.TemplateSyntaxError) -> int:
    """Return the line of a syntax error, from 1 on."""
    return max(1, error.lineno)
