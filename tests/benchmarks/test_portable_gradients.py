"""Issue slots per score of the portable backward kernels, compiled: what the docs say holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.backward_portable import COUNTED, SHARE, built, loops

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.backward_portable import Counted


@pytest.mark.parametrize("one", COUNTED, ids=lambda one: one.text)
def test_the_limit_is_kept_without_spills(one: Counted, tmp_path: Path) -> None:
    found = built(one, tmp_path)
    assert sum(slots for _, slots in loops(found).values()) <= SHARE * one.rival.total
    assert all(kernel.facts.spill_bytes == 0 for kernel in found.artefact.backward)
