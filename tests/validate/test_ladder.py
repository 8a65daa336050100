"""The ladder as a whole: a good module climbs it, a broken one is told where it fell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.build.load import load_module
from flash4gen.ir.hardware import Feature
from flash4gen.ir.nodes import EmptyRow, Lengths
from flash4gen.validate import Status, findings, from_json, validate_module
from flash4gen.validate.device import unavailable
from flash4gen.validate.function import function_rung
from flash4gen.validate.structure import compile_rung, schedule_rung
from tests.ir.notation import attention
from tests.long_matrix import slow
from tests.validate.subjects import LOCAL, PINS, subject

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention
    from flash4gen.validate import Rung, Subject

TARGETS = ("a100", "b200", "h100", "rtx5090")


@pytest.mark.parametrize("target", TARGETS)
def test_a_good_module_climbs_every_rung_that_can_be_climbed(target: str, tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    certificate = validate_module(
        subject(LOCAL, target, tmp_path), lambda rung, what: told.append((rung, what))
    )
    assert certificate.passed, findings(certificate, None)
    status = {rung.name: rung.status for rung in certificate.rungs}
    assert list(status) == ["text", "schedule", "compile", "function", "concurrency", "device"]
    assert status["concurrency"] is Status.PASSED
    assert ("function", "one query, one key") in told


@pytest.mark.parametrize(
    "variant",
    [
        attention(
            name="by_head", score="s + float(k - q_end) * 0.1 * float(h + 1)",
            mask="k <= q_end and q_end - k < 20 * (h + 1)", head_dim=40, value_dim=24, pins=PINS,
        ),
        *slow(
            attention(name="nan_rows", mask="k <= q_end", empty_row=EmptyRow.NAN, pins=PINS),
            attention(name="same", mask="k <= q", lengths=Lengths.EQUAL, pins=PINS),
            attention(
                name="two_ranges", mask="(k < 4 or q_end - k < 60) and k <= q_end", pins=PINS
            ),
        ),
    ],
    ids=lambda variant: variant.name,
)  # fmt: skip
def test_other_variants_climb_too(variant: Attention, tmp_path: Path) -> None:
    certificate = validate_module(subject(variant, "rtx5090", tmp_path))
    assert certificate.passed, findings(certificate, None)


def test_the_certificate_is_the_same_twice_and_round_trips(tmp_path: Path) -> None:
    module = subject(LOCAL, "rtx5090", tmp_path)
    first = validate_module(module).to_json()
    assert validate_module(module).to_json() == first
    assert from_json(first).to_json() == first
    assert str(tmp_path) not in first


def test_a_file_that_was_edited_is_noticed_and_not_run(tmp_path: Path) -> None:
    certificate = validate_module(subject(LOCAL, "rtx5090", tmp_path, ("k < 100)", "k < 101)")))
    assert "rendered again, the text differs" in certificate.rung("text").summary
    assert certificate.rung("function").status is Status.NOT_RUN
    assert certificate.rung("function").summary == "not run: the text failed"
    assert not certificate.passed


def function_rung_of(module: Subject) -> Rung:
    return function_rung(module, load_module(module.path), lambda _case: None)


def test_a_wrong_number_fails_with_the_case_and_the_place(tmp_path: Path) -> None:
    broken = subject(LOCAL, "rtx5090", tmp_path, ("acc * rescale[:, None])", "acc)"))
    rung = function_rung_of(broken)
    assert rung.status is Status.FAILED
    assert str(rung.failures[0]["reason"]).startswith("one query: out: off by")
    assert rung.summary.endswith("cases failed")


def test_an_access_out_of_bounds_leads_to_the_line_of_the_module(tmp_path: Path) -> None:
    broken = subject(LOCAL, "rtx5090", tmp_path, ("mask=row < rows_left", "mask=row < TILE_Q"))
    rung = function_rung_of(broken)
    failure = rung.failures[0]
    lines = broken.rendered.text.split("\n")
    assert "out-of-bounds" in str(failure["reason"])
    assert failure["function"] == "_store_tile"
    assert isinstance(failure["module_line"], int)
    assert "tl.store(" in lines[failure["module_line"] - 1]
    assert "cases were not run: 3 crashed" in str(rung.failures[-1]["reason"])


def test_a_fault_in_the_code_of_a_field_leads_to_the_line_of_the_spec(tmp_path: Path) -> None:
    # What the virtual GPU does not know it does not guess.
    assembly = 'tl.inline_asm_elementwise("cos.approx.f32 $0, $1;", "=r,r", [s], s.dtype, True, 1)'
    change = ("return 5.0 * _tanh(s * 0.2)", f"return 5.0 * _tanh({assembly})")
    rung = function_rung_of(subject(LOCAL, "rtx5090", tmp_path, change))
    assert rung.failures[0]["function"] == "_score"
    assert rung.failures[0]["spec"] == "local.attn:2"


def test_a_kernel_other_than_the_compiled_one_is_not_accepted(tmp_path: Path) -> None:
    module = subject(LOCAL, "rtx5090", tmp_path)
    other = replace(module, artefact=replace(module.artefact, ttgir="another"))
    reason = str(function_rung_of(other).failures[0]["reason"])
    assert reason.endswith("launched another kernel than the one that was compiled")


def test_a_module_that_cannot_be_imported_fails_the_schedule_rung(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = subject(LOCAL, "rtx5090", tmp_path)
    text = module.rendered.text.replace("GROUP: Final = tl.constexpr(2)", "GROUP: Final = 1 // 0")
    module.path.write_text(text, encoding="utf-8")
    changed = replace(module, rendered=replace(module.rendered, text=text))
    monkeypatch.setattr("flash4gen.validate.text.render", lambda *_: changed.rendered)
    certificate = validate_module(changed)
    failure = certificate.rung("schedule").failures[0]
    assert "ZeroDivisionError" in str(failure["reason"])
    assert text.split("\n")[int(str(failure["module_line"])) - 1].startswith("GROUP")
    assert certificate.rung("function").status is Status.NOT_RUN
    assert [found.code for found in findings(certificate, None)] == ["F4G701"]


def test_a_binary_over_its_plan_or_its_limits_fails(tmp_path: Path) -> None:
    module = subject(LOCAL, "rtx5090", tmp_path)
    greedy = replace(module.artefact.facts, smem_bytes=200_000, tensor_instructions=())
    changed = replace(module, artefact=replace(module.artefact, facts=greedy))
    reasons = [str(failure["reason"]) for failure in compile_rung(changed).failures]
    assert any("200,000" in reason for reason in reasons)
    assert any(reason.startswith("0 HMMA instructions") for reason in reasons)


def test_a_schedule_that_breaks_a_constraint_or_is_not_the_modules_fails(tmp_path: Path) -> None:
    module = subject(LOCAL, "rtx5090", tmp_path)
    loaded = load_module(module.path)
    assert schedule_rung(module, loaded).status is Status.PASSED
    other = replace(module.choice.schedule, tile_q=48, smem_bytes=0)
    changed = replace(module, choice=replace(module.choice, schedule=other))
    reasons = " / ".join(str(f["reason"]) for f in schedule_rung(changed, loaded).failures)
    assert "tile_q = 48 is not a power of two" in reasons
    assert "the module's TILE_Q is 64, not 48" in reasons
    assert "bytes of shared memory are used, 0 were planned" in reasons


def test_a_module_for_a_matrix_unit_that_it_does_not_use_fails(tmp_path: Path) -> None:
    module = subject(LOCAL, "rtx5090", tmp_path)
    features = module.hardware.features | {Feature.TCGEN05}
    changed = replace(module, hardware=replace(module.hardware, features=features))
    assert "0 UTCHMMA instructions" in compile_rung(changed).summary


def test_without_the_target_the_device_rung_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert unavailable(100) == "there is no CUDA device here"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (9, 0))
    assert unavailable(100) == "the CUDA device here is sm_90, the target is sm_100"
    assert unavailable(90) == ""


@pytest.mark.gpu
@pytest.mark.parametrize("target", TARGETS)
def test_the_device_agrees(target: str, tmp_path: Path) -> None:
    module = subject(LOCAL, target, tmp_path)
    reason = unavailable(module.hardware.arch)
    if reason:
        pytest.skip(reason)
    rung = validate_module(module).rung("device")
    assert rung.status is Status.PASSED, rung.failures
