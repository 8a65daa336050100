"""The reference page of the template context, written from the types and docstrings themselves."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from flash4gen.render.context import API, RenderContext
from flash4gen.render.context_backward import TrainingContext
from flash4gen.render.context_blackwell import BlackwellContext
from flash4gen.render.context_types import TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOTS = {"portable": RenderContext, "training": TrainingContext, "blackwell": BlackwellContext}
"""What ``ctx`` is, by kernel family."""

_ENTRY = re.compile(r"^(\w+(?:, \w+)*): (.*)$")


@dataclass(frozen=True, slots=True)
class Documented:
    """A class of the context: what it is, and what its fields are."""

    name: str
    about: str
    fields: dict[str, str]


def documented(kind: Any) -> Documented:
    """Return the parts of a dataclass's docstring; fields that it leaves out have no text."""
    text = inspect.cleandoc(kind.__doc__ or "")
    head, _, listed = text.partition("Attributes:\n")
    about = " ".join(head.split())
    found: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(listed).splitlines():
        if entry := _ENTRY.match(line):
            names = entry[1].split(", ")
            found.update(dict.fromkeys(names, entry[2]))
        else:
            found.update({name: f"{found[name]} {line.strip()}" for name in names})
    return Documented(kind.__name__, about, found)


def reference_page() -> str:
    """Return the page as Markdown."""
    lines = [
        "# The template context",
        "",
        f"Version {API} of the template API. Written by `flash4gen templates context` from "
        "`flash4gen/render/context.py` and",
        "`context_blackwell.py`, whose types are checked; not by hand. "
        "[For template authors](templates.md) says how it is used.",
        "",
        "Skeletons know the context as `ctx`; a concern's macros get their part of it as `c`. "
        "Everything is frozen.",
    ]
    for family, root in ROOTS.items():
        lines += ["", f"## `ctx` of the {family} family: `{root.__name__}`", ""]
        lines += _table(root)
    lines += ["", "## Types"]
    for name in sorted(_reachable()):
        kind = TYPES[name]
        lines += ["", f"### `{name}`", "", documented(kind).about, "", *_table(kind)]
    return "\n".join(lines) + "\n"


def _table(kind: Any) -> Iterator[str]:
    told = documented(kind).fields
    rows = [
        *((one.name, str(one.type)) for one in fields(kind)),
        *((name, _returned(value)) for name, value in vars(kind).items() if _is_property(value)),
    ]
    yield "| field | type | what it is |"
    yield "|---|---|---|"
    for name, type_name in rows:
        about = told.get(name) or TYPES_OF.get(type_name, "") or _property_doc(kind, name)
        yield f"| `{name}` | {_linked(type_name)} | {_cell(about.replace('``', '`'))} |"


TYPES_OF = {name: documented(kind).about for name, kind in TYPES.items()}


def _is_property(value: object) -> bool:
    return isinstance(value, property)


def _returned(value: Any) -> str:
    return str(value.fget.__annotations__["return"])


def _property_doc(kind: Any, name: str) -> str:
    value = vars(kind).get(name)
    return " ".join((value.__doc__ or "").split()) if isinstance(value, property) else ""


def _linked(type_name: str) -> str:
    """Return a type with links to the classes in it."""
    linked = re.sub(
        r"\w+",
        lambda word: (
            f"[{word[0]}](#{word[0].lower()})"
            if word[0] in TYPES and word[0] not in {one.__name__ for one in ROOTS.values()}
            else word[0]
        ),
        type_name,
    )
    return _cell(linked)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _reachable() -> set[str]:
    """Return the names of all classes that the contexts hold, at any depth."""
    found: set[str] = set()
    waiting = list(ROOTS.values())
    while waiting:
        kind = waiting.pop()
        for one in fields(kind):
            for name in re.findall(r"\w+", str(one.type)):
                if name in TYPES and name not in found:
                    found.add(name)
                    waiting.append(TYPES[name])
    return found
