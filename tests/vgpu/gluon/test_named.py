"""Named barriers: two partitions hand a buffer back and forth by `bar.arrive` and `bar.sync`.

Triton 3.9 has no operations for them; compilers built on it print `ttng.arrive_barrier_named` and
`ttng.wait_barrier_named`, each with a number and a count of threads. So the kernel here is written
with mbarriers, and its TTGIR rewritten.
"""

# ruff: noqa: N803 - constants of a kernel are written in capitals
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, attr-defined"

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier

from flash4gen.vgpu import Policy, Report, check_ttgir, virtual_gpu
from flash4gen.vgpu.mutate import MutantKind, mutants, score

TILES, ROWS, COLS = 5, 32, 64
LAYOUT = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
FULL, EMPTY = 3, 4


@gluon.jit
def produce(x_ptr, buffer, full, empty, tiles, LAYOUT: gl.constexpr):
    row = gl.arange(0, 32, gl.SliceLayout(1, LAYOUT))
    col = gl.arange(0, 64, gl.SliceLayout(0, LAYOUT))
    for i in range(tiles):
        x = gl.load(x_ptr + (i * 32 + row)[:, None] * 64 + col[None, :])
        mbarrier.wait(empty, i & 1)
        buffer.store(x)
        mbarrier.arrive(full, count=1)


@gluon.jit
def consume(y_ptr, buffer, full, empty, tiles, LAYOUT: gl.constexpr):
    row = gl.arange(0, 32, gl.SliceLayout(1, LAYOUT))
    col = gl.arange(0, 64, gl.SliceLayout(0, LAYOUT))
    mbarrier.arrive(empty, count=1)
    for i in range(tiles):
        mbarrier.wait(full, i & 1)
        x = buffer.load(LAYOUT)
        if i + 1 < tiles:
            mbarrier.arrive(empty, count=1)
        gl.store(y_ptr + (i * 32 + row)[:, None] * 64 + col[None, :], x + 1.0)


@gluon.jit
def ping_pong(x_ptr, y_ptr, tiles, LAYOUT: gl.constexpr):
    shared: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [1, 0])
    buffer = gl.allocate_shared_memory(gl.float32, [32, 64], shared)
    full = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    mbarrier.init(full, count=1)
    mbarrier.init(empty, count=1)
    gl.warp_specialize(
        [
            (consume, (y_ptr, buffer, full, empty, tiles, LAYOUT)),
            (produce, (x_ptr, buffer, full, empty, tiles, LAYOUT)),
        ],
        [4],
        [64],
    )


def arguments() -> list[Any]:
    x = torch.arange(TILES * ROWS * COLS, dtype=torch.float32).view(-1, COLS)
    return [x, torch.zeros_like(x), TILES]


@cache
def ttgir() -> str:
    """Return the kernel with named barriers in the place of mbarriers."""
    with virtual_gpu(90, execute=False) as gpu:
        ping_pong[(1,)](*arguments(), LAYOUT, num_warps=4, enable_fp_fusion=False)
    lines = []
    producer = False
    for line in str(gpu.launches[-1].asm["ttgir"]).split("\n"):
        producer = producer or "partition0(" in line
        match = re.search(r"ttng\.(arrive|wait)_barrier .*( loc\(.*\))$", line)
        if match is None:
            lines.append(line)
            continue
        kind, location = match.groups()
        number = FULL if (kind == "arrive") == producer else EMPTY
        at = len(lines)
        lines.append(f"%number_{at} = arith.constant {number} : i32{location}")
        lines.append(f"%threads_{at} = arith.constant 256 : i32{location}")
        operands = f"%number_{at}, %threads_{at} : i32, i32"
        lines.append(f"ttng.{kind}_barrier_named {operands}{location}")
    return "\n".join(lines)


def operations(kind: str) -> list[str]:
    """Return the lines of the arrivals, or of the waits."""
    return [line for line in ttgir().split("\n") if f"ttng.{kind}_barrier_named" in line]


def check(text: str, policy: Policy = Policy.IN_ORDER) -> Report:
    return check_ttgir(text, arguments(), (1,), policy=policy, step_limit=5000)


def without(line: str) -> str:
    return ttgir().replace(line + "\n", "")


def with_threads(line: str, threads: int) -> str:
    """Return the kernel in which one operation names another number of threads."""
    (name,) = re.findall(r"%threads_\d+", line)
    return ttgir().replace(f"{name} = arith.constant 256", f"{name} = arith.constant {threads}")


@pytest.mark.parametrize("policy", list(Policy))
def test_two_partitions_take_turns(policy: Policy) -> None:
    given = arguments()
    report = check_ttgir(ttgir(), given, (1,), policy=policy)
    assert report.findings == ()
    assert report.redundant == ()
    assert torch.equal(given[1], given[0] + 1)


@pytest.mark.parametrize("kind", ["arrive", "wait"])
def test_who_does_not_come_leaves_the_others_waiting(kind: str) -> None:
    for line in operations(kind):
        findings = check(without(line)).findings
        assert {finding.kind for finding in findings} & {"deadlock", "barrier-over-arrival"}
        assert all("test_named.py:" in str(finding) for finding in findings)


def test_a_deadlock_says_how_many_have_come_and_who() -> None:
    finding = check(without(operations("arrive")[-1])).findings[0]
    assert finding.kind == "deadlock"
    assert "named barrier 3 for 256 threads, of which 128 have come (default)" in finding.message


def test_an_arrival_too_many() -> None:
    line = operations("arrive")[-1]
    report = check(ttgir().replace(line, f"{line}\n{line}"))
    assert report.findings[0].kind == "barrier-over-arrival"
    assert report.findings[0].op == "ttng.arrive_barrier_named"


def test_counts_that_differ() -> None:
    finding = check(with_threads(operations("wait")[0], 384)).findings[0]
    assert finding.kind == "barrier-count"
    assert "is used with 256 threads, and in the same turn with 384" in finding.message


@pytest.mark.parametrize(("threads", "what"), [(100, "no whole warps"), (0, "no whole warps")])
def test_counts_that_are_none_of_warps(threads: int, what: str) -> None:
    finding = check(with_threads(operations("wait")[0], threads)).findings[-1]
    assert (finding.kind, what in finding.message) == ("barrier-count", True)


def test_there_are_sixteen() -> None:
    finding = check(ttgir().replace(f"constant {FULL} : i32", "constant 16 : i32")).findings[0]
    assert finding.kind == "barrier-count"
    assert "there are 16, from 0 on" in finding.message


def test_a_barrier_that_is_used_for_both_ways() -> None:
    """Without a second one, an arrival for the next turn may come before this one is over."""
    report = check(ttgir().replace(f"constant {EMPTY} : i32", f"constant {FULL} : i32"))
    assert report.findings


def test_an_arrival_before_the_write_that_it_reports_is_a_race() -> None:
    early = [m for m in mutants(ttgir()) if (m.kind, m.op[5:11]) == (MutantKind.MOVE, "arrive")]
    for mutant in early:
        assert "race-smem" in {finding.kind for finding in check(mutant.text).findings}
    assert early


def test_no_mutant_is_missed() -> None:
    result = score(ttgir(), arguments, (1,))
    assert {mutant.op for mutant in result.mutants} >= {
        "ttng.arrive_barrier_named", "ttng.wait_barrier_named",
    }  # fmt: skip
    assert result.missed == ()
    named = [mutant for mutant in result.redundant if mutant.op.endswith("_named")]
    assert named == []
