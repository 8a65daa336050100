"""Numbers of the portable backward pass that follow from compiles alone; nothing is run on a GPU.

`python -m benchmarks.backward_portable` prints what docs/backward_proof.md shows: registers, spills
and issue slots per score of each kernel at head_dim 128 in bfloat16, beside FlexAttention's; with
`--time` how long a cold compile of both passes takes beside one of the forward pass alone.

A turn of a loop over full tiles is counted: the instructions of all warps, by the scores of a tile.
FlexAttention's figures are those of its Triton backend, torch 2.13.0 with Triton 3.9.0, in the
configuration that inductor takes, counted in the same way: full blocks, causal.
"""

from __future__ import annotations

import os
import resource
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

from flash4gen.build.sass.analyse import analyse_listings
from flash4gen.build.sass.kinds import Kind
from flash4gen.build.sass.listing import read_listings
from flash4gen.diagnostics import Findings
from flash4gen.driver import check_spec, plan_spec
from flash4gen.driver.build import Run, build_plan
from flash4gen.schedule.backward.model import as_loops

if TYPE_CHECKING:
    from flash4gen.build.artefact import Artefact
    from flash4gen.driver.build import Built
    from flash4gen.schedule.backward.model import LoopShape

SPEC = """\
attention trained {{
    dtype    = bf16
    heads    = 16
    kv_heads = {kv_heads}
    head_dim = 128
    mask     = causal(align = end)
    passes   = {passes}
    deterministic = {ordered}
    schedule {{ family = portable }}
}}
"""
SHARE = 0.7
"""Of FlexAttention's slots, what ours may need at most."""

LOOPS = ("_query_gradient_kernel", "_key_gradient_kernel")
"""The kernels that recompute scores; together they make a backward pass, or the second alone does.
"""


@dataclass(frozen=True, slots=True)
class Rival:
    """FlexAttention's slots per score for a target: the loop of dq, and that of dk and dv."""

    target: str
    queries: float
    keys: float

    @property
    def total(self) -> float:
        """Of a pass."""
        return self.queries + self.keys


H100, B200 = Rival("h100", 11.8, 15.7), Rival("b200", 8.2, 12.4)
RIVALS = (H100, B200)
WARP = 32
"""Threads of a warp."""

ROUNDS = 3
MOST_TIME = 2.0
"""Times the cold compile of the forward pass alone that both passes may take."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A backward pass whose instructions are counted.

    Attributes:
        rival: FlexAttention's, for the same target.
        kv_heads: heads of keys and values: as many as of queries, or a quarter.
        deterministic: whether its sums have an order: no kernel adds in memory.
    """

    rival: Rival
    kv_heads: int
    deterministic: bool = False

    @property
    def text(self) -> str:
        """What it is."""
        order = ", deterministic" if self.deterministic else ""
        return f"{self.rival.target}, {self.kv_heads} heads of keys{order}"


COUNTED = (
    Counted(H100, 16),
    Counted(H100, 16, deterministic=True),
    Counted(H100, 4),
    Counted(B200, 16),
    Counted(B200, 4),
)


def built(one: Counted, folder: Path) -> Built:
    """Compile the module of a target."""
    spec = folder / "trained.attn"
    ordered = f"{one.deterministic}".lower()
    text = SPEC.format(passes="forward, backward", kv_heads=one.kv_heads, ordered=ordered)
    spec.write_text(text, encoding="utf-8")
    target = one.rival.target
    plans, problems = plan_spec(check_spec(spec), [target])
    if not plans:
        raise SystemExit(f"{target}: {problems[0].message}")
    findings = Findings()
    found = build_plan(plans[0], Run(folder, (), lambda _: None), folder / target, findings)
    if found is None:
        raise SystemExit(f"{target}: {findings.in_order()[0].message}")
    return found


def loops(found: Built) -> dict[str, tuple[LoopShape, float]]:
    """Return the shape and the issue slots per score of each kernel that recomputes scores."""
    choice = found.plan.choice.backward
    assert choice is not None
    schedule = as_loops(choice.schedule)
    shapes = dict(zip(LOOPS, (schedule.queries, schedule.keys), strict=True))
    return {
        kernel.kernel: (shape, slots(kernel, shape))
        for kernel in found.artefact.backward
        if (shape := shapes.get(kernel.kernel)) is not None
    }


