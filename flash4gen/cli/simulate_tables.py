"""The tables that `flash4gen simulate` prints. In: ``Timed``. Out: what rich prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from flash4gen.simulate.timed import Timed

STANDING = 10
"""Waits that are shown, the longest."""

PARTS = 3
"""Things done in a stage of the path that are named."""

BAR = 40
"""Columns of a full bar."""


def units(timed: Timed) -> Table:
    """Return how busy each unit is."""
    table = _table(("unit", "left"), ("busy", "right"), ("", "left"))
    for unit, share in sorted(timed.simulation.utilisation, key=lambda item: -item[1]):
        if share > 0:
            table.add_row(unit, f"{share:.0%}", "█" * round(share * BAR))
    return table


def path(timed: Timed) -> Table:
    """Return what a turn hangs on, stage by stage."""
    table = _table(("role", "left"), ("line", "right"), ("cycles", "right"), ("contended", "right"))
    table.add_column("what", overflow="fold")
    for stage in timed.stages:
        shown = ", ".join(f"{label} {cycles:,.0f}" for label, cycles in stage.parts[:PARTS])
        more = "" if len(stage.parts) <= PARTS else ", …"
        cells = f"{stage.cycles:,.0f}", f"{stage.contended:,.0f}" if stage.contended >= 1 else ""
        table.add_row(stage.role, f"{stage.line or ''}", *cells, shown + more)
    return table


def standing(timed: Timed) -> Table:
    """Return where roles wait, with the lines of the module that do."""
    source = timed.subject.rendered.text.splitlines()
    table = _table(("role", "left"), ("cycles", "right"), ("waits for", "left"), ("line", "right"))
    table.add_column("of the module", overflow="ellipsis", no_wrap=True)
    for one in timed.simulation.standing[:STANDING]:
        line = source[one.line - 1].strip() if one.line else ""
        table.add_row(one.actor, f"{one.cycles:,.0f}", one.what, f"{one.line or ''}", line)
    return table


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name, justify in columns:
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    return table
