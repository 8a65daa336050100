"""The rung ``concurrency`` covers backward kernels: each of them, and each mutant of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.build.load import load_module
from flash4gen.ir.nodes import Lengths
from flash4gen.validate import Status, concurrency
from flash4gen.validate.backward_scenes import backward_scenes
from flash4gen.validate.concurrency import concurrency_rung
from flash4gen.vgpu import synchronises
from flash4gen.vgpu.mutate import MutantKind, mutants
from tests.validate.training import EVERYTHING, SMALL, compiled, training, written

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from flash4gen.ir.nodes import Attention
    from flash4gen.validate import Subject
    from flash4gen.validate.scenes import Scene

LOCAL = training(score="5.0 * tanh(s / 5.0)", mask="k <= q_end and q_end - k < 40")

PACKED = replace(LOCAL, lengths=Lengths.PACKED)


def silent(_what: str) -> None:
    """Take progress and say nothing."""


def test_every_backward_kernel_is_watched(tmp_path: Path) -> None:
    proven = compiled(written(EVERYTHING, "rtx5090", tmp_path))
    found = backward_scenes(proven, load_module(proven.path))
    kernels = [kernel.kernel for kernel in proven.artefact.backward]
    assert kernels == list(dict.fromkeys(scene.shape.split()[0] for scene in found))
    texts = {kernel.kernel: kernel.ttgir.count("\n") for kernel in proven.artefact.backward}
    for scene in found:
        assert scene.text.count("\n") == texts[scene.shape.split()[0]]
    pipelined = [scene for scene in found if synchronises(scene.text)]
    # One tile, a pipeline half full, a pipeline that fills and drains, of both loops.
    assert len(pipelined) >= 2 * 5


def test_the_first_program_of_packed_queries_has_some(tmp_path: Path) -> None:
    """It has the last slot, which whole tiles leave empty; no loop would then be watched."""
    proven = compiled(written(PACKED, "rtx5090", tmp_path))
    found = backward_scenes(proven, load_module(proven.path))
    lengths = [scene.shape.split() for scene in found if scene.shape.startswith("_query")]
    assert len(lengths) >= 5
    assert all(int(seq_q) % SMALL.tile_q for _, _, _, seq_q, *_ in lengths)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "target"),
    [
        *((LOCAL, target) for target in ("rtx5090", "a100", "h100", "b200")),
        *((PACKED, target) for target in ("rtx5090", "h100")),
    ],
    ids=lambda it: it if isinstance(it, str) else it.lengths.value,
)
def test_no_mutant_of_a_backward_kernel_is_missed(
    variant: Attention, target: str, tmp_path: Path
) -> None:
    proven = compiled(written(variant, target, tmp_path))
    rung = concurrency_rung(proven, load_module(proven.path), silent, mutate=True)
    assert rung.status is Status.PASSED, rung.details
    score = rung.details["mutants"]
    assert isinstance(score, dict)
    of_backward = sum(len(mutants(kernel.ttgir)) for kernel in proven.artefact.backward)
    assert score["all"] == of_backward + len(mutants(proven.artefact.ttgir))
    assert score["missed"] == 0
    assert of_backward > 0


def test_a_lost_wait_in_a_backward_kernel_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = compiled(written(LOCAL, "rtx5090", tmp_path))

    def broken(about: Subject, module: ModuleType) -> tuple[Scene, ...]:
        """Return the launches of the last kernel with a wait for a tile weakened."""
        real = [s for s in backward_scenes(about, module) if s.shape.startswith("_key_gradient")]
        lost = next(
            mutant
            for mutant in mutants(real[0].text)
            if mutant.kind is MutantKind.COUNT_UP and mutant.op == "ttg.async_wait"
        )
        return tuple(replace(scene, text=lost.text) for scene in real)

    monkeypatch.setattr(concurrency, "backward_scenes", broken)
    rung = concurrency_rung(proven, load_module(proven.path), silent)
    assert rung.status is Status.FAILED
    # The place where the tile is read: a line of the loop over the queries.
    assert {"_key_steps"} <= {failure.get("function") for failure in rung.failures}
