"""A model as data: which attention each of its layers has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flash4gen.digest import WHERE_SET

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention
    from flash4gen.source import Span


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive layers, ``times`` in a row: names of attention items, first to last."""

    names: tuple[str, ...]
    times: int

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return len(self.names) * self.times


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model.

    Attributes:
        name: of the index module and of its function.
        doc: one line for people.
        blocks: its layers, first to last, folded as the spec writes them.
        attentions: what the layers have, each once, in the order of their first layer.
        targets: names of hardware items to compile for when the command line names none.
        pattern: the layers as the spec writes them.
        borrowed: whether the model names no target: those are its layers', from other files.
        span: the item's name in the spec.
    """

    name: str
    doc: str
    blocks: tuple[Block, ...]
    attentions: tuple[Attention, ...]
    targets: tuple[str, ...]
    pattern: str
    borrowed: bool = field(default=False, metadata=WHERE_SET)
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def layers(self) -> tuple[str, ...]:
        """The name of every layer's attention, from layer 0 on."""
        return tuple(name for block in self.blocks for name in block.names * block.times)
