"""The names that an input tensor cannot have: a module hands tensors on under their own names.

Functions that take a tensor have names of their own beside it, and would overwrite it, or be
overwritten. A test compares the lists with what modules of every kind really say.
"""

from __future__ import annotations

import re

_ALWAYS = """
at axes b batch begin block_table blocks check_lengths cu cu_k cu_q cu_seqlens_k cu_seqlens_q device
dim driver dropout_offset dropout_seed dtype end ends entry expected first first_key found full_end
full_start h head_chunks hkv i index inside item its_lse its_total j k key_bytes keys length
libdevice live_end live_start lse name one ones out p packs picked place places q q_tiles queries
rows run scores second section seen seq seq_k seq_q seqused_k shape shapes size starts stays stride
target tiles tl to_log2 torch total total_k total_q triton v value values visible wanted weight
weights works x
"""
_OF_GRADIENTS = """
base2 ctx delta dk do dp dq ds dtotal dv dx empty given grad k_tiles made mean need needs offset
padded products rest row_tiles sink sums tensors turn turns wide
"""
_OF_BLOCKS = "seqused table"

TAKEN = frozenset(_ALWAYS.split())
"""In every module."""

TAKEN_BY_GRADIENTS = frozenset(_OF_GRADIENTS.split())
"""In modules with a backward pass, too."""

TAKEN_BY_BLOCKS = frozenset(_OF_BLOCKS.split())
"""In modules whose keys lie in blocks, too."""

_OWN = re.compile(r"_.*|t\d+")
"""Helpers and intermediate results of generated code."""

_OWN_GRADIENTS = re.compile(r"(by|d|grad|sum)_.*|part_\d+")
"""Derivatives, gradients and their sums, called after what they are of."""


def is_taken(name: str, *, trains: bool, paged: bool) -> bool:
    """Whether a module means something else by a name.

    Args:
        name: of an input tensor.
        trains: whether the module has a backward pass.
        paged: whether keys lie in blocks.
    """
    if name in TAKEN or _OWN.fullmatch(name):
        return True
    if trains and (name in TAKEN_BY_GRADIENTS or _OWN_GRADIENTS.fullmatch(name)):
        return True
    return paged and name in TAKEN_BY_BLOCKS
