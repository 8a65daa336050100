"""What no launch of a kernel can do: proofs about the text, for every argument."""

from __future__ import annotations

from flash4gen.vgpu.prove.claims import Proofs, proofs

__all__ = ["Proofs", "proofs"]
