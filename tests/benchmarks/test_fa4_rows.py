"""What the comparison with FlashAttention-4 reads off a kernel, and how it judges."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks.fa4_rows import (
    ROWS,
    Limit,
    correction,
    exp2,
    exp2_at_release,
    measured,
    mma_warp,
    slots,
    spills,
    verdict,
)
from benchmarks.fa4_static import VARIANTS, Variant
from flash4gen.build.sass.analyse import analyse_sass
from flash4gen.driver import check_spec
from tests.build.sass.listings import listing, softmax

if TYPE_CHECKING:
    from pathlib import Path

MMA = "UTCHMMA gdesc[UR8], gdesc[UR26], tmem[UR39], tmem[UR48], idesc[UR49], UPT"


def test_softmax_is_measured_in_the_slowest_loop_of_its_kind() -> None:
    both = analyse_sass(softmax() + "\n" + softmax(masked=True))
    assert slots(both, masked=False) == 63 / 32
    assert slots(both, masked=True) == (63 + 32) / 32
    slower = softmax().replace(".L_x_3:", ".L_x_3:\n        /*ffff*/  MOV R60, R61 ;")
    assert slots(analyse_sass(softmax() + "\n" + slower), masked=False) == 64 / 32
    assert exp2(both) == 32
    assert slots(analyse_sass(softmax()), masked=True) is None


@pytest.mark.parametrize(("stored", "issued"), [(8, None), (16, None), (32, 32), (64, 20)])
def test_p_is_released_by_the_store_that_completes_96_columns(
    stored: int, issued: int | None
) -> None:
    """Two stores of 16, 32, 64 and 128 columns, before them 20 and 32 exp2."""
    kernel = analyse_sass(softmax().replace("STTM.x8", f"STTM.x{stored}"))
    assert exp2_at_release(kernel) == issued


@pytest.mark.parametrize(("products", "turns"), [(128, 1), (64, 2)])
def test_a_step_of_the_correction_is_both_tiles(products: int, turns: int) -> None:
    kernel = analyse_sass(
        listing(
            ".L_x_1:",
            "@P1 BRA `(.L_x_2)",
            "LDTM.x32 R4, tmem[UR9]",
            *["FMUL2 R4, R4.F32x2.HI_LO, R70.F32"] * products,
            "STTM.x32 tmem[UR9], R4",
            ".L_x_2:",
            "@P3 BRA `(.L_x_1)",
            "EXIT",
        )
    )
    assert correction(kernel, rescales=True) == turns * (products + 4)
    assert correction(kernel, rescales=False) == turns * 2


def test_the_mma_warp_is_measured_per_32_products() -> None:
    loop = [".L_x_1:", *[MMA, "UMOV UR4, UR5"] * 8, "@P3 BRA `(.L_x_1)", "EXIT"]
    assert mma_warp(analyse_sass(listing(*loop))) == 17 * 4


def test_a_kernel_without_roles_measures_its_spills_alone() -> None:
    kernel = analyse_sass(listing("STL [R1], R0", "LDL R0, [R1]", "EXIT"))
    assert spills(kernel) == 2
    kernels = {variant.name: kernel for variant in VARIANTS}
    values = {row.what: value for row, value in zip(ROWS, measured(ROWS, kernels), strict=True)}
    assert {what for what, value in values.items() if value is not None} == {
        "spill instructions in loops over keys",
        "spill instructions in the whole kernel",
    }
    assert set(measured(ROWS, {})) == {None}


@pytest.mark.parametrize(
    ("value", "words"),
    [(5.0, "reached"), (3.9, "reached, the aim too"), (5.1, "not reached"), (None, "not measured")],
)
def test_a_row_is_judged_by_both_limits(value: float | None, words: str) -> None:
    assert verdict(value, Limit(5), Limit(4, strict=True)) == words


def test_a_strict_limit_excludes_its_number() -> None:
    assert verdict(4, None, Limit(4)) == "aim reached"
    assert verdict(4, None, Limit(4, strict=True)) == "aim not reached"
    assert verdict(4, None, None) == ""


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_our_specs_are_valid(variant: Variant, tmp_path: Path) -> None:
    spec = tmp_path / "variant.attn"
    spec.write_text(replace(variant, target="b200").spec, encoding="utf-8")
    checked = check_spec(spec)
    assert checked.ok, checked.diagnostics
    (attention,) = checked.attentions
    assert (attention.name, attention.head_dim) == (variant.name, 128)
    assert {row.variant for row in ROWS} == {item.name for item in VARIANTS}
