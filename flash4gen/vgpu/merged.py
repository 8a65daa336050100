"""Views that merge dimensions which do not follow each other in memory: no strides say where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.vgpu.lowering import unsupported
from flash4gen.vgpu.onchip import View

if TYPE_CHECKING:
    from torch import Tensor

    from flash4gen.vgpu.onchip import Buffer, Transform


class Merged(View):
    """Elements of `shape`, whose dimensions `data` and `state` have apart; read and written whole.

    Args:
        buffer: the allocation.
        data: the window on it.
        state: the same of what its bytes hold.
        layout: of the view.
        shape: of the elements, in the order of those of `data`.
        part: what a part of it would be, for the refusal.
    """

    __slots__ = ("_part", "_shape")

    def __init__(
        self,
        buffer: Buffer,
        data: Tensor,
        state: Tensor,
        layout: str,
        shape: tuple[int, ...],
        part: str = "a part of shared memory whose dimensions were merged in another order",
    ) -> None:
        super().__init__(buffer, data, state, layout)
        self._shape = shape
        self._part = part

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the elements."""
        return self._shape

    @property
    def elements(self) -> Tensor:
        """A copy of them."""
        return self.data.reshape(self._shape)

    def write(self, value: Tensor) -> None:
        """Store a tensor of the elements' shape."""
        super().write(value.reshape(self.data.shape))

    def patched(self, states: tuple[int, ...]) -> Tensor:
        """Return the elements, those in any of the states replaced by poison."""
        return super().patched(states).reshape(self._shape)

    def derive(self, key: object, layout: str, of: Transform) -> View:  # noqa: ARG002
        """Refuse: a part of it has no strides."""
        raise unsupported(self._part)

    def _over(self, buffer: Buffer, data: Tensor, state: Tensor) -> View:
        return Merged(buffer, data, state, self.layout, self._shape, self._part)


def reshaped(view: View, layout: str, shape: tuple[int, ...]) -> View:
    """Return a view with its elements in another shape, remembered by it."""
    return view.child(("shape", shape), lambda: _reshaped(view, layout, shape))


def _reshaped(view: View, layout: str, shape: tuple[int, ...]) -> View:
    try:
        return view.derive(("shape", shape), layout, lambda tensor: tensor.view(shape))
    except RuntimeError:  # no strides can say where the elements are
        return Merged(view.buffer, view.data, view.state, layout, shape)
