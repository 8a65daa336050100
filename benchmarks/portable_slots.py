"""Issue slots per score of the portable kernel beside FlexAttention's.

`python -m benchmarks.portable_slots` prints the table of docs/slots.md; pins may follow, which go
into every schedule. Static: kernels are compiled, not run, and one turn of the loop over full key
tiles is counted. Both kernels do products, softmax and rescaling in the same warps, so the whole
loop counts.

FlexAttention's figures are those of its Triton backend, torch 2.13.0 with Triton 3.9.0, in the
configuration that inductor takes (128 × 64, 8 warps), counted in the same way: forward, bf16,
d = 128, full blocks.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from flash4gen.build.sass.analyse import analyse_listings
from flash4gen.build.sass.listing import read_listings
from flash4gen.build.sass.model import Role
from flash4gen.diagnostics import Findings
from flash4gen.driver import check_spec, plan_spec
from flash4gen.driver.build import Run, build_plan
from flash4gen.schedule.text import record_text

if TYPE_CHECKING:
    from flash4gen.build.artefact import Artefact
    from flash4gen.build.sass.model import LoopSass

SPEC = """\
attention {name} {{
    dtype    = bf16
    heads    = 16
    head_dim = 128
    score    = {score}
    schedule {{ family = portable {pins} }}
}}
"""
SHARE = 0.6
"""Of FlexAttention's slots, what ours may need at most."""


@dataclass(frozen=True, slots=True)
class Counted:
    """One kernel, and what its loop over full tiles may cost: ``theirs`` is FlexAttention's."""

    name: str
    score: str
    target: str
    theirs: float
    limit: float


COUNTED = (
    Counted("full", "s", "b200", 12.1, SHARE * 12.1),
    Counted("full", "s", "h100", 13.5, SHARE * 13.5),
    Counted("softcap", "softcap(s, 30)", "b200", 30.5, 12.0),
    Counted("softcap", "softcap(s, 30)", "h100", 30.5, 12.0),
)


def compiled(one: Counted, folder: Path, pins: str = "") -> tuple[Artefact, str]:
    """Compile a kernel; return it and its schedule in words."""
    spec = folder / f"{one.name}.attn"
    spec.write_text(SPEC.format(name=one.name, score=one.score, pins=pins), encoding="utf-8")
    plans, problems = plan_spec(check_spec(spec), [one.target])
    if not plans:
        raise SystemExit(f"{one.name} for {one.target}: {problems[0].message}")
    findings = Findings()
    built = build_plan(plans[0], Run(folder, (), lambda _: None), folder / one.target, findings)
    if built is None:
        raise SystemExit(f"{one.name} for {one.target}: {findings.in_order()[0].message}")
    return built.artefact, record_text(built.plan.choice.schedule)


def full_loop(artefact: Artefact) -> LoopSass:
    """Return the loop over key tiles that no mask touches."""
    kernel = analyse_listings(read_listings(artefact.sass))
    loops = [*kernel.main_loops(Role.FUSED), *kernel.main_loops(Role.SOFTMAX)]
    return min(
        (loop for loop in loops if loop.elements and not loop.masked),
        key=lambda loop: loop.instructions / loop.elements,
    )


def main(pins: str = "") -> int:
    """Print the table; 1 if a limit is not kept. ``pins`` go into every schedule."""
    shown = Table("kernel", "target", "schedule", "slots", "Flex", "share", "limit", "")
    kept = True
    with tempfile.TemporaryDirectory(prefix="flash4gen-slots-") as folder:
        for one in COUNTED:
            artefact, schedule = compiled(one, Path(folder), pins)
            loop = full_loop(artefact)
            slots = loop.instructions / loop.elements
            kept &= slots <= one.limit
            shown.add_row(
                one.name, one.target, schedule, f"{slots:.2f}", f"{one.theirs}",
                f"{slots / one.theirs:.2f}", f"≤ {one.limit:.2f}",
                "kept" if slots <= one.limit else "broken",
            )  # fmt: skip
            for kind, count in sorted(loop.histogram, key=lambda item: -item[1]):
                share = count / loop.elements
                print(f"  {one.name} {one.target}: {kind:<28} {share:.3f}", file=sys.stderr)
    Console(width=130).print(shown)
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
