"""Kernels whose products two CTAs share: their numbers, their concurrency, and bugs of pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.driver import compile_spec
from flash4gen.ir.library import target
from flash4gen.render.module import render
from flash4gen.schedule.blackwell.memory import memory_plan
from flash4gen.schedule.blackwell.model import BlackwellSchedule, Dispatch
from flash4gen.validate.certificate import Status
from flash4gen.vgpu import Check, FindingKind, Policy, virtual_gpu
from tests.ir.notation import attention
from tests.long_matrix import slow
from tests.schedule.variants import FULL, chosen, pinning

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from flash4gen.ir.nodes import Attention

B200 = target("b200")
SEQ_Q, SEQ_K = 600, 700
"""Two work tiles of 512 rows, the second one cut; more key tiles than the ring has slots for."""

PLAIN = pinning(attention(name="plain", heads=2, head_dim=128, value_dim=128, mask=FULL), ctas=2)
WIDE = pinning(
    attention(name="wide", heads=1, kv_heads=1, head_dim=192, value_dim=128, mask=FULL), ctas=2
)
PACKED = pinning(
    attention(name="packed", heads=4, kv_heads=1, head_dim=128, value_dim=128, mask=FULL),
    ctas=2,
    pack=4,
    dispatch=Dispatch.CLC,
)


def module(what: Attention, folder: Path, *changes: tuple[str, str]) -> Any:
    """Return a module, its text changed by replacements that must find something."""
    text = render(what, B200, chosen(what, B200)).text
    for old, new in changes:
        assert old in text, f"the templates no longer print {old!r}"
        text = text.replace(old, new)
    path = folder / f"{what.name}.py"
    path.write_text(text, encoding="utf-8")
    return load_module(path)


def inputs(what: Attention) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    widths = (
        (SEQ_Q, what.heads, what.head_dim),
        (SEQ_K, what.kv_heads, what.head_dim),
        (SEQ_K, what.kv_heads, what.value_dim),
    )
    q, k, v = (torch.randn(1, *shape, generator=random).half() for shape in widths)
    # Key tiles are walked from the last one down, and rows 128 to 255 see scores grow: of the first
    # pair's second CTA, which rescales then, while the first has no reason to.
    q[:, :128] *= 0.2
    q[:, 256:] *= 0.2
    k[:, :128] *= 2
    return q, k, v


def findings(what: Attention, made: Any, policy: Policy = Policy.RANDOM) -> set[FindingKind]:
    """Run a module with all checks and return what was found."""
    with virtual_gpu(B200.arch, check=Check(policy=policy)) as gpu:
        getattr(made, what.name)(*inputs(what))
    return {finding.kind for report in gpu.reports for finding in report.findings}


@pytest.mark.parametrize("what", [PLAIN, *slow(WIDE, PACKED)], ids=lambda item: str(item.name))
def test_a_pair_computes_what_one_cta_does(what: Attention, tmp_path: Path) -> None:
    made = module(what, tmp_path)
    q, k, v = inputs(what)
    with virtual_gpu(B200.arch) as gpu:
        out, lse = getattr(made, what.name)(q, k, v)
    expected, expected_lse = made._eager(q, k, v)
    torch.testing.assert_close(out, expected, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(lse, expected_lse, rtol=0, atol=2e-4)
    (launch,) = gpu.launches
    schedule = chosen(what, B200).schedule
    assert isinstance(schedule, BlackwellSchedule)
    assert launch.metadata.num_ctas == 2
    assert launch.metadata.shared <= memory_plan(schedule).smem_bytes
    assert launch.metadata.tmem_size == schedule.tmem_columns
    assert "tcgen05.mma.cta_group::2" in launch.asm["ptx"]
    assert "tcgen05.mma.cta_group::1" not in launch.asm["ptx"]
    for policy in Policy:
        assert findings(what, made, policy) == set()


BUGS = {
    "bytes of both CTAs are announced by each": (
        "mbarrier.expect(bars.kv_full.index(stage), desc.nbytes_per_cta)",
        "mbarrier.expect(bars.kv_full.index(stage), 2 * desc.nbytes_per_cta)",
        FindingKind.BARRIER_TX_BYTES,
    ),
    "values are handed back before the second product": (
        "if tile == QUERY_TILES - 1:\n                    bw.tcgen05_commit(bars.kv_empty",
        "if tile == 0:\n                    bw.tcgen05_commit(bars.kv_empty",
        FindingKind.RACE_SMEM,
    ),
    "factors are read again after they were handed back": (
        "                least = _own_least(memory.stats.index(tile))\n"
        "                mbarrier.arrive(bars.stats_empty.index(tile), count=1)\n",
        "                mbarrier.arrive(bars.stats_empty.index(tile), count=1)\n"
        "                least = _own_least(memory.stats.index(tile))\n",
        FindingKind.RACE_SMEM,
    ),
}


@pytest.mark.parametrize("bug", [next(iter(BUGS)), *slow(*list(BUGS)[1:])])
def test_what_is_wrong_with_a_pair_is_found(bug: str, tmp_path: Path) -> None:
    old, new, kind = BUGS[bug]
    assert kind in findings(PLAIN, module(PLAIN, tmp_path, (old, new)))


def test_a_cta_that_never_rescales_is_wrong(tmp_path: Path) -> None:
    """The inputs need the vote, and it is each CTA's own."""
    made = module(PLAIN, tmp_path, ("if least < 1.0:", "if least < 0.0:"))
    q, k, v = inputs(PLAIN)
    with virtual_gpu(B200.arch):
        out, _ = made.plain(q, k, v)
    off = (out - made._eager(q, k, v)[0]).abs().amax((0, 2, 3)) > 0.01
    assert off[128:256].any()
    assert not off[:128].any()
    assert not off[256:].any()


@pytest.mark.slow
@pytest.mark.parametrize("widths", ["128", "192 / 128"])
def test_pairs_climb_the_whole_ladder_at_the_widths_of_models(widths: str, tmp_path: Path) -> None:
    """Two heads, so that pairs walk several work tiles; all lengths, layouts and values."""
    spec = tmp_path / "pair.attn"
    body = f"dtype = bf16\n heads = 2\n head_dim = {widths}\n schedule {{ ctas = 2 }}"
    spec.write_text(f"attention pair {{\n {body}\n}}", encoding="utf-8")
    result = compile_spec(spec, targets=["b200"], out=tmp_path / "out")
    assert result.ok, result.diagnostics
    (made,) = result.modules
    assert isinstance(made.plan.choice.schedule, BlackwellSchedule)
    assert made.plan.choice.schedule.ctas == 2
    assert made.certificate is not None
    for rung in ("function", "concurrency"):
        assert made.certificate.rung(rung).status is Status.PASSED
    assert made.artefact is not None
    assert made.artefact.facts.loop_spills == 0


def test_nothing_is_on_its_way_to_a_cta_that_has_ended(tmp_path: Path) -> None:
    """Commits of the first CTA arrive at barriers of both: each load warp waits for the last."""
    module(PLAIN, tmp_path)
    text = (tmp_path / "plain.py").read_text(encoding="utf-8")
    load = text.partition("def _load(")[2].partition("\n\n\n")[0]
    _, found, tail = load.partition("done += 1\n    #")
    assert found
    assert "mbarrier.wait(bars.q_empty.index(tile)" in tail
    assert "for _ in range(STAGES):" in tail
    assert "mbarrier.wait(bars.kv_empty.index(stage)" in tail
