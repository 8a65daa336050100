"""Issue slots per score of the portable kernel, compiled: the limits of docs/slots.md hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.portable_slots import COUNTED, compiled, full_loop

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.portable_slots import Counted


@pytest.mark.parametrize("one", COUNTED, ids=lambda one: f"{one.name} {one.target}")
def test_the_limit_is_kept(one: Counted, tmp_path: Path) -> None:
    artefact, _ = compiled(one, tmp_path)
    loop = full_loop(artefact)
    assert loop.instructions / loop.elements <= one.limit
