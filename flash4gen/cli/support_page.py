"""The record of support as ``docs/support.md``, and as what `flash4gen list support` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.cli.output import print_rich
from flash4gen.cli.support import Cell, tables
from flash4gen.ir import library

if TYPE_CHECKING:
    from collections.abc import Sequence

INTRODUCTION = """\
# What works where

Written by `pytest tests/test_support.py --slow --record-support` from what it ran; not by hand.
`flash4gen list support` prints the same.

**B**: a warp-specialised kernel of the blackwell family. **P**: a portable kernel. Both mean:
compiled for the target, executed on the virtual GPU over several lengths, and equal to the
reference within the error budget. **–**: refused, with the reason below. An empty cell has not
been run. Shapes are small; what is proven about a module of yours, its own certificate says.

Under *Gradients* it is the kernels of gradients that are told: heads that share keys, bfloat16. The
forward kernel of such a module may be warp-specialised where they are not, see
[blackwell.md](blackwell.md#portable-gradients).
"""

LEGEND = """\
B: warp-specialised, P: portable; both compiled and right on the virtual GPU. –: refused.
Empty: not run."""


def support_page(cells: Sequence[Cell]) -> str:
    """Return the page as Markdown."""
    made, targets, notes = tables(cells)
    lines = [INTRODUCTION, *_alike(targets)]
    for section, table in made.items():
        lines += ["", f"## {section}", ""]
        lines.append(f"| | spec | {' | '.join(targets)} |")
        lines.append("|---|---|" + "---|" * len(targets))
        for name, spec, *signs in table:
            quoted = f"`{_cell(spec)}`" if spec else ""
            lines.append(f"| {name} | {quoted} | {' | '.join(signs)} |")
    if notes:
        lines += ["", "## Notes", ""]
        lines += [f"{number}. {_cell(note)}" for number, note in enumerate(notes, 1)]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _alike(targets: Sequence[str]) -> list[str]:
    """Say which targets the compiler cannot tell from those that were run."""
    others = {
        name: [one.name for one in library.targets() if one.arch == library.target(name).arch]
        for name in targets
    }
    said = [
        f"{', '.join(other for other in alike if other != name)} as {name}"
        for name, alike in others.items()
        if len(alike) > 1
    ]
    listed = "; ".join(said)
    return [f"One target for each compute capability; the others are compiled alike: {listed}."]


def print_support(cells: Sequence[Cell]) -> None:
    """Print the tables for people."""
    from rich.table import Table

    made, targets, notes = tables(cells)
    for section, table in made.items():
        shown = Table(box=None, pad_edge=False, header_style="bold")
        shown.add_column(section, no_wrap=True)
        for target in targets:  # a narrow terminal folds their names, not those of the variants
            shown.add_column(target, overflow="fold")
        for name, _, *signs in table:
            shown.add_row(name, *signs)
        print_rich(shown)
        print()
    print(LEGEND)
    for number, note in enumerate(notes, 1):
        print(f"[{number}] {note}")
