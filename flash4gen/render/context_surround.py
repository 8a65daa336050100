"""What templates see of what PyTorch computes around kernels: frozen data, as in ``context``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AroundText:
    """A function in PyTorch that comes before the kernels, or after them.

    Attributes:
        signature, names: its parameters with types, and its arguments.
        returned: the type of what it gives.
        results: what takes it.
        text: what it is about.
        body: its lines.
    """

    signature: tuple[str, ...]
    names: tuple[str, ...]
    returned: str
    results: str
    text: str
    body: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surround:
    """What PyTorch computes around the op, and differentiates itself.

    Attributes:
        norms: of rows of q and k, before it; None for none.
        output: what becomes of the output, after it; None where it stays.
        elements: whether either reads tensors at indices that may lie outside.
    """

    norms: AroundText | None
    output: AroundText | None
    elements: bool
