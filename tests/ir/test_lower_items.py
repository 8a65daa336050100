"""Items: fields, defaults, targets and pins."""

from __future__ import annotations

import math
import re

import pytest

from flash4gen.diagnostics import DiagnosticError
from flash4gen.ir import library
from flash4gen.ir.expr import ALWAYS, SCORE
from flash4gen.ir.hardware import Feature
from flash4gen.ir.lower import Lowered, analyse
from flash4gen.ir.nodes import DType, EmptyRow, Lengths, Pass, Pin
from flash4gen.resources import resource_dir
from flash4gen.schedule.backward.pipeline.choose import no_pipeline
from flash4gen.schedule.blackwell.traits import unsupported
from flash4gen.source import SourceFile


def lowered(text: str) -> Lowered:
    result = analyse(SourceFile("test.attn", text))
    if result.diagnostics:
        raise DiagnosticError(result.diagnostics)
    return result


def test_defaults() -> None:
    (item,) = lowered("attention a { dtype = fp16  heads = 6  head_dim = 64 }").attentions
    assert (item.name, item.doc, item.dtype) == ("a", "", DType.FP16)
    assert (item.heads, item.kv_heads, item.group) == (6, 6, 1)
    assert (item.head_dim, item.value_dim, item.scale) == (64, 64, 0.125)
    assert (item.score, item.mask) == (SCORE, ALWAYS)
    assert (item.empty_row, item.lengths) == (EmptyRow.ZERO, Lengths.ANY)
    assert (item.passes, item.targets, item.pins) == ((Pass.FORWARD,), (), ())


def test_everything_written() -> None:
    (item,) = lowered("""
    attention a {
        doc       = "All of it"
        dtype     = bf16
        heads     = 4 * 32
        kv_heads  = heads // 16
        head_dim  = 192 / 128
        scale     = rsqrt(192) * 1.3689 ** 2     # DeepSeek-V3
        score     = softcap(s,
                            50)                  # two lines, one banner
        mask      = causal
        empty_row = nan
        lengths   = equal
        passes    = forward
        target    = h100, a100
        schedule { tile_q = 64  order = longest_first  persistent = true }
    }""").attentions
    assert (item.heads, item.kv_heads, item.group) == (128, 8, 16)
    assert (item.head_dim, item.value_dim) == (192, 128)
    assert item.scale == pytest.approx(1.3689**2 / math.sqrt(192), rel=1e-15)
    assert (item.empty_row, item.lengths) == (EmptyRow.NAN, Lengths.EQUAL)
    assert item.targets == ("h100", "a100")
    assert item.pins == (
        Pin("tile_q", 64),
        Pin("order", "longest_first"),
        Pin("persistent", "true"),
    )
    written = item.field_source("score")
    assert written is not None
    assert written.text == "softcap(s, 50)"
    assert written.span.line == 9
    assert item.field_source("window") is None


def test_a_file_may_bring_its_own_hardware() -> None:
    b200 = (resource_dir("specs") / "targets" / "b200.attn").read_text(encoding="utf-8")
    mine = b200.replace("hardware b200", "hardware mine").replace("148 ", "132 ")
    result = lowered(
        mine + "attention a { dtype = bf16  heads = 1  head_dim = 64  target = mine, b200 }"
    )
    assert result.target("mine").sms == 132
    assert result.target("b200").sms == 148
    with pytest.raises(KeyError):
        result.target("theirs")


def test_items_without_error_are_kept_beside_those_with() -> None:
    text = """attention bad { dtype = bf15  heads = 1  head_dim = 64 }
              attention good { dtype = bf16  heads = 1  head_dim = 64 }"""
    result = analyse(SourceFile("test.attn", text))
    assert [item.name for item in result.attentions] == ["good"]
    assert len(result.diagnostics) == 1


def test_hardware_numbers_have_their_units() -> None:
    gpu = library.target("b200")
    assert gpu.smem_per_sm == 228 * 1024
    assert gpu.smem_per_block == 232_448
    assert gpu.hbm_bandwidth == 8 * 10**12
    assert gpu.clock_mhz == 1965
    assert gpu.l2_bytes == int(126.5 * 2**20)
    assert library.target("h100").hbm_bandwidth == 3_350_000_000_000


@pytest.mark.parametrize("name", library.target_names())
def test_every_shipped_target_is_named_as_its_file_and_sourced(name: str) -> None:
    gpu = library.target(name)
    assert gpu.name == name
    assert gpu.doc
    sources = dict(gpu.sources)
    assert len(sources) == 19
    assert all(sources.values())
    assert gpu.smem_per_block + gpu.smem_reserved <= gpu.smem_per_sm


