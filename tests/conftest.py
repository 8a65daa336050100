"""What all tests share: goldens, the options `--update-golden` and `--slow`, GPU tests, caches."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.golden_files import USED, Golden, SuiteGoldens

if TYPE_CHECKING:
    from collections.abc import Sequence


# A machine that is busy draws its examples slowly; that says nothing of what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("flash4gen")
    group.addoption("--update-golden", action="store_true", help="accept what tests produce now")
    group.addoption("--slow", action="store_true", help="also run the long matrix")
    group.addoption(
        "--record-support", action="store_true", help="write what works where; goes with --slow"
    )


def pytest_configure(config: pytest.Config) -> None:
    # Both are read when torch and Triton are first imported. Workers share the machine's cores, so
    # each keeps to one; what Triton has compiled for this checkout is compiled once.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    cache = config.rootpath / ".pytest_cache" / "triton"
    os.environ.setdefault("TRITON_CACHE_DIR", str(cache))
    config.stash[USED] = set()
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SuiteGoldens(config), "suite-goldens")


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        used = session.config.stash[USED]
        output["goldens"] = sorted(used)


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="part of the long matrix; run with --slow"))
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and there is none"))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Give back the memory of a file's tests: workers would grow by what each file leaves."""
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        if platform.libc_ver()[0] == "glibc":
            ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what is free inside its arenas


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare text with a file that is kept beside the tests: ``golden("name.txt", text)``."""
    return Golden(request.node, request.config)
