"""All ``hardware`` items of a file, each after the one that it extends."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.ir import library
from flash4gen.ir.lower_hardware import lower_hardware
from flash4gen.ir.lower_targets import unknown_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flash4gen.diagnostics.collect import Findings
    from flash4gen.ir.hardware import Hardware
    from flash4gen.syntax import ast

Found = dict[str, "Hardware | None"]


def lower_gpus(
    items: tuple[ast.Hardware, ...],
    used: Mapping[str, Hardware | None],
    known: frozenset[str],
    findings: Findings,
) -> Found:
    """Return the GPUs that the items describe by name; None for one with an error.

    Args:
        items: in the order of the text.
        used: hardware of other files; None for one with an error.
        known: every name that can be extended, lost ones included.
        findings: where to report.
    """
    written: dict[str, ast.Hardware] = {}
    for item in items:
        written.setdefault(item.name.text, item)
    done: Found = {}
    for name in written:
        for item in reversed(_way(name, written, done, findings)):
            done[item.name.text] = _lowered(item, done, used, known, findings)
    return {name: done[name] for name in written}


def _way(
    name: str, written: Mapping[str, ast.Hardware], done: Found, findings: Findings
) -> list[ast.Hardware]:
    """Return an item and those of this file that it extends and that are not done yet.

    A circle ends up done, as an error, and the way empty.
    """
    way: list[ast.Hardware] = []
    while name in written and name not in done:
        item = written[name]
        if item in way:
            circle = way[way.index(item) :]
            _report_circle(circle, findings)
            done.update(dict.fromkeys(one.name.text for one in circle))
            return way[: way.index(item)]
        way.append(item)
        if item.base is None:
            break
        name = item.base.text
    return way


def _report_circle(circle: list[ast.Hardware], findings: Findings) -> None:
    names = [item.name.text for item in (*circle, circle[0])]
    alone = len(circle) == 1
    findings.error(
        Code.EXTENDS_CYCLE,
        f"hardware `{names[0]}` extends itself" + ("" if alone else f": {' → '.join(names)}"),
        circle[0].name.span,
        also=[
            Label(item.base.span, f"`{one}` extends `{other}`")
            for item, (one, other) in zip(circle, pairwise(names), strict=True)
            if item.base is not None
        ],
        helps=["give it another name than the one that it extends"] if alone else [],
    )


def _lowered(
    item: ast.Hardware,
    done: Found,
    used: Mapping[str, Hardware | None],
    known: frozenset[str],
    findings: Findings,
) -> Hardware | None:
    if item.base is None:
        return lower_hardware(item, findings)
    name = item.base.text
    if name in done or name in used:
        base = done[name] if name in done else used[name]
    elif name in library.target_names():
        base = library.target(name)
    else:
        base = None
        if name not in known:
            unknown_target(item.base, known, findings)
    if base is None:
        return None  # an error has been told: there, or above
    return lower_hardware(item, findings, base)
