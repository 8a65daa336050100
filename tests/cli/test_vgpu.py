"""`flash4gen vgpu run`: kernels of users, their bugs, and what can be wrong with a file of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.running import flash4gen, process

if TYPE_CHECKING:
    from pathlib import Path

KERNELS = """\
import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl


@gluon.jit
def shift(x_ptr, y_ptr, WAITS: gl.constexpr, STEP: gl.constexpr):
    layout: gl.constexpr = gl.BlockedLayout([1], [32], [4], [0])
    at = gl.program_id(0) * STEP + gl.arange(0, 128, layout)
    gl.store(y_ptr + at, gl.load(x_ptr + at) + 1.0)
    if WAITS:
        from_async(0)


@gluon.jit
def from_async(count: gl.constexpr):
    gl.nvidia.ampere.async_copy.wait_group(count)


def launch(step=128, waits=False):
    x, y = torch.randn(256), torch.zeros(256)
    shift[(2,)](x, y, waits, step, num_warps=4, enable_fp_fusion=False)
    print("numbers", "right" if torch.equal(y, x + 1) else "WRONG")


def clean():
    launch()


def overlaps():
    launch(step=64)


def waits_for_nothing():
    launch(waits=True)


def twice():
    clean()
    overlaps()


def raises():
    clean()
    raise ValueError("no such shape")


def leaves():
    raise SystemExit(3)


def idle():
    pass


NUMBER = 3
"""


@pytest.fixture
def kernels(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    # Triton remembers kernels by file and line: every test has a file of its own.
    path = tmp_path / f"kernels_{abs(hash(request.node.name))}.py"
    path.write_text(KERNELS)
    return path


def line_of(text: str) -> int:
    return KERNELS.split("\n").index(next(x for x in KERNELS.split("\n") if text in x)) + 1


def test_a_clean_kernel(kernels: Path) -> None:
    ended = flash4gen("vgpu", "run", f"{kernels}::clean", "--target", "h100")
    assert ended.code == 0
    assert "shift, grid 2x1x1, in time order: nothing found" in ended.stdout
    assert "numbers right" in ended.stdout
    assert ended.stderr == ""


def test_a_finding_has_its_place_and_ends_with_one(
    kernels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(kernels.parent)
    ended = flash4gen("vgpu", "run", f"{kernels}::overlaps")
    assert ended.code == 1
    assert "1 finding" in ended.stdout
    assert "write-overlap" in ended.stdout
    assert f" {kernels.name}:{line_of('gl.store')}, " in ended.stdout


def test_what_orders_nothing_is_named(kernels: Path) -> None:
    ended = flash4gen("vgpu", "run", f"{kernels}::waits_for_nothing", "--target", "a100")
    assert ended.code == 0
    assert "redundant" in ended.stdout
    assert "ttg.async_wait" in ended.stdout


def test_the_document(kernels: Path) -> None:
    ended = flash4gen("vgpu", "run", f"{kernels}::twice", "--format", "json")
    assert ended.code == 1
    document = ended.document
    assert not document["ok"]
    first, second = document["launches"]
    assert first["findings"] == []
    assert (second["kernel"], second["grid"]) == ("shift", [2, 1, 1])
    (finding,) = second["findings"]
    assert finding["kind"] == "write-overlap"
    assert finding["source"] == f"{kernels}:{line_of('gl.store')}"
    assert "numbers right" in ended.stderr, "what the function prints is kept apart"


def test_all_schedules(kernels: Path) -> None:
    ended = flash4gen("vgpu", "run", f"{kernels}::clean", "--policy", "all", "--format", "json")
    policies = [launch["policy"] for launch in ended.document["launches"]]
    assert policies == ["time order", "random", "laziest", "most eager"]
    one = flash4gen(
        "vgpu", "run", f"{kernels}::clean", "--policy", "random", "--seed", "7", "--format", "json"
    )
    assert [(x["policy"], x["seed"]) for x in one.document["launches"]] == [("random", 7)]


@pytest.mark.parametrize(
    ("function", "code", "said"),
    [
        ("clear", "F4G804", "has no function `clear`"),
        ("NUMBER", "F4G804", "has no function `NUMBER`"),
        ("not a name", "F4G804", "names no function"),
        ("", "F4G804", "names no function"),
        ("raises", "F4G702", "`raises` raised: ValueError: no such shape"),
        ("leaves", "F4G702", "`leaves` raised: SystemExit: 3"),
        ("idle", "F4G702", "`idle` launched no kernel"),
    ],
)
def test_a_function_that_does_not_do(kernels: Path, function: str, code: str, said: str) -> None:
    ended = flash4gen("vgpu", "run", f"{kernels}::{function}")
    assert ended.code == 1
    assert f"error[{code}]" in ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    document = flash4gen("vgpu", "run", f"{kernels}::{function}", "--format", "json").document
    assert [item["code"] for item in document["diagnostics"]] == [code]
    assert not document["ok"]


def test_a_raise_names_the_line_and_keeps_the_launches_before(kernels: Path) -> None:
    ended = flash4gen("vgpu", "run", f"{kernels}::raises")
    assert f"at {kernels.name}:{line_of('raise ValueError')}" in ended.stderr
    assert "nothing found" in ended.stdout


def test_a_name_that_is_nearly_right(kernels: Path) -> None:
    assert "clean" in flash4gen("vgpu", "run", f"{kernels}::claen").stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "SyntaxError"),
        ("import no_such_module\n", "ModuleNotFoundError"),
        ("raise SystemExit(2)\n", "SystemExit"),
    ],
)
def test_a_file_that_cannot_be_imported(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "broken_file.py"
    path.write_text(text)
    ended = flash4gen("vgpu", "run", f"{path}::f")
    assert ended.code == 1
    assert "`broken_file.py` cannot be imported" in ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_files_and_targets_that_do_not_exist(kernels: Path, tmp_path: Path) -> None:
    missing = flash4gen("vgpu", "run", f"{tmp_path / 'no.py'}::f", "--format", "json")
    assert (missing.code, missing.codes) == (1, ["F4G105"])
    unknown = flash4gen("vgpu", "run", f"{kernels}::clean", "--target", "b201", "--format", "json")
    assert (unknown.code, unknown.codes) == (1, ["F4G204"])


def test_as_a_user_runs_it(kernels: Path) -> None:
    ended = process("vgpu", "run", f"{kernels}::overlaps")
    assert ended.code == 1
    assert "write-overlap" in ended.stdout
    assert ended.stderr == ""
