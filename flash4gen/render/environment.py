"""The one Jinja environment: where templates are found, and the few filters they may use.

Search path, first wins: directories that the caller names, then the shipped templates.
``builtin/...`` always means shipped, so that an override can extend what it overrides.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import jinja2

from flash4gen.resources import resource_dir

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flash4gen.render.context import Constant

LINE = 100


def environment(overrides: Sequence[Path] = ()) -> jinja2.Environment:
    """Return the environment that renders modules.

    Args:
        overrides: template directories searched before the shipped one. Templates are code: use
            only directories that you trust.
    """
    return _made(tuple(overrides)) if overrides else _shipped_alone()


@cache
def _shipped_alone() -> jinja2.Environment:
    """Return one environment for all renders, as reading 26 templates takes longer than printing.

    Jinja reads a file again that has changed. It would not see a file that comes to stand before
    another one, so that environments with overrides are made anew each time.
    """
    return _made(())


def _made(overrides: tuple[Path, ...]) -> jinja2.Environment:
    shipped = jinja2.FileSystemLoader(resource_dir("templates"))
    env = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                *(jinja2.FileSystemLoader(folder) for folder in overrides),
                shipped,
                jinja2.PrefixLoader({"builtin": shipped}),
            ]
        ),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # the output is Python, not HTML
    )
    env.filters["rule"] = rule
    env.filters["constant_line"] = constant_line
    env.filters["call"] = call
    env.filters["assigned"] = assigned
    env.filters["optional"] = optional
    env.filters["beside"] = beside
    env.filters["in_triton"] = in_triton
    return env


def rule(title: str, origin: str = "") -> str:
    """Return a banner: the title between dashes, with the line of the spec at its right end."""
    right = f" {origin}" if origin else ""
    room = LINE - len("# ---  ---") - len(right)
    left = f"# --- {title if len(title) <= room else title[: room - 1] + '…'} "
    return left + "-" * max(3, LINE - len(left) - len(right)) + right


def call(args: Sequence[str], prefix: str, suffix: str = ")", indent: int = 0) -> str:
    """Lay out ``prefix``, the arguments and ``suffix`` as ``ruff format`` does.

    On one line if that fits, else the arguments on one line of their own, else one a line.

    Args:
        args: the arguments.
        prefix: what stands before them, up to and with the opening bracket.
        suffix: what stands after them, from the closing bracket on.
        indent: columns to the left of the first line, which are not printed.
    """
    joined = ", ".join(args)
    if indent + len(prefix) + len(joined) + len(suffix) <= LINE:
        return prefix + joined + suffix
    pad = " " * (indent + 4)
    if indent + 4 + len(joined) <= LINE:
        body = pad + joined
    else:
        body = "\n".join(f"{pad}{arg}," for arg in args)
    return f"{prefix}\n{body}\n{' ' * indent}{suffix}"


def assigned(names: Sequence[str], value: str, indent: int = 0) -> str:
    """Lay out an assignment to several names as ``ruff format`` does.

    Args:
        names: what is assigned to.
        value: what is assigned, in few columns.
        indent: columns to the left of the first line, which are not printed.
    """
    text, pad = ", ".join(names), " " * indent
    if len(f"{pad}{text} = {value}") <= LINE:
        return f"{text} = {value}"
    if len(f"{pad}{text} = (") <= LINE:
        return f"{text} = (\n{pad}    {value}\n{pad})"
    lines = "".join(f"{pad}    {name},\n" for name in names)
    return f"(\n{lines}{pad}) = {value}"


NOTHING = "\0"
"""Stands where a macro has printed nothing: the line is removed from the module."""


BEGIN_TRITON, END_TRITON = "\1\n", "\2\n"
"""Lines around what stays in Triton where the rest is in Gluon; no module has them in the end."""


def in_triton(text: str) -> str:
    """Mark what a skeleton prints for the other language; ``languages`` reads it."""
    return BEGIN_TRITON + text.strip("\n") + "\n" + END_TRITON


def optional(text: str, indent: int) -> str:
    """Return a macro's lines, the first of them indented already, or a mark for none at all."""
    return text.strip().replace("\n", "\n" + " " * indent) or NOTHING


def constant_line(constant: Constant) -> str:
    """Return one assignment, with its reason beside it, or above it where that gets too long."""
    line = f"{constant.name}: Final = {constant.value}"
    if not constant.reason:
        return line
    beside = f"{line}  # {constant.reason}"
    if len(beside) <= LINE:
        return beside
    return "\n".join([*wrapped_comment(constant.reason), line])


def beside(reason: str) -> str:
    """Return a comment that follows code on its line, or nothing."""
    return f"  # {reason}" if reason else ""


def wrapped_comment(text: str) -> list[str]:
    """Break a comment into lines of at most ``LINE`` characters."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 3 > LINE:
            lines.append("")
        lines[-1] += f" {word}"
    return [f"#{line}" for line in lines]