def test_shipped_targets() -> None:
    features = {gpu.name: gpu.features for gpu in library.targets()}
    common = {Feature.CP_ASYNC, Feature.TMA, Feature.FP8}
    assert features == {
        "a100": {Feature.CP_ASYNC},
        "b200": common | {Feature.TCGEN05},
        "b300": common | {Feature.TCGEN05, Feature.TMEM_REDUCE},
        "h100": common | {Feature.WGMMA},
        "h200": common | {Feature.WGMMA},
        "l40s": common - {Feature.TMA},
        "mi300x": {Feature.MFMA},
        "mi355x": {Feature.MFMA, Feature.LDS_DMA, Feature.FP8},
        "rtx4090": common - {Feature.TMA},
        "rtx5090": common,
        "rtx_pro_6000": common,
        "rubin": common | {Feature.TCGEN05},
    }
    archs = [gpu.arch for gpu in library.targets()]
    assert archs == [80, 100, 103, 90, 90, 89, "gfx942", "gfx950", 89, 120, 120, 107]
    assert all("preliminary" in source for _, source in library.target("rubin").sources[2:])
    with pytest.raises(KeyError):
        library.target("b100")


@pytest.mark.parametrize("name", library.spec_names())
def test_every_shipped_spec_is_clean_and_named_as_its_file(name: str) -> None:
    path = library.spec_path(name)
    result = lowered(path.read_text(encoding="utf-8"))
    assert [item.name for item in result.attentions] == [name]
    assert result.attentions[0].doc
    # What is kept compiled is kept for Blackwell, if there are kernels for it there.
    (attention,) = result.attentions
    targets, training = set(attention.targets), Pass.BACKWARD in attention.passes
    portable = unsupported(attention) or (
        training and no_pipeline(attention, library.target("b200"))
    )
    assert not targets or "b200" in targets or portable


@pytest.mark.parametrize("name", library.model_names())
def test_every_shipped_model_is_clean_and_cites_its_numbers(name: str) -> None:
    path = library.spec_path(name)
    text = path.read_text(encoding="utf-8")
    result = analyse(SourceFile(str(path), text))
    assert not result.diagnostics
    assert [item.name for item in result.models] == [name]
    assert result.models[0].doc
    comment = text[: text.index("\n\n")] if "\n\n" in text else text
    assert re.search(r"config|model|\.py", comment), "where do its numbers come from?"


def test_models_have_the_layers_that_their_makers_say() -> None:
    def layers(name: str) -> str:
        path = library.spec_path(name)
        result = analyse(SourceFile(str(path), path.read_text(encoding="utf-8")))
        full = ("full", "global")
        return "".join(
            "F" if one.removesuffix("_sinks").endswith(full) else "L"
            for one in result.models[0].layers
        )

    assert layers("gemma2_9b") == "LF" * 21
    assert layers("gemma3_27b") == "LLLLLF" * 10 + "LL"
    assert layers("gpt_oss_120b") == "LF" * 18
    assert layers("llama4_scout") == "LLLF" * 12
    assert layers("modernbert_base") == "FLL" * 7 + "F"
    # transformers, MiMoV2FlashConfig: the first layer and every sixth are full.
    assert layers("mimo_v2_flash") == "".join(
        "F" if i == 0 or (i + 1) % 6 == 0 else "L" for i in range(48)
    )
    assert len(layers("deepseek_v3")) == 61
    assert len(layers("t5_base_encoder")) == 12


def test_sinks_are_where_their_makers_put_them() -> None:
    def sunk(name: str) -> dict[str, bool]:
        path = library.spec_path(name)
        result = analyse(SourceFile(str(path), path.read_text(encoding="utf-8")))
        return {one.name: one.sink is not None for one in result.models[0].attentions}

    assert all(sunk("gpt_oss_120b").values())
    assert sunk("mimo_v2_flash") == {"mimo_v2_flash_full": False, "mimo_v2_flash_local": True}


WANTED = """
    llama3_1_8b llama3_70b mistral_7b_v0_1 gemma2_9b gemma2_27b gemma3_27b gpt_oss_120b qwen2_5_7b
    qwen3_8b phi3_mini_4k deepseek_v3 llama4_scout bloom_7b1 t5_base_encoder paligemma_3b
    modernbert_base grok1 mimo_v2_flash
"""


def test_the_models_that_people_run_are_there() -> None:
    assert set(WANTED.split()) <= set(library.model_names())


def test_an_unknown_spec_has_no_path() -> None:
    with pytest.raises(KeyError):
        library.spec_path("nothing")
