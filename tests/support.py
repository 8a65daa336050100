"""Cells of the record of support: every spec of the matrix, compiled and run on a few lengths."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.build.load import load_module
from flash4gen.cli.support import RECORD, Cell, Status, cells_text, read_cells
from flash4gen.diagnostics import Findings
from flash4gen.driver import check_spec, plan_spec
from flash4gen.driver.build import Built, Run, build_plan, render_plan, subject_of
from flash4gen.ir.nodes import DType
from flash4gen.validate.function import function_runner, measure_of, results_of
from flash4gen.validate.gradient_rung import gradient_cases, gradient_result
from flash4gen.validate.loops import CasePlan, plan_cases
from tests.test_matrix import TARGETS, VARIANTS, WIDTHS, spec_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flash4gen.diagnostics import Diagnostic
    from flash4gen.driver import Plan
    from flash4gen.schedule.backward.model import AnyBackwardSchedule

GRADIENTS = "Gradients"
CAUSAL = "mask = causal(align = end)"

TRAINED = {
    name: VARIANTS[name]
    for name in (
        "full", "causal_end", "window", "sink_and_window", "prefix_lm", "per_head", "two_sided",
        "softcap", "alibi", "slopes", "bias", "distances", "temperature", "documents", "sinks",
        "sigmoid_weights", "packed", "norms", "gated", "paged",
    )
} | {
    "dropout": f"dropout = 0.1\n {CAUSAL}",
    "deterministic": f"deterministic = true\n {CAUSAL}",
}  # fmt: skip
"""Specs that are trained with, at head_dim 64."""

TRAINED_WIDTHS = (32, 96, 128, "192 / 128", 256)


def trained_text(body: str, head_dim: str = "64") -> str:
    """Return a spec with both passes, whose heads share keys."""
    fields = f"{body}\n passes = forward, backward"
    return spec_text(fields, heads="4\n kv_heads = 2", head_dim=head_dim, dtype="bf16")


SPECS: dict[str, dict[str, tuple[str, str]]] = {
    "Variants": {
        name: (body, spec_text(body, heads="6\n kv_heads = 2")) for name, body in VARIANTS.items()
    },
    "Head dimensions": {
        str(width): (f"head_dim = {width}", spec_text(CAUSAL, head_dim=str(width), dtype="bf16"))
        for width in (*WIDTHS, "192 / 128", "64 / 512", 512)
    },
    "Element types": {
        str(dtype): (f"dtype = {dtype}", spec_text(CAUSAL, head_dim="64", dtype=str(dtype)))
        for dtype in DType
    },
    GRADIENTS: {
        **{name: (body, trained_text(body)) for name, body in TRAINED.items()},
        **{
            f"head_dim {width}": (f"head_dim = {width}", trained_text(CAUSAL, str(width)))
            for width in TRAINED_WIDTHS
        },
    },
}
"""By section and name: the fields that make the row, and the whole spec."""

KEYS = [(s, n, target) for s, named in SPECS.items() for n in named for target in TARGETS]

CASES = ("one more than a tile", "no keys", "more queries than keys", "three batch entries")
"""Both loops, rows without keys, ends of tiles, several programs; each takes about a second."""


def fields_of(body: str) -> str:
    """Return the fields of a spec on one line."""
    return ", ".join(line.strip() for line in body.splitlines())


def planned(section: str, name: str, target: str, folder: Path) -> Plan | Cell:
    """Return the plan of a cell; where it is refused, the finished cell."""
    body, text = SPECS[section][name]
    spec = folder / "tiny.attn"
    spec.write_text(text, encoding="utf-8")
    cell = Cell(
        section=section, name=name, spec=fields_of(body), target=target, status=Status.REFUSED
    )
    checked = check_spec(spec)
    plans, problems = plan_spec(checked, [target]) if checked.ok else ((), checked.diagnostics)
    return plans[0] if plans else replace(cell, note=_why(problems[0]))


def _why(problem: Diagnostic) -> str:
    """Return the reason of a refusal with the nearest thing that works."""
    return "; ".join((f"{problem.code}: {problem.message}", *problem.notes[:1], *problem.helps[:1]))


def text_digest(plan: Plan, folder: Path) -> str:
    """Return the first digits of the digest of a plan's module."""
    run = Run(folder, (), lambda _: None)
    return render_plan(plan, run).provenance.text[:16]


def found(plan: Plan, section: str, name: str, folder: Path) -> Cell:
    """Compile a plan and run the kernel on a few lengths."""
    findings = Findings()
    built = build_plan(plan, Run(folder, (), lambda _: None, listed=False), folder, findings)
    cell = Cell(
        section=section,
        name=name,
        spec=fields_of(SPECS[section][name][0]),
        target=plan.hardware.name,
        status=Status.FAILED,
        family=plan.choice.schedule.family.value,
        text=text_digest(plan, folder),
    )
    if built is None:
        return replace(cell, note=_why(findings.in_order()[0]))
    choice = built.plan.choice
    backward = None if choice.backward is None else choice.backward.schedule
    family = (backward or choice.schedule).family.value
    if wrong := [*failures(built), *(gradient_failures(built, backward) if backward else ())]:
        return replace(cell, family=family, note=wrong[0])
    kernels = (built.artefact, *built.artefact.backward)
    # What the roles of a warp-specialised kernel were handed may be saved outside their loops.
    spills = [
        kernel.facts.spill_bytes if family == "portable" else kernel.facts.loop_spills
        for kernel in (kernels if family == choice.schedule.family.value else kernels[1:])
    ]
    return replace(cell, family=family, status=Status.PROVEN, spills=sum(spills))


def failures(built: Built) -> Iterator[str]:
    """Yield what is wrong with the results of a module."""
    plan = built.plan
    subject = subject_of(built)
    module = load_module(built.file)
    results = results_of(
        plan.attention,
        module,
        built.rendered.text,
        few_cases(plan),
        function_runner(subject, module),
        measure=measure_of(subject),
    )
    for result in results:
        yield from (failure.reason for failure in result.failures)


def gradient_failures(built: Built, schedule: AnyBackwardSchedule) -> Iterator[str]:
    """Yield what is wrong with the gradients of a module."""
    subject, module = subject_of(built), load_module(built.file)
    for case in gradient_cases(built.plan.attention, schedule):
        if case.name in CASES:
            result = gradient_result(subject, module, case)
            yield from (f"{case.name}: {failure.reason}" for failure in result.failures)


def few_cases(plan: Plan) -> CasePlan:
    """Return some of the cases that a certificate has."""
    whole = plan_cases(plan.attention, plan.choice.schedule)
    kept = tuple(case for case in whole.cases if case.name in CASES)
    # Of one length each, several have become the same as another: then those without their names.
    return replace(whole, cases=kept if len(kept) > 2 else whole.cases[:6])


@contextmanager
def locked_cells(path: Path = RECORD) -> Iterator[dict[tuple[str, str, str], Cell]]:
    """Give the record to change, one process at a time; write it in the order of the matrix."""
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        cells = {cell.key: cell for cell in read_cells(path)}
        yield cells
        file.seek(0)
        file.truncate()
        file.write(cells_text(cells[key] for key in KEYS if key in cells))
