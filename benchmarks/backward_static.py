"""Issue slots per score, and spills, of the backward pipeline's compute loops, read from cubins.

`python -m benchmarks.backward_static` compiles a few variants and prints a row for each loop with
what it may cost; no register may be spilled there, and where a role rests, nowhere in the kernel.
A turn makes a weight and a gradient of each
score, so that two packed conversions stand for one of them; each compute role has half of a step's
scores.

FlashAttention-4's figures are those of its own backward kernel for sm_100, bf16, d = 128: 8.5 slots
without a mask, 9.0 with a causal one, 24.7 with a softcap, counted in the same way. Where tensors
are read there is none, and the limit is what was measured.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from flash4gen.build.sass.analyse import analyse_sass
from flash4gen.build.sass.model import Role
from flash4gen.diagnostics import Findings
from flash4gen.driver import check_spec, plan_spec
from flash4gen.driver.build import Run, build_once
from flash4gen.schedule.backward.pipeline.model import PipelineSchedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.build.artefact import Artefact

SPEC = """\
attention {name} {{
    dtype    = bf16
    heads    = 4
    kv_heads = 2
    head_dim = {head_dim}
    {inputs}
    score    = {score}
    mask     = {mask}
    passes   = forward, backward
    deterministic = {deterministic}
    lengths  = {lengths}
    weights  = {weights}
    schedule {{ gradient_ctas = {ctas} }}
}}
"""
KERNEL = "_gradient_kernel"


@dataclass(frozen=True, slots=True)
class Counted:
    """One variant, and what a score may cost in the loop without mask code and in that with it."""

    name: str
    score: str
    mask: str
    head_dim: int | str
    plain: float
    masked: float
    ctas: int = 1
    deterministic: str = "false"
    inputs: str = ""
    lengths: str = "any"
    weights: str = "softmax"


CAUSAL = "causal(align = end)"
SLOPES = "input slopes : f32[heads]"
DOCUMENTS = "input docs : i32[batch, seq_k]"
SLOPED = "s + slopes[h] * (k - q_end)"
ALIKE = f"{CAUSAL} and docs[b, q_end] == docs[b, k]"
COUNTED = (
    Counted("causal", "s", CAUSAL, 128, 8.5, 9.0),
    Counted("full", "s", "true", 128, 8.5, 9.0),
    Counted("softcap", "softcap(s, 30)", CAUSAL, 128, 14.0, 14.0),
    Counted("causal_64", "s", CAUSAL, 64, 8.5, 9.0),
    Counted("causal_192", "s", CAUSAL, "192 / 128", 8.5, 9.0),
    Counted("causal_pair", "s", CAUSAL, 128, 8.5, 9.0, ctas=2),
    Counted("full_pair", "s", "true", 128, 8.5, 9.0, ctas=2),
    Counted("causal_64_pair", "s", CAUSAL, 64, 8.5, 9.0, ctas=2),
    Counted("causal_192_pair", "s", CAUSAL, "192 / 128", 8.5, 9.0, ctas=2),
    Counted("full_192_pair", "s", "true", "192 / 128", 8.5, 9.0, ctas=2),
    Counted("causal_in_turns", "s", CAUSAL, 128, 8.5, 9.0, deterministic="true"),
    Counted("causal_192_in_turns", "s", CAUSAL, "192 / 128", 8.5, 9.0, deterministic="true"),
    Counted("softcap_pair", "softcap(s, 30)", CAUSAL, 128, 14.0, 14.0, ctas=2),
    Counted("softcap_64_pair", "softcap(s, 30)", CAUSAL, 64, 14.0, 14.0, ctas=2),
    Counted("softcap_192_pair", "softcap(s, 30)", CAUSAL, "192 / 128", 14.0, 14.0, ctas=2),
    Counted("slopes_pair", SLOPED, CAUSAL, 128, 13.0, 14.6, ctas=2, inputs=SLOPES),
    Counted("documents_pair", "s", ALIKE, 128, 12.1, 12.1, ctas=2, inputs=DOCUMENTS),
    Counted("both_pair", SLOPED, ALIKE, 128, 19.2, 19.2, ctas=2, inputs=f"{SLOPES}\n{DOCUMENTS}"),
    Counted("causal_pair_in_turns", "s", CAUSAL, 128, 8.5, 9.0, ctas=2, deterministic="true"),
    Counted("causal_packed", "s", CAUSAL, 128, 8.5, 9.0, lengths="packed"),
    Counted("causal_192_packed", "s", CAUSAL, "192 / 128", 8.5, 9.0, lengths="packed"),
    Counted("sigmoid", "s - 3", CAUSAL, 128, 8.5, 11.0, weights="sigmoid"),
    Counted("sigmoid_192", "s - 3", CAUSAL, "192 / 128", 8.5, 11.0, weights="sigmoid"),
    Counted("sigmoid_pair", "s - 3", CAUSAL, 128, 8.5, 11.0, ctas=2, weights="sigmoid"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One loop of the compute warps: slots per score, spills of a turn, and of the whole kernel."""

    masked: bool
    slots: float
    spills: int
    everywhere: int


def loops(artefact: Artefact) -> Iterator[Measured]:
    """Yield the innermost loops of the compute warps, one of each kind."""
    kernel = next(one for one in artefact.backward if one.kernel == KERNEL)
    everywhere = kernel.facts.spill_stores + kernel.facts.spill_loads
    seen = set()
    for loop in analyse_sass(kernel.sass).main_loops(Role.SOFTMAX):
        if loop.masked not in seen:
            seen.add(loop.masked)
            slots = 2 * loop.instructions / loop.elements
            yield Measured(loop.masked, slots, loop.spills, everywhere)


def compiled(one: Counted, target: str, folder: Path) -> tuple[Artefact, bool]:
    """Compile a variant for a target; also say whether a role of its schedule rests."""
    spec = folder / f"{one.name}.attn"
    text = SPEC.format(**asdict(one))
    spec.write_text(text, encoding="utf-8")
    plans, problems = plan_spec(check_spec(spec), [target])
    if not plans:
        raise SystemExit(f"{one.name} for {target}: {problems[0].message}")
    findings = Findings()
    built = build_once(plans[0], Run(folder, (), lambda _: None), folder / target, findings)
    if built is None:
        raise SystemExit(f"{one.name} for {target}: {findings.in_order()[0].message}")
    backward = plans[0].choice.backward
    schedule = None if backward is None else backward.schedule
    return built.artefact, isinstance(schedule, PipelineSchedule) and schedule.first_rests


def main(target: str = "b200") -> int:
    """Print the table; 1 if a limit is not kept."""
    shown = Table("variant", "head_dim", "loop", "slots", "limit", "spills", "in kernel", "")
    kept = True
    with tempfile.TemporaryDirectory(prefix="flash4gen-backward-") as folder:
        for one in COUNTED:
            artefact, rests = compiled(one, target, Path(folder))
            for loop in loops(artefact):
                limit = one.masked if loop.masked else one.plain
                good = loop.slots <= limit and not (loop.spills or (rests and loop.everywhere))
                kept &= good
                shown.add_row(
                    one.name, f"{one.head_dim}", "masked" if loop.masked else "full",
                    f"{loop.slots:.2f}", f"≤ {limit}", f"{loop.spills}", f"{loop.everywhere}",
                    "kept" if good else "broken",
                )  # fmt: skip
    Console(width=100).print(shown)
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
