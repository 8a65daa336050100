"""What a user may hand over that is no good: every text ends in a finding or a syntax error."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from flash4gen.vgpu import (
    FindingKind,
    Policy,
    TtgirSyntaxError,
    VirtualGpuError,
    check_ttgir,
    run_ttgir,
)
from tests.vgpu.gluon.all_cases import by_name
from tests.vgpu.gluon.case import flat_arguments, tensor_of

CASE = by_name("matmul_tcgen05")
CLUSTER = by_name("matmul_two_ctas")


def outcome(text: str, arguments: list[Any]) -> str:
    """Return how a checked run ends: `syntax`, or the kinds of its findings."""
    try:
        report = check_ttgir(text, arguments, (1,), step_limit=2000)
    except TtgirSyntaxError as error:
        return "syntax" if re.search(r"line \d+", str(error)) else "a syntax error without a line"
    return " ".join(sorted({str(found.kind) for found in report.findings}))


# --- another version of Triton ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("here", "there", "named"),
    [
        ("ttng.wait_barrier", "ttng.wait_for_barrier", "operation ttng.wait_for_barrier"),
        ("ttg.memdesc_index", "ttg.memdesc_subview", "operation ttg.memdesc_subview"),
        ("ttg.local_alloc", "triton_gpu.local_alloc", "operation triton_gpu.local_alloc"),
        ("{bCluster = false}", "{sparse}", "attribute sparse of ttng.fence_async_shared"),
    ],
)
@pytest.mark.parametrize("checked", [True, False])
def test_a_text_of_another_version_names_what_is_not_known(
    here: str, there: str, named: str, checked: bool
) -> None:
    text = CASE.text()
    assert here in text
    text = text.replace(here, there)
    if checked:
        (found,) = check_ttgir(text, CASE.fresh(), CASE.grid).findings
    else:
        with pytest.raises(VirtualGpuError) as error:
            run_ttgir(text, CASE.fresh(), CASE.grid)
        found = error.value.finding
    assert found.kind is FindingKind.UNSUPPORTED
    assert f"{named} is not supported" in found.message
    assert there.strip("{}").split(", ")[-1] in text.split("\n")[found.line - 1]


def test_im2col_is_refused_by_name() -> None:
    text = by_name("tma_copy").text()
    text = re.sub(r"!tt\.tensordesc<", "!ttng.tensordesc_im2col<", text)
    (found,) = check_ttgir(text, by_name("tma_copy").fresh(), (1,)).findings
    assert found.kind is FindingKind.UNSUPPORTED
    assert "!ttng.tensordesc_im2col" in found.message


# --- texts that were cut or edited ------------------------------------------------------------


@pytest.mark.parametrize("case", [CASE, CLUSTER], ids=lambda case: case.name)
def test_a_text_that_was_cut_off_ends_in_a_syntax_error(case: Any) -> None:
    text = case.text()
    arguments = case.fresh()
    body = text.index("tt.func"), text.rindex("}")
    for end in range(body[0], body[1], (body[1] - body[0]) // 40):
        assert outcome(text[:end], arguments) == "syntax", text[end - 60 : end]


@pytest.mark.parametrize("case", [CASE, CLUSTER], ids=lambda case: case.name)
def test_a_line_that_is_missing_is_a_finding_or_harmless(case: Any) -> None:
    lines = case.text().split("\n")
    first = next(i for i, line in enumerate(lines) if "tt.func" in line)
    last = next(i for i, line in enumerate(lines) if "tt.return" in line)
    undefined = 0
    for gone in range(first + 1, last, 3):
        text = "\n".join(lines[:gone] + lines[gone + 1 :])
        ended = outcome(text, case.fresh())
        undefined += "unsupported" in ended or "syntax" in ended
    assert undefined > 10, "values that nobody defines are named"


@pytest.mark.parametrize(
    "text", ["", "\0\1\2", "module {", "not a module at all", "}" * 50, "module {\n}\n"]
)
def test_what_is_no_ttgir_at_all(text: str) -> None:
    assert outcome(text, []) == "syntax"


def test_arguments_that_do_not_fit() -> None:
    (found,) = check_ttgir(CASE.text(), CASE.fresh()[:-1], CASE.grid).findings
    assert "arguments" in found.message


# --- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["matmul_tcgen05", "matmul_two_ctas", "matmul_wgmma"])
def test_numbers_that_are_none_are_computed_with(name: str, value: float) -> None:
    case = by_name(name)
    values = case.values()
    tensor_of(values["a_desc"]).fill_(value)
    expected = case.reference(values)["c_desc"]
    text = case.text()
    for policy in (Policy.IN_ORDER, Policy.LAZIEST):
        report = check_ttgir(text, flat_arguments(text, values), case.grid, policy=policy)
        assert report.findings == ()
    out = tensor_of(values["c_desc"])
    assert bool((out.isnan() == expected.isnan()).all())
    assert bool((out.isinf() == expected.isinf()).all())
    assert not bool(out.isfinite().any())


@pytest.mark.parametrize("name", ["attention_two_roles", "attention_pair", "flash"])
def test_attention_over_nothing_but_nan_ends_without_findings(name: str) -> None:
    case = by_name(name)
    values = case.values()
    for key in ("q_desc", "k_desc", "v_desc"):
        tensor_of(values[key]).fill_(float("nan"))
    text = case.text()
    assert check_ttgir(text, flat_arguments(text, values), case.grid).findings == ()
    outputs = [key for key in case.reference(case.values()) if key.startswith("o")]
    assert outputs
    for key in outputs:
        assert bool(torch.isnan(tensor_of(values[key])).all())
