"""Cases of the attention kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tests.vgpu.gluon import kernels_attention, kernels_flash
from tests.vgpu.gluon.case import Case, Values, random, tensor_of, tiled

if TYPE_CHECKING:
    from torch import Tensor

ROWS, LOG2_E = 128, 1.4426950408889634


def _inputs(programs: int, tiles: int, keys: int, dim: int) -> Values:
    q = random(programs * ROWS, dim, seed=0)
    # Later keys score higher, so that every step raises some maximum.
    k = random(tiles * keys, dim, seed=1) * (torch.arange(tiles * keys) / keys + 1)[:, None].half()
    v = random(tiles * keys, dim, seed=2)
    o = torch.zeros(programs * ROWS, dim).half()
    return {
        "q_desc": tiled(q, ROWS, dim), "k_desc": tiled(k, keys, dim),
        "v_desc": tiled(v, keys, dim), "o_desc": tiled(o, ROWS, dim),
        "qk_scale": dim**-0.5 * LOG2_E,
    }  # fmt: skip


def _two(tiles: int = 3) -> Values:
    return _inputs(2, tiles, 64, 64) | {"TILES": tiles}


def four_role_values(tiles: int = 4, keys: int = 64, dim: int = 64, programs: int = 2) -> Values:
    """Return the arguments of the four-role kernel for so many key tiles and query tiles."""
    lse = torch.zeros(programs * ROWS)
    return _inputs(programs, tiles, keys, dim) | {"lse_ptr": lse, "tiles": tiles, "STAGES": 3}


def flash_values(tiles: int = 3, keys: int = 64, dim: int = 64, programs: int = 1) -> Values:
    """Return the arguments of the kernel with two query tiles a program."""
    return four_role_values(tiles, keys, dim, 2 * programs)


def _attention(values: Values) -> dict[str, Tensor]:
    q, k, v = (tensor_of(values[f"{name}_desc"]).double() for name in "qkv")
    scores = q @ k.T * (values["qk_scale"] / LOG2_E)
    outputs = {"o_desc": scores.softmax(-1) @ v}
    return outputs | ({"lse_ptr": scores.logsumexp(-1)} if "lse_ptr" in values else {})


TWO_ROLES = Case(
    name="attention_two_roles", arch=100, kernel=kernels_attention.attention_two_roles,
    values=_two, reference=_attention, grid=(2,), tolerance=1e-2,
)  # fmt: skip
FOUR_ROLES = Case(
    name="attention_four_roles", arch=100, kernel=kernels_attention.attention_four_roles,
    values=four_role_values, reference=_attention, grid=(2,), tolerance=1e-2,
)  # fmt: skip
FOUR_ROLES_128 = Case(
    name="attention_four_roles_128", arch=100, kernel=kernels_attention.attention_four_roles,
    values=lambda: four_role_values(4, 128, 128, 1), reference=_attention, tolerance=1e-2,
)  # fmt: skip
FLASH = Case(
    name="flash", arch=100, kernel=kernels_flash.flash, values=lambda: flash_values(programs=2),
    reference=_attention, grid=(2,), tolerance=1e-2,
)  # fmt: skip
FLASH_128 = Case(
    name="flash_128", arch=100, kernel=kernels_flash.flash,
    values=lambda: flash_values(4, 128, 128), reference=_attention, tolerance=1e-2,
)  # fmt: skip
CASES = (TWO_ROLES, FOUR_ROLES, FOUR_ROLES_128, FLASH, FLASH_128)
