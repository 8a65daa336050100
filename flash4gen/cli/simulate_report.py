"""What `flash4gen simulate` prints for people: tables. A star means *modelled*."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from flash4gen.cli.output import print_rich
from flash4gen.cli.simulate_tables import STANDING, path, standing, units
from flash4gen.schedule.blackwell.works import launch_text
from flash4gen.schedule.text import shape_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flash4gen.driver import Simulated
    from flash4gen.simulate.timed import Range, Timed


def report_all(found: Iterable[Simulated], files: Iterable[str]) -> None:
    """Print the times of all modules, and the files that were written."""
    for one in found:
        report(one)
    for file in files:
        print(f"written: {file}")


def report(found: Simulated) -> None:
    """Print a module's time."""
    timed, plan = found.timed, found.plan
    title = f"{plan.attention.name} for {plan.hardware.name}, {plan.hardware.doc}"
    print_rich("", Text(f"{title}: modelled, not measured", style="bold"), _head(found))
    print_rich("", "units, share of the steady state*", units(timed))
    print_rich("", "what a turn hangs on: one way round, in order*", path(timed))
    print_rich(
        "",
        "where roles wait in a turn*, at a line of the module, or after it where that is no wait",
        standing(timed),
    )
    _remarks(found.timed)


def _remarks(timed: Timed) -> None:
    """Say what stars and names of roles mean."""
    names = [role.actor for role in timed.simulation.standing[:STANDING]]
    if any("." in name for name in names):
        first = next(name.partition(".")[0] for name in names if "." in name)
        print_rich("", f"{first}.1 is the second group of four warps of {first}, and so on")
    print_rich(
        "", "* modelled, from published instruction timings; not times the factor of `bench model`"
    )


def _head(found: Simulated) -> Table:
    grid = Table.grid(padding=(0, 2), pad_edge=True)
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    anew = "stale" if found.path.is_file() else "not there"
    state = "fresh" if found.fresh else f"{anew}: compiled anew, and not written"
    grid.add_row("module", f"{found.path} ({state})")
    grid.add_row("schedule", shape_text(found.timed.subject.choice.schedule))
    grid.add_row("roles", _roles(found.timed))
    for name, text in _lines(found.timed):
        grid.add_row(name, text)
    return grid


def _roles(timed: Timed) -> str:
    roles = timed.simulation.roles
    turns, read = sum(role.turns for role in roles), sum(role.from_sass for role in roles)
    rest = "all their turns" if read == turns else f"{read} of {turns} turns"
    return f"{', '.join(role.name for role in roles)}; {rest} as in the SASS"


def _lines(timed: Timed) -> Iterator[tuple[str, str]]:
    one, launch, shape = timed.simulation, timed.whole.launch, timed.whole.shape
    turn = _range(timed.spread.turn if timed.spread else None)
    cycles = _range(timed.spread.cycles if timed.spread else None)
    tile = f"{one.tile_q} queries and {one.tile_k} keys of {_heads(timed)}"
    ends = f"prologue {one.prologue:,.0f}, epilogue {one.epilogue:,.0f}"
    yield "a turn*", f"{one.cycles_per_turn:,.0f} cycles{turn}, for {tile}"
    yield "ends*", f"{ends}, fill and drain {one.fill_drain:,.0f} cycles"
    if one.residents > 1:
        yield "sharing", f"{one.residents} CTAs share an SM, and their turns take turns"
    yield "launch", launch_text(shape)
    yield "tiles", f"{launch.tiles:,} work tiles, {launch.slots} at a time"
    busy = f"SMs busy {launch.busy:.0%}, waits for {launch.bound}"
    yield "whole*", f"{launch.cycles:,.0f} cycles{cycles}, {busy}"
    yield from _speeds(timed)


def _speeds(timed: Timed) -> Iterator[tuple[str, str]]:
    speeds, spread = timed.whole.speeds, timed.spread
    ranges = spread.tflops if spread else (None,) * len(speeds)
    for speed, reach in zip(speeds, ranges, strict=True):
        at = (
            f"at {speed.mhz:,.0f} MHz, {speed.share:.0%} of the peak, {speed.seconds * 1e3:,.3f} ms"
        )
        yield f"{speed.clock}*", f"{speed.tflops:,.0f} TFLOPS{_range(reach)} {at}"
    if spread:
        yield "(ranges)", f"{spread.seeds} runs with latencies off by up to {spread.jitter:.0%}"


def _heads(timed: Timed) -> str:
    pack = getattr(timed.subject.choice.schedule, "pack", 1)
    return f"{pack} heads" if pack > 1 else "one head"


def _range(reach: Range | None) -> str:
    return f" ({reach.low:,.0f}–{reach.high:,.0f})" if reach else ""
