"""The rung ``concurrency``: silent on what is right, precise on what is not, and checked itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from torch import Tensor

from flash4gen.build.load import load_module
from flash4gen.validate import Status, concurrency
from flash4gen.validate.concurrency import concurrency_rung
from flash4gen.validate.scenes import Scene, scenes
from flash4gen.vgpu.mutate import MutantKind, mutants
from flash4gen.vgpu.prove import proofs
from tests.long_matrix import slow
from tests.validate.subjects import FULL, LOCAL, subject

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from flash4gen.ir.nodes import Attention
    from flash4gen.validate import Subject

TARGETS = ("a100", "b200", "h100", "rtx5090")


def silent(_what: str) -> None:
    """Take progress and say nothing."""


@pytest.mark.parametrize("target", TARGETS)
def test_what_triton_pipelines_has_no_finding(target: str, tmp_path: Path) -> None:
    proven = subject(LOCAL, target, tmp_path)
    rung = concurrency_rung(proven, load_module(proven.path), silent)
    assert rung.status is Status.PASSED, rung.details
    assert rung.summary.endswith("no race, deadlock or overrun; mutants not run")
    assert rung.details["schedules"] == ["time order", "random", "laziest", "most eager"]


@pytest.mark.parametrize(
    ("variant", "target"),
    [
        (LOCAL, "a100"),
        (FULL, "h100"),
        *slow((LOCAL, "rtx5090"), (LOCAL, "h100"), (LOCAL, "b200"), (FULL, "b200")),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_no_mutant_of_a_module_is_missed(variant: Attention, target: str, tmp_path: Path) -> None:
    proven = subject(variant, target, tmp_path)
    rung = concurrency_rung(proven, load_module(proven.path), silent, mutate=True)
    assert rung.status is Status.PASSED, rung.details
    score = rung.details["mutants"]
    assert isinstance(score, dict)
    assert score["missed"] == 0
    assert score["flagged"] == score["all"] - score["redundant"] > 0  # type: ignore[operator]


def test_without_a_mask_one_masked_tile_is_the_most(tmp_path: Path) -> None:
    """Of the masked loop's pipeline, what is for a second tile has no effect in any launch."""
    text = subject(FULL, "h100", tmp_path).artefact.ttgir
    expects = {
        mutant.line: proofs(text).never(mutant.line)
        for mutant in mutants(text)
        if mutant.op == "ttng.barrier_expect"
    }
    query, *loops = (expects[line] for line in sorted(expects))
    masked, full = loops[: len(loops) // 2], loops[len(loops) // 2 :]
    assert not query
    assert masked.count(False) == 2  # the first k and the first v
    assert not any(full)


def test_a_survivor_that_nothing_proves_fails_the_rung(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that no scene reaches: here all but the shortest are left out."""
    proven = subject(LOCAL, "rtx5090", tmp_path)
    monkeypatch.setattr(concurrency, "scenes", lambda about, module: scenes(about, module)[:1])
    rung = concurrency_rung(proven, load_module(proven.path), silent, mutate=True)
    assert rung.status is Status.FAILED
    assert all("nor proven redundant" in str(failure["reason"]) for failure in rung.failures)


def test_a_lost_wait_is_found_with_the_line_of_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = subject(LOCAL, "rtx5090", tmp_path)

    def broken(about: Subject, module: ModuleType) -> tuple[Scene, ...]:
        """Return the launches with the first wait for a tile deleted."""
        real = scenes(about, module)
        lost = next(
            mutant
            for mutant in mutants(real[0].text)
            if mutant.kind is MutantKind.DELETE and mutant.op == "ttng.wait_barrier"
        )
        return tuple(replace(scene, text=lost.text) for scene in real)

    monkeypatch.setattr(concurrency, "scenes", broken)
    rung = concurrency_rung(proven, load_module(proven.path), silent)
    assert rung.status is Status.FAILED
    assert rung.failures
    assert {failure["function"] for failure in rung.failures} <= {
        "_load_tile",
        "_attend",
        "_forward_kernel",
    }


def test_every_scene_is_one_program_of_the_compiled_kernel(tmp_path: Path) -> None:
    proven = subject(LOCAL, "rtx5090", tmp_path)
    views = scenes(proven, load_module(proven.path))
    assert len(views) >= 4
    assert len({view.text for view in views}) == 1
    base = next(a for a in views[-1].arguments if isinstance(a, Tensor))
    copies = [argument for argument in views[-1].fresh() if isinstance(argument, Tensor)]
    assert all(copy.data_ptr() != base.data_ptr() for copy in copies)
