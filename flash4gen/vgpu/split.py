"""Which part of a tensor each CTA of a cluster holds, read from the text of its layout.

TTGIR describes tensors and memories of a whole cluster. A layout splits them into equal blocks;
CTAs with the same block hold copies of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from flash4gen.vgpu.lowering import unsupported
from flash4gen.vgpu.parse.tree import DescriptorType, MemDescType, TensorType, Type

if TYPE_CHECKING:
    from flash4gen.vgpu.parse.tree import Module

_SLICE = re.compile(r"#ttg\.slice<\{dim = (\d+), parent = (.*)\}>", re.DOTALL)
_DOT = re.compile(r"#ttg\.dot_op<\{opIdx = (\d), parent = (.*)\}>", re.DOTALL)
_BLOCKS = re.compile(r"CGALayout = (\[\[.*?\]\])")
_ELEMENTS = re.compile(r"\bblock = (\[\[.*?\]\])")

Place = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """Into how many blocks each dimension is split, and which block each CTA holds."""

    counts: tuple[int, ...]
    places: tuple[Place, ...]

    @property
    def whole(self) -> bool:
        """Whether every CTA holds everything."""
        return all(count == 1 for count in self.counts)

    def local(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one block; leading dimensions are not split."""
        lead = len(shape) - len(self.counts)
        blocks = (n // k for n, k in zip(shape[lead:], self.counts, strict=True))
        return shape[:lead] + tuple(blocks)

    def window(self, cta: int, local: tuple[int, ...]) -> tuple[slice, ...]:
        """Return where a CTA's block of that shape lies in the whole tensor."""
        place = self.places[cta]
        lead = len(local) - len(place)
        return (slice(None),) * lead + tuple(
            slice(k * n, (k + 1) * n) for k, n in zip(place, local[lead:], strict=True)
        )

    def first(self, cta: int) -> int:
        """Return the first CTA that holds the same block."""
        return self.places.index(self.places[cta])

    def without(self, axis: int) -> Split:
        """Return the split of what is left when a dimension is reduced away."""
        cut = [place[:axis] + place[axis + 1 :] for place in self.places]
        return Split(self.counts[:axis] + self.counts[axis + 1 :], tuple(cut))


def ctas_of(module: Module) -> int:
    """Return how many CTAs a program has."""
    count = module.attributes.get("ttg.num-ctas", 1)
    return count if isinstance(count, int) else 1


def split_of(kind: Type, ctas: int) -> Split:
    """Return how a tensor, a memory or the box of a descriptor is split."""
    if not isinstance(kind, TensorType | MemDescType | DescriptorType):
        return Split((), ((),) * ctas)
    return _split(kind.layout, kind.shape, ctas)


def localised(kind: Type, ctas: int) -> Type:
    """Return the type of what one CTA holds."""
    if not isinstance(kind, TensorType | MemDescType | DescriptorType):
        return kind
    return replace(kind, shape=split_of(kind, ctas).local(kind.shape))


@lru_cache(maxsize=512)
def split_of_layout(layout: str, ctas: int) -> Split:
    """Return how a memory of that layout is split; its dimensions are those of the layout."""
    vectors, _ = _vectors(layout)
    rank = len(vectors[0]) if vectors else 1
    return _placed([_units(axis) for axis in _axes(vectors, rank)], ctas)


@lru_cache(maxsize=4096)
def _split(layout: str, shape: tuple[int, ...], ctas: int) -> Split:
    vectors, elements = _vectors(layout)
    rank = len(vectors[0]) if vectors else len(shape)
    extents = shape[len(shape) - rank :]
    axes = []
    for axis, extent in zip(_axes(vectors, rank), extents, strict=True):
        count = 1 << sum(map(bool, axis))
        if extent % count or (elements and min(filter(None, axis), default=0) >= extent):
            axes.append((0,) * len(axis))  # too small to be split: every CTA holds it
            continue
        units = _units(axis)
        if elements and count > 1 and min(filter(None, axis)) * count != extent:
            raise unsupported(f"a tensor of {shape} whose blocks are not one piece: {layout}")
        axes.append(units)
    return _placed(axes, ctas)


def _axes(vectors: list[Place], rank: int) -> list[tuple[int, ...]]:
    return [tuple(vector[axis] for vector in vectors) for axis in range(rank)]


def _units(axis: tuple[int, ...]) -> tuple[int, ...]:
    """Return the steps along one dimension in blocks."""
    steps = sorted(step for step in axis if step)
    if any(two != 2 * one for one, two in pairwise(steps)):
        raise unsupported(f"a cluster that is split along one dimension by {steps}")
    return tuple(step // steps[0] if step else 0 for step in axis)


def _placed(axes: list[tuple[int, ...]], ctas: int) -> Split:
    counts = tuple(1 << sum(map(bool, axis)) for axis in axes)
    places = tuple(
        tuple(sum(step for bit, step in enumerate(axis) if cta >> bit & 1) for axis in axes)
        for cta in range(ctas)
    )
    return Split(counts, places)


def _vectors(layout: str) -> tuple[list[Place], bool]:
    """Return what each bit of the CTA's number adds to its place: in blocks, or in elements."""
    if found := _SLICE.fullmatch(layout.strip()):
        dim = int(found.group(1))
        vectors, elements = _vectors(found.group(2))
        return [vector[:dim] + vector[dim + 1 :] for vector in vectors], elements
    if found := _DOT.search(layout):
        vectors, elements = _vectors(found.group(2))
        inner = -1 if found.group(1) == "0" else -2
        return [_zeroed(vector, inner) for vector in vectors], elements
    for pattern, elements in ((_BLOCKS, False), (_ELEMENTS, True)):
        if found := pattern.search(layout):
            bases = re.findall(r"\[([\d, ]+)\]", found.group(1))
            return [tuple(int(part) for part in base.split(",")) for base in bases], elements
    return [], False


def _zeroed(vector: Place, axis: int) -> Place:
    place = list(vector)
    place[axis] = 0
    return tuple(place)
