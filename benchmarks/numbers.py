"""The project's numbers, as a table of ratios: `make bench`, or `python -m benchmarks.numbers`.

Every number compares two things that run in turn on this machine, several times each; medians are
compared. Seconds of a machine say little, ratios say whether the project keeps what it promises.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.attend import WAYS

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
SPEC = "specs/llama3_8b.attn"
LARGEST = "specs/gemma2_9b_local.attn"

TILES = """\
attention tiles {
    dtype    = fp16
    heads    = 1
    kv_heads = 1
    head_dim = 128
    target   = a100
    schedule { tile_q = 64  tile_k = 64  warps = 4  stages = 2  load = pointer }
}
"""
"""The kernel that both the virtual GPU and Triton's interpreter run."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two things, measured in turn.

    Attributes:
        ours, theirs: what is compared.
        seconds, their_seconds: all runs of each.
        limit: what ours / theirs may be; for a speed-up, what theirs / ours must reach.
        speedup: whether it is one.
    """

    ours: str
    theirs: str
    seconds: list[float]
    their_seconds: list[float]
    limit: float
    speedup: bool = False

    @property
    def ratio(self) -> float:
        """The number that is compared with the limit."""
        ratio = median(self.seconds) / median(self.their_seconds)
        return 1 / ratio if self.speedup else ratio

    @property
    def kept(self) -> bool:
        """Whether the limit is kept."""
        return self.ratio >= self.limit if self.speedup else self.ratio <= self.limit


def in_turn(
    runs: int, ours: Callable[[], list[float]], theirs: Callable[[], list[float]]
) -> tuple[list[float], list[float]]:
    """Run both alternately, so that what else the machine does falls on both."""
    results: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        results[0].extend(ours())
        results[1].extend(theirs())
    return results


def wall(*command: str, **env: str) -> list[float]:
    """Return the wall time of one process."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **env},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return [time.perf_counter() - start]


def checking() -> Comparison:
    """`flash4gen check` of one spec against the import of its two light dependencies."""
    ours = ("-m", "flash4gen", "check", SPEC)
    theirs = ("-c", "import lark, jinja2")
    wall(*ours)  # bytecode and disk
    wall(*theirs)
    times = in_turn(15, lambda: wall(*ours), lambda: wall(*theirs))
    return Comparison("flash4gen check", "import lark, jinja2", *times, limit=3.0)


def compiling(scratch: Path) -> Comparison:
    """A cold compile without proof against the import of torch and Triton."""

    def cold() -> list[float]:
        cache = tempfile.mkdtemp(dir=scratch)
        options = ("--target", "b200", "--no-validate", "-o", f"{cache}/out")
        return wall("-m", "flash4gen", "compile", SPEC, *options, TRITON_CACHE_DIR=cache)

    theirs = ("-c", "import torch, triton")
    wall(*theirs)
    times = in_turn(5, cold, lambda: wall(*theirs))
    return Comparison("flash4gen compile, cold", "import torch, triton", *times, limit=2.5)


def executing(scratch: Path) -> Comparison:
    """The virtual GPU against Triton's interpreter, on the same kernel."""
    spec = scratch / "tiles.attn"
    spec.write_text(TILES, encoding="utf-8")
    wall("-m", "flash4gen", "compile", str(spec), "--no-validate", "-o", str(scratch))
    module = scratch / "a100" / "tiles.py"

    def times(way: str) -> list[float]:
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks.attend", way, str(module), "2"],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return [float(line) for line in ended.stdout.split()]

    ours, theirs = WAYS
    both = in_turn(3, lambda: times(ours), lambda: times(theirs))
    return Comparison("virtual GPU", "Triton's interpreter", *both, limit=3.0, speedup=True)


def peak_memory(scratch: Path) -> int:
    """Return the peak resident memory, in bytes, of compiling and proving the largest spec."""
    script = (
        "import json, resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(json.dumps(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"
    )
    compile_it = ("-m", "flash4gen", "compile", LARGEST, "-o", str(scratch / "proof"))
    ended = subprocess.run(
        [sys.executable, "-c", script, sys.executable, *compile_it],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    kilobytes: int = json.loads(ended.stdout)
    return kilobytes * 1024


def table(comparisons: list[Comparison], memory: int) -> Table:
    """Return the table that is printed."""
    shown = Table(title="Ratios of medians; seconds of this machine, for scale only")
    for name in ("what", "seconds", "against", "seconds", "ratio", "promised", ""):
        shown.add_column(name, justify="right" if name in {"seconds", "ratio"} else "left")
    for item in comparisons:
        shown.add_row(
            item.ours,
            _spread(item.seconds),
            item.theirs,
            _spread(item.their_seconds),
            f"{item.ratio:.2f}×" + (" faster" if item.speedup else ""),
            f"{'≥' if item.speedup else '≤'} {item.limit}×",
            "kept" if item.kept else "broken",
        )
    limit = 2 * 10**9
    shown.add_row(
        "memory of a whole validation", "", "", "", f"{memory / 10**9:.2f} GB", "< 2 GB",
        "kept" if memory < limit else "broken",
    )  # fmt: skip
    return shown


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def main() -> int:
    """Measure everything and print the table; 1 if a promise is broken."""
    with tempfile.TemporaryDirectory(prefix="flash4gen-numbers-") as folder:
        scratch = Path(folder)
        comparisons = [checking(), compiling(scratch), executing(scratch)]
        memory = peak_memory(scratch)
    Console(width=None if sys.stdout.isatty() else 130).print(table(comparisons, memory))
    return int(not all(item.kept for item in comparisons) or memory >= 2 * 10**9)


if __name__ == "__main__":
    sys.exit(main())
