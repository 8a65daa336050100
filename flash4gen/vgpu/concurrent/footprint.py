"""Which bytes of an allocation a view touches, and whether two views overlap, exactly.

A footprint is canonical: runs of bytes, repeated with strides. Dense ones and those of equal form
are compared by their numbers; for the others a byte map decides, once per pair.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


class Footprint:
    """The bytes of a view: `run` bytes at `low`, repeated by (extent, stride in bytes) pairs."""

    __slots__ = ("high", "low", "repeats", "run")

    def __init__(self, low: int, run: int, repeats: tuple[tuple[int, int], ...]) -> None:
        self.low = low
        self.run = run
        self.repeats = repeats
        self.high = low + run + sum((extent - 1) * stride for extent, stride in repeats)

    @property
    def key(self) -> tuple[int, int, tuple[tuple[int, int], ...]]:
        """What makes two footprints equal."""
        return self.low, self.run, self.repeats

    def __str__(self) -> str:
        where = f"bytes {self.low} to {self.high}"
        if not self.repeats:
            return where
        (rows, stride), *_ = self.repeats[::-1]
        first = self.low % stride
        return f"rows {self.low // stride} to {self.low // stride + rows}, bytes {first} to " + (
            f"{first + self.high - self.low - (rows - 1) * stride} of {stride}"
        )


def footprint(data: Tensor) -> Footprint:
    """Return the bytes of a tensor relative to its storage."""
    size = data.element_size()
    run = size
    repeats: list[tuple[int, int]] = []
    pairs = zip(data.stride(), data.shape, strict=True)
    for stride, extent in sorted((stride * size, extent) for stride, extent in pairs):
        if extent == 1:
            continue
        if not repeats and stride == run:
            run *= extent
        elif repeats and stride == repeats[-1][0] * repeats[-1][1]:
            repeats[-1] = (repeats[-1][0] * extent, repeats[-1][1])
        else:
            repeats.append((extent, stride))
    return _footprint(int(data.storage_offset()) * size, run, tuple(repeats))


@lru_cache(maxsize=4096)
def _footprint(low: int, run: int, repeats: tuple[tuple[int, int], ...]) -> Footprint:
    """Return a footprint, the same one for the same bytes: that is seen at a glance."""
    return Footprint(low, run, repeats)


def overlap(one: Footprint, two: Footprint) -> bool:
    """Whether they share a byte."""
    if one is two:
        return True
    if one.low >= two.high or two.low >= one.high:
        return False
    if not one.repeats and not two.repeats:
        return True
    return _compare(one.key, two.key)[0]


def covers(one: Footprint, two: Footprint) -> bool:
    """Whether the first holds every byte of the second."""
    if one is two:
        return True
    if one.low > two.low or one.high < two.high:
        return False
    if not one.repeats:
        return True
    return _compare(one.key, two.key)[1]


_Key = tuple[int, int, tuple[tuple[int, int], ...]]


@lru_cache(maxsize=4096)
def _compare(one: _Key, two: _Key) -> tuple[bool, bool]:
    if one == two:
        return True, True
    size = max(Footprint(*one).high, Footprint(*two).high)
    first, second = _bytes(one, size), _bytes(two, size)
    return bool((first & second).any()), bool((first | ~second).all())


def _bytes(key: _Key, size: int) -> Tensor:
    low, run, repeats = key
    touched = torch.zeros(size, dtype=torch.bool)
    shape = [*(extent for extent, _ in repeats), run]
    strides = [*(stride for _, stride in repeats), 1]
    touched.as_strided(shape, strides, low).fill_(value=True)
    return touched
