"""What the concurrency checks cost: `python -m benchmarks.concurrency`.

Processor time of a KV step with every check on, time of a mutation run, and memory of a run and of
one that is ten times as long. All on the warp-specialised attention kernel of the tests, on this
machine. A step takes one thread, so that its processor time is what it lasts on an idle machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.table import Table

from flash4gen.vgpu.check import Policy, check_ttgir, prepare_checked
from flash4gen.vgpu.mutate import MutationScore, score
from tests.vgpu.gluon.case import Case, flat_arguments
from tests.vgpu.gluon.cases_attention import FLASH, FLASH_128, flash_values

if TYPE_CHECKING:
    from collections.abc import Callable

MS_PER_STEP = 5.0
"""Limit of a step of 256 queries and 128 keys of dimension 128, milliseconds."""
MUTATION_SECONDS = 120.0
MEMORY_RATIO = 1.2
STEPS = 16
"""Key tiles of the shorter run."""
REPEATS = 9
"""Runs of each length that a time is taken from."""


def attention(tiles: int) -> Case:
    """Return 256 queries in two tiles, 128 keys a step, dimension 128."""
    return replace(FLASH_128, values=lambda: flash_values(tiles, 128, 128))


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of some work."""
    start = time.process_time()
    work()
    return time.process_time() - start


def milliseconds_per_step(policy: Policy) -> tuple[float, float]:
    """Return the processor time of a step of 256 queries by 128 keys: the least, and the median.

    It is the difference of two lengths, so that start and end do not count. Their runs take turns:
    what else the machine does slows down both alike.
    """
    lengths = (STEPS // 2, 2 * STEPS)
    taken: dict[int, list[float]] = {tiles: [] for tiles in lengths}
    runs = []
    for tiles in lengths:
        case = attention(tiles)
        text = case.text()
        prepare_checked(text)
        runs.append((tiles, text, flat_arguments(text, case.values())))
    for _ in range(REPEATS):
        for tiles, text, given in runs:
            taken[tiles].append(
                seconds(lambda t=text, a=given: check_ttgir(t, a, (1,), policy=policy))  # type: ignore[misc]
            )
    short, long = taken.values()
    many = lengths[1] - lengths[0]
    least, middle = min(long) - min(short), median(long) - median(short)
    return 1e3 * least / many, 1e3 * middle / many


def mutation() -> MutationScore:
    """Run all mutants of the attention kernel at its small shape."""
    return score(FLASH.text(), FLASH.fresh, (1,))


def peak(text: str, tiles: int) -> tuple[int, int]:
    """Return this process's memory before and at most during a run of this length, in bytes.

    The kernel comes compiled, and a short run comes first: what is compared is the run alone.
    """
    check_ttgir(text, flat_arguments(text, attention(2).values()), (1,))
    arguments = flat_arguments(text, attention(tiles).values())
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    check_ttgir(text, arguments, (1,))
    return before, _memory("VmHWM")


def bookkeeping(tiles: int) -> int:
    """Return the most bytes that Python objects take during a run; tensors are not among them."""
    text = attention(STEPS).text()
    arguments = flat_arguments(text, attention(tiles).values())
    prepare_checked(text)
    tracemalloc.start()
    check_ttgir(text, arguments, (1,))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def _memory(field: str) -> int:
    """Return a size of this process as Linux reports it, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def peaks() -> list[tuple[int, int]]:
    """Return memory before and at most, of a run and of one ten times as long."""
    found = []
    text = attention(STEPS).text()
    for tiles in (STEPS, 10 * STEPS):
        command = [sys.executable, "-m", "benchmarks.concurrency", "--peak", str(tiles)]
        result = subprocess.run(command, check=True, capture_output=True, text=True, input=text)
        before, most = json.loads(result.stdout.splitlines()[-1])
        found.append((before, most))
    return found


def main() -> None:
    torch.set_num_threads(1)
    if "--peak" in sys.argv:
        print(json.dumps(peak(sys.stdin.read(), int(sys.argv[-1]))))
        return
    table = Table("number", "measured", "limit", title="Concurrency checks")
    for policy in Policy:
        least, middle = milliseconds_per_step(policy)
        measured = f"{middle:.2f} ms (at least {least:.2f})"
        table.add_row(f"256×128 KV step, {policy}", measured, f"{MS_PER_STEP} ms")
    run = mutation()
    table.add_row("mutation run, one process", f"{run.seconds:.0f} s", f"{MUTATION_SECONDS:.0f} s")
    table.add_row("mutants missed", f"{len(run.missed)} of {len(run.mutants)}", "0")
    (base, short), (base_long, long) = peaks()
    grown = f"{(short - base) / 2**20:.1f} and {(long - base_long) / 2**20:.1f} MiB"
    sizes = f"{short >> 20} and {long >> 20} MiB, grown by {grown}"
    table.add_row("memory, 10× the length", f"{long / short:.2f} ({sizes})", f"{MEMORY_RATIO}")
    few, many = bookkeeping(STEPS), bookkeeping(10 * STEPS)
    sizes = f"{few >> 10} and {many >> 10} KiB"
    table.add_row("bookkeeping, 10× the length", f"{many / few:.2f} ({sizes})", f"{MEMORY_RATIO}")
    Console(width=int(os.environ.get("COLUMNS", "100"))).print(table)


if __name__ == "__main__":
    main()
