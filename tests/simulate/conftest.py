"""Modules that several tests here look at, timed once."""

from __future__ import annotations

import pytest

from flash4gen.schedule.blackwell.works import Shape
from flash4gen.simulate.timed import Timed, time_module
from tests.ir.notation import attention
from tests.validate.subjects import FULL, subject

SHAPE = Shape(batch=2, heads=16, kv_heads=8, queries=4096, keys=4096)
CAUSAL = attention(
    name="causal", heads=16, kv_heads=8, head_dim=64, value_dim=64, scale=0.125, mask="k <= q_end"
)


@pytest.fixture(scope="session")
def blackwell(tmp_path_factory: pytest.TempPathFactory) -> Timed:
    """A causal module of the warp-specialised family."""
    module = subject(CAUSAL, "b200", tmp_path_factory.mktemp("causal"))
    return time_module(module, SHAPE, jitter=0.2, seeds=2)


@pytest.fixture(scope="session")
def portable(tmp_path_factory: pytest.TempPathFactory) -> Timed:
    """A module without masks of the portable family, whose CTAs share an SM."""
    return time_module(subject(FULL, "a100", tmp_path_factory.mktemp("full")), SHAPE)


@pytest.fixture(params=["blackwell", "portable"])
def timed(request: pytest.FixtureRequest) -> Timed:
    """Return either."""
    found: Timed = request.getfixturevalue(request.param)
    return found
