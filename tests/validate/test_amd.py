"""Modules for AMD climb the ladder as others do; the certificate says what does not apply."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir.nodes import Weights
from flash4gen.validate import Status, findings, validate_module
from flash4gen.validate.device import unavailable
from flash4gen.validate.function import EXECUTED
from flash4gen.vgpu import virtual_gpu
from tests.ir.notation import attention
from tests.validate.subjects import LOCAL, PINS, subject

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention
    from flash4gen.validate import Certificate

SIGMOID = attention(
    name="gates", heads=2, score="5.0 * tanh(s / 5.0)", mask="k <= q_end", pins=PINS,
    weights=Weights.SIGMOID,
)  # fmt: skip


WIDE = replace(LOCAL, head_dim=64, value_dim=64)
"""So wide that each lane has 16 bytes of a tile to copy."""


def climbed(variant: Attention, target: str, folder: Path) -> Certificate:
    certificate = validate_module(subject(variant, target, folder))
    assert certificate.passed, findings(certificate, None)
    return certificate


def test_copies_to_the_lds_are_proven(tmp_path: Path) -> None:
    certificate = climbed(WIDE, "mi355x", tmp_path)
    assert certificate.rung("compile").details["matrix_instruction"] == "v_mfma_f32_16x16"
    assert "waves per SIMD" in certificate.rung("compile").summary
    assert certificate.rung("function").details["executed"] == EXECUTED
    assert "TTGIR" in EXECUTED
    concurrency = certificate.rung("concurrency")
    assert concurrency.status is Status.PASSED
    assert "barriers between waves" in str(concurrency.details["scope"])
    wave = certificate.facts["wave"]
    assert isinstance(wave, dict)
    assert wave["waves_per_simd"] in range(1, 9)
    # what the module says to PyTorch on another GPU, and without one
    module = load_module(tmp_path / "local.py")
    q = torch.zeros(1, 3, 4, 64, dtype=module.DTYPE)
    k = torch.zeros(1, 3, 2, 64, dtype=module.DTYPE)
    for arch, wrong in ((90, "(cuda, 90)"), ("gfx942", "(hip, gfx942)")):
        told = re.escape(f"(hip, gfx950), this GPU is {wrong}: compile local.attn for it")
        with virtual_gpu(arch), pytest.raises(RuntimeError, match=told):
            module.local(q, k, k)
    assert module.local(q, k, k)[0].shape == q.shape


def test_without_copies_there_is_nothing_to_say_of_concurrency(tmp_path: Path) -> None:
    certificate = climbed(SIGMOID, "mi300x", tmp_path)
    concurrency = certificate.rung("concurrency")
    assert concurrency.status is Status.NOT_RUN
    assert "nothing in the TTGIR is asynchronous" in concurrency.summary
    assert certificate.rung("device").status is Status.NOT_RUN


def test_the_device_rung_wants_the_very_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unavailable("gfx942") == "there is no HIP device here"
    monkeypatch.setattr("torch.version.hip", "6.4")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    found = SimpleNamespace(gcnArchName="gfx942:sramecc+:xnack-")
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: found)
    assert unavailable("gfx942") == ""
    assert unavailable("gfx950") == "the HIP device here is gfx942, the target is gfx950"
    assert unavailable(90) == "PyTorch is built for HIP here, the target is a CUDA device"