def slots(kernel: Artefact, shape: LoopShape) -> float:
    """Return the issue slots per score of a kernel's loop over tiles that need no mask.

    By the scores that a tile has, not by those that threads compute: with wgmma and fewer rows than
    16 for each warp, some compute the same ones.
    """
    loops = analyse_listings(read_listings(kernel.sass)).loops
    turns = [loop.instructions for loop in loops if Kind.EXP2 in dict(loop.histogram)]
    threads = shape.warps * WARP
    return min(turns, default=float("nan")) * threads / (shape.tile_q * shape.tile_k)


def slots_table(folder: Path) -> tuple[Table, bool]:
    """Return the table of all targets, and whether nothing spills and every limit is kept."""
    names = "of", "kernel", "shape", "registers", "spills", "slots", "Flex", "share", ""
    shown = Table(*names)
    kept = True
    for one in COUNTED:
        found = built(one, folder)
        counted = loops(found)
        theirs = dict(zip(LOOPS, (one.rival.queries, one.rival.keys), strict=True))
        for kernel in (found.artefact, *found.artefact.backward):
            facts = kernel.facts
            spills = facts.spill_stores + facts.spill_loads
            kept &= spills == 0
            row = [one.text, kernel.kernel, "", f"{facts.registers}", f"{spills}"]
            if kernel.kernel in counted:
                shape, own = counted[kernel.kernel]
                row[2] = shape.text
                row += [f"{own:.2f}", f"{theirs[kernel.kernel]}" if len(counted) > 1 else ""]
            shown.add_row(*row)
        total = sum(own for _, own in counted.values())
        share = total / one.rival.total
        kept &= share <= SHARE
        verdict = f"≤ {SHARE} {'kept' if share <= SHARE else 'broken'}"
        row = [one.text, "all scores", "", "", "", f"{total:.2f}"]
        shown.add_row(*row, f"{one.rival.total:.1f}", f"{share:.2f}", verdict)
    return shown, kept


def cold_seconds(target: str, passes: str) -> tuple[float, float]:
    """Return seconds of `flash4gen compile`, a fresh process with an empty cache.

    From its begin to its end, and of processor time, that of ptxas and other children included.
    """
    with tempfile.TemporaryDirectory(prefix="flash4gen-cold-") as name:
        folder = Path(name)
        spec = folder / "trained.attn"
        spec.write_text(SPEC.format(passes=passes, kv_heads=16, ordered="false"), encoding="utf-8")
        command = [sys.executable, "-m", "flash4gen", "compile", str(spec), "--target", target]
        command += ["--out", str(folder / "out"), "--no-validate"]
        environment = os.environ | {"TRITON_CACHE_DIR": str(folder / "cache")}
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def time_table() -> tuple[Table, bool]:
    """Return the table of cold compiles, taken in turn, and whether the limit is kept."""
    shown = Table("target", "what", "forward", "forward and backward", "times", "limit")
    kept = True
    for rival in RIVALS:
        rounds = [
            [cold_seconds(rival.target, passes) for passes in ("forward", "forward, backward")]
            for _ in range(ROUNDS)
        ]
        for at, what in enumerate(("from begin to end", "of processors")):
            alone, both = (median(one[of][at] for one in rounds) for of in (0, 1))
            row = [rival.target, what, f"{alone:.1f} s", f"{both:.1f} s", f"{both / alone:.2f}"]
            shown.add_row(*row, "" if at else f"≤ {MOST_TIME}")
            kept &= bool(at) or both <= MOST_TIME * alone
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    shown.caption = f"{os.cpu_count()} cores, load {load}; median of {ROUNDS}"
    return shown, kept


def main(arguments: list[str]) -> int:
    """Print the tables; 1 if a limit is not kept."""
    console = Console(width=140)
    if "--time" in arguments:
        shown, kept = time_table()
    else:
        with tempfile.TemporaryDirectory(prefix="flash4gen-backward-") as folder:
            shown, kept = slots_table(Path(folder))
    console.print(shown)
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
