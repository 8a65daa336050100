"""Correct kernels at many sizes: silent and right wherever loops are short, rings deep or even."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.vgpu import FindingKind, Policy
from tests.vgpu.gluon.all_cases import by_name
from tests.vgpu.gluon.cases_attention import four_role_values
from tests.vgpu.gluon.running import run

if TYPE_CHECKING:
    from tests.vgpu.gluon.case import Case, Values


RINGS = ("ring_copy", "matmul_tcgen05", "matmul_wgmma")
TOO_SHORT = ("matmul_wgmma", 1)
"""One of its products stays in flight: it needs two buffers, as a test of its own shows."""


def changed(name: str, **other: int) -> Case:
    """Return a case with other values of some arguments."""
    case = by_name(name)

    def values() -> Values:
        return case.values() | other

    return replace(case, values=values)


@pytest.mark.parametrize("policy", [Policy.IN_ORDER, Policy.LAZIEST, Policy.RANDOM])
@pytest.mark.parametrize(
    ("name", "stages"),
    [(name, n) for name in RINGS for n in (1, 2, 3, 5) if (name, n) != TOO_SHORT],
)
def test_rings_of_any_depth(name: str, stages: int, policy: Policy) -> None:
    assert run(changed(name, STAGES=stages), policy).findings == ()


def test_a_ring_too_short_for_the_products_in_flight() -> None:
    (found, *_) = run(changed("matmul_wgmma", STAGES=1), Policy.IN_ORDER, right=False).findings
    assert found.kind is FindingKind.DEADLOCK


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("stages", [2, 3, 4])
@pytest.mark.parametrize("tiles", [1, 2, 3, 5])
def test_attention_over_any_number_of_tiles(tiles: int, stages: int, policy: Policy) -> None:
    case = by_name("attention_four_roles")
    sized = replace(
        case, values=lambda: four_role_values(tiles, 64, 64, 1) | {"STAGES": stages}, grid=(1,)
    )
    assert run(sized, policy).findings == ()


def test_attention_with_one_buffer_for_keys_and_values() -> None:
    """The next K is waited for while V has not been loaded: the K before has the same parity."""
    case = by_name("attention_four_roles")
    sized = replace(case, values=lambda: four_role_values(3, 64, 64, 1) | {"STAGES": 1}, grid=(1,))
    for policy in Policy:
        kinds = {found.kind for found in run(sized, policy, right=False).findings}
        assert kinds & {FindingKind.PHASE_OVERRUN, FindingKind.RACE_SMEM}
