"""How the registers of a CTA are shared among its roles.

In: the number of query tiles and the target. Out: the pool, in registers of one thread of each
group, and the splits of it that are allowed. The allocator's rule was found by compiling: warps are
padded to groups of four, a CTA's registers are spread evenly over all threads and rounded down to
eight, and what the workers leave goes to Triton's default partition, here the correction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flash4gen.schedule.blackwell.memory import GROUP
from flash4gen.schedule.blackwell.space import LEAST_REGISTERS, MOST_REGISTERS, REGISTER_STEP

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flash4gen.ir.hardware import Hardware

SOFTMAX_FLOOR = 168
"""Fewest registers that hold a softmax thread's row of 128 scores without spills (measured with
ptxas of Triton 3.9: none at 168, 33 words in the loop at 152)."""

DEFAULTS = {2: (192, 104, 24), 1: (232, 208, 64)}
"""By query tiles. With two: at head_dim 128 no loop over key tiles spills; 200/88/24 leaves two
reloads in the correction. With one there are three groups instead of four, and more for
each: a wider accumulator goes through the correction."""


READING = (208, 72, 24)
"""With two query tiles, where softmax threads read input tensors for every key: the elements of a
fragment lie beside its scores. Of a float32 bias at head_dim 128, one reload is left in each loop
over key tiles (6 in all, 56 with 192/104/24, 18 with 200/88/24)."""


class Split(NamedTuple):
    """Registers per thread of each kind of role."""

    softmax: int
    correction: int
    other: int

    def text(self) -> str:
        """Return it as ``200/88/24``."""
        return "/".join(map(str, self))


FIELDS = ("softmax_registers", "correction_registers", "other_registers")
"""The schedule's fields, in the order of ``Split``."""


def pool(query_tiles: int, hardware: Hardware) -> int:
    """Return the registers of one thread of each group, added up."""
    groups = query_tiles + 2
    per_thread = hardware.registers_per_sm // (groups * GROUP * hardware.warp_size)
    return per_thread // REGISTER_STEP * REGISTER_STEP * groups


def used(split: Split, query_tiles: int) -> int:
    """Return what a split takes of the pool."""
    return query_tiles * split.softmax + split.correction + split.other


def equation(query_tiles: int, hardware: Hardware) -> str:
    """Return the rule that a split keeps, for people."""
    softmax = "softmax" if query_tiles == 1 else f"{query_tiles}·softmax"
    return f"{softmax} + correction + other = {pool(query_tiles, hardware)}"


def splits(query_tiles: int, hardware: Hardware) -> Iterator[Split]:
    """Yield every split that keeps all rules."""
    steps = range(LEAST_REGISTERS, MOST_REGISTERS + 1, REGISTER_STEP)
    for softmax in (step for step in steps if step >= SOFTMAX_FLOOR):
        for other in steps:
            rest = pool(query_tiles, hardware) - query_tiles * softmax - other
            if rest in steps:
                yield Split(softmax, rest, other)


def pinned_fix(query_tiles: int, hardware: Hardware, pins: Mapping[str, int]) -> str:
    """Return what to pin instead of registers that break a rule; nothing if no split is allowed.

    It is the split that changes the pins by least, then the defaults.
    """
    default = Split(*DEFAULTS[query_tiles])

    def changes(split: Split) -> tuple[int, int]:
        by_field = dict(zip(FIELDS, split, strict=True))
        return sum(abs(by_field[name] - n) for name, n in pins.items()), _distance(split, default)

    best = min(splits(query_tiles, hardware), key=changes, default=None)
    if best is None:
        return ""
    return "  ".join(
        f"{name} = {value}" for name, value in zip(FIELDS, best, strict=True) if name in pins
    )


def _distance(split: Split, other: Split) -> int:
    return sum(abs(a - b) for a, b in zip(split, other, strict=True))


def nearest(
    split: Split, query_tiles: int, hardware: Hardware, pins: Mapping[str, int | str]
) -> list[Split]:
    """Return the splits that keep the rules and the pins, the nearest first: itself, if it does.

    The correction has what the others leave. More registers for the softmax, whose threads hold a
    row of scores, are half as far as fewer, or as others for single warps.
    """

    def far(other: Split) -> tuple[float, int, int]:
        more = other.softmax - split.softmax
        steps = max(more / 2, -more) + abs(other.other - split.other)
        return steps, -other.softmax, other.other

    able = [
        other
        for other in splits(query_tiles, hardware)
        if all(other[n] == pins[name] for n, name in enumerate(FIELDS) if name in pins)
    ]
    return sorted(able, key=far)


def completed(
    pins: Mapping[str, int], query_tiles: int, hardware: Hardware, *, reading: bool = False
) -> Split:
    """Return a split with the pinned registers, the rest as near to the defaults as is allowed.

    Those where softmax threads are ``reading`` input tensors for every key leave them more.

    Where no allowed split has the pinned ones, the result breaks a rule, which ``rules`` reports.
    """
    default = Split(*(READING if reading and query_tiles > 1 else DEFAULTS[query_tiles]))
    wanted = Split(*(pins.get(name, value) for name, value in zip(FIELDS, default, strict=True)))
    matching = [
        split
        for split in splits(query_tiles, hardware)
        if all(split[n] == pins[name] for n, name in enumerate(FIELDS) if name in pins)
    ]
    if not matching:
        return wanted
    return min(matching, key=lambda split: _distance(split, wanted))
