"""Kernels compiled side by side are those that launches would have compiled one by one."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import pytest
import torch
import triton

from flash4gen.build import ahead
from flash4gen.build.load import load_module
from flash4gen.vgpu import virtual_gpu

if TYPE_CHECKING:
    from pathlib import Path

KERNELS = """\
import triton
import triton.language as tl

@triton.jit
def _double(x_ptr, SIZE: tl.constexpr):
    i = tl.arange(0, SIZE)
    tl.store(x_ptr + i, tl.load(x_ptr + i) * 2)

@triton.jit
def _broken(x_ptr):
    tl.store(x_ptr, tl.no_such_function(x_ptr))
"""


def launches(folder: Path, name: str, *sizes: int) -> Any:
    """Return a function that launches a kernel, once for each size."""
    file = folder / "kernels.py"
    if not file.exists():  # A binary holds the time of its source.
        file.write_text(KERNELS, encoding="utf-8")
    kernel, x = getattr(load_module(file), name), torch.zeros(64)

    def launch() -> None:
        for size in sizes or (None,):
            kernel[(1,)](x, *(() if size is None else (size,)), enable_fp_fusion=True)

    return launch


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "workers", lambda: 2)


def test_launches_find_their_kernels_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch, asked = launches(tmp_path, "_double", 16, 32, 16), []
    with virtual_gpu(80, execute=False) as gpu:
        ahead.compile_ahead(launch)
        assert not gpu.launches
        monkeypatch.setattr(
            triton.knobs.runtime, "jit_cache_hook", lambda **given: asked.append(given)
        )
        launch()
    assert not asked
    assert [launched.name for launched in gpu.launches] == ["_double"] * 3
    assert gpu.launches[0].asm["ttgir"] != gpu.launches[1].asm["ttgir"]


def test_what_cannot_be_compiled_is_left_to_its_launch(tmp_path: Path) -> None:
    launch = launches(tmp_path, "_broken")
    with virtual_gpu(80, execute=False):
        ahead.compile_ahead(launch)
        assert triton.knobs.runtime.jit_cache_hook is None
        with pytest.raises(triton.CompilationError, match="no_such_function"):
            launch()


def test_threads_give_the_binaries_that_one_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for count in (1, 2):
        monkeypatch.setattr(ahead, "workers", lambda count=count: count)
        monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / f"cache{count}"))
        launch = launches(tmp_path, "_double", 16, 32)
        with virtual_gpu(80, execute=False) as gpu:
            ahead.compile_ahead(launch)
            launch()
        found.append([launched.asm["cubin"] for launched in gpu.launches])
    assert found[0] == found[1]


def test_processes_of_a_pool_have_a_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert pool.submit(ahead.workers).result() == 1


def test_results_stand_in_the_order_of_what_they_are_of() -> None:
    assert ahead.in_threads(lambda x: -x, [3, 1, 2]) == [-3, -1, -2]
