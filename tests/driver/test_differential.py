"""Random valid specs, compiled for two targets: both kernels agree with the reference.

The few that run always are others than those of ``--slow``. A number in a failure is the seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.diagnostics import Findings
from flash4gen.diagnostics.text import render_text
from flash4gen.driver import check_spec, plan_spec
from flash4gen.driver.build import Run, build_plan
from tests.driver.random_specs import random_spec
from tests.support import failures

if TYPE_CHECKING:
    from pathlib import Path

FEW = range(1_000_000, 1_000_003)
MANY = range(300)


def agree(seed: int, folder: Path) -> int:
    """Check a spec on its two targets; return on how many it ran.

    What is refused must be refused by a diagnostic.
    """
    made = random_spec(seed)
    spec = folder / "tiny.attn"
    spec.write_text(made.text, encoding="utf-8")
    checked = check_spec(spec)
    assert render_text(checked.diagnostics) or checked.ok
    ran = 0
    for target in made.targets if checked.ok else ():
        plans, problems = plan_spec(checked, [target])
        assert plans or problems
        for plan in plans:
            findings = Findings()
            run = Run(folder, (), lambda _: None)
            built = build_plan(plan, run, folder / target, findings)
            assert built is not None, (seed, target, made.text, render_text(findings.in_order()))
            assert not (wrong := list(failures(built))), (seed, target, made.text, wrong)
            ran += 1
    return ran


@pytest.mark.parametrize("seed", FEW)
def test_two_targets_agree_with_the_reference(seed: int, tmp_path: Path) -> None:
    assert agree(seed, tmp_path) == 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_two_targets_agree_with_the_reference_300_times(seed: int, tmp_path: Path) -> None:
    agree(seed, tmp_path)


def test_most_random_specs_are_valid_and_all_seeds_differ(tmp_path: Path) -> None:
    texts = [random_spec(seed).text for seed in MANY]
    assert len(set(texts)) > 0.98 * len(texts)
    valid = 0
    for text in texts[:100]:
        (tmp_path / "tiny.attn").write_text(text, encoding="utf-8")
        valid += check_spec(tmp_path / "tiny.attn").ok
    assert valid > 80
