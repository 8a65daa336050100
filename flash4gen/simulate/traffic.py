"""What of keys and values comes from global memory again, because L2 has lost it meanwhile.

In: the programs of a launch in their order. Out: bytes. Programs that run at a time and share a
key/value head read it once; who comes later finds it in L2 if no more than L2 holds has been read
since. Heads are kept or lost whole, as by a cache that drops what was used longest ago.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Program(NamedTuple):
    """A program: the number of its key/value head, over all sequences, and its key tiles."""

    head: int
    tiles: int


def read_from_memory(
    programs: Iterable[Program], at_a_time: int, tile_bytes: int, l2_bytes: int
) -> int:
    """Return the bytes of keys and values that global memory delivers.

    Args:
        programs: of a launch, in order.
        at_a_time: programs that run together.
        tile_bytes: of a tile of keys and a tile of values.
        l2_bytes: capacity of L2.
    """
    delivered = touched = 0
    last: dict[int, tuple[int, int]] = {}  # head -> bytes touched until then, key tiles of it
    for wave in _waves(programs, at_a_time):
        distance = touched + sum(wave.values()) * tile_bytes
        for head, tiles in wave.items():
            before, known = last.get(head, (-l2_bytes - 1, 0))
            kept = known if distance - before <= l2_bytes else 0
            delivered += max(0, tiles - kept) * tile_bytes
        touched = distance
        last |= {head: (touched, tiles) for head, tiles in wave.items()}
    return delivered


def _waves(programs: Iterable[Program], at_a_time: int) -> Iterator[dict[int, int]]:
    """Yield the heads that so many programs read together, with the most key tiles of each."""
    rest = iter(programs)
    while wave := list(islice(rest, at_a_time)):
        heads: dict[int, int] = {}
        for head, tiles in wave:
            heads[head] = max(tiles, heads.get(head, 0))
        yield heads
