"""The rung ``function``: the compiled kernel, run on the virtual GPU over all cases, is right.

In: a subject and its module. Out: a ``Rung`` that tells every case with its error and its budget.
The rung ``device`` shares all of it but the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.hardware import Backend
from flash4gen.schedule.blackwell.model import BlackwellSchedule, Dispatch
from flash4gen.validate.blame import Failure
from flash4gen.validate.certificate import Json, Rung, Status, number
from flash4gen.validate.execute import (
    PLAIN,
    CaseResult,
    Measure,
    Runner,
    on_virtual_gpu,
    one_thread,
    run_case,
)
from flash4gen.validate.loops import CasePlan, plan_cases
from flash4gen.validate.oracle import exact_products
from flash4gen.validate.tolerance import (
    LSE_RULE,
    OUT_RULE,
    Comparison,
    accuracy_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from torch import Tensor

    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.model import AnySchedule
    from flash4gen.validate.subject import Subject

COLUMNS = (
    "shape: batch x seq_q x seq_k; out, lse: [error, budget] of the kernel, where they come "
    "closest; cpu_out, cpu_lse: of the module's CPU path"
)

EXECUTED = "the TTGIR for this target that was compiled on to the hsaco, on the virtual GPU"
"""What certificates for AMD say that the numbers are from."""

MOST_CRASHES = 3
"""After so many cases without any numbers the rest are not run: they would say the same."""


def function_rung(subject: Subject, module: ModuleType, progress: Callable[[str], None]) -> Rung:
    """Run the module on the virtual GPU and compare it with the oracle.

    Args:
        subject: what is validated.
        module: its module, imported.
        progress: told the name of each case before it runs.
    """
    return run_rung("function", subject, module, function_runner(subject, module), progress)


def measure_of(
    subject: Subject, product: Callable[[Tensor, Tensor], Tensor] = exact_products
) -> Measure:
    """Return how results are compared: what a kernel's own exp2 may add to the error."""
    return Measure(accuracy_of(subject.choice.schedule, subject.attention.dtype), product)


def function_runner(subject: Subject, module: ModuleType) -> Runner:
    """Return what calls a module's function on the virtual GPU."""
    return on_virtual_gpu(
        subject.attention,
        module,
        subject.hardware.arch,
        lambda seq_q: subject.kernel(seq_q).ttgir,
        sampled=_can_be_sampled(subject.choice.schedule),
    )


def _can_be_sampled(schedule: AnySchedule) -> bool:
    """Whether programs of a launch stand for the others; portable ones are cheap enough to run all.

    With cluster launch control, programs take over the work of those that are left out.
    """
    return isinstance(schedule, BlackwellSchedule) and schedule.dispatch is not Dispatch.CLC


def run_rung(
    name: str,
    subject: Subject,
    module: ModuleType,
    runner: Runner,
    progress: Callable[[str], None],
    product: Callable[[Tensor, Tensor], Tensor] = exact_products,
) -> Rung:
    """Run all cases of a subject with a runner and tell what came out as a rung.

    Args:
        name: of the rung.
        subject: what is validated.
        module: its module, imported.
        runner: calls the module's function.
        progress: told the name of each case before it runs.
        product: the matrix product that the working precision has; see ``working_precision``.
    """
    plan = plan_cases(subject.attention, subject.choice.schedule)
    measure = measure_of(subject, product)
    accuracy = measure.accuracy
    with one_thread():
        found = results_of(
            subject.attention, module, subject.rendered.text, plan, runner, progress, measure
        )
        results = tuple(found)
    failures = [failure for result in results for failure in result.failures]
    left = len(plan.cases) - len(results)
    if left:
        failures.append(Failure(reason=f"{left} cases were not run: {MOST_CRASHES} crashed"))
    details: dict[str, Json] = {
        "rule_out": OUT_RULE,
        "rule_lse": LSE_RULE,
        "error_of_exp2": accuracy.weight,
        "rounding_of_largest_weight": accuracy.rounding,
        "columns": COLUMNS,
        "loops": {kind.value: case for kind, case in plan.loops},
        "loops_too_long_to_run": [kind.value for kind in plan.too_long],
        "cases": [_row(result) for result in results],
    }
    if subject.hardware.backend == Backend.HIP and name == "function":
        details["executed"] = EXECUTED
    if failures:
        details["failures"] = [failure.to_json() for failure in failures]
    status = Status.FAILED if failures else Status.PASSED
    return Rung(name, status, _summary(results, plan), details)


def results_of(  # noqa: PLR0913 - two have defaults
    attention: Attention,
    module: ModuleType,
    text: str,
    plan: CasePlan,
    runner: Runner,
    progress: Callable[[str], None] = lambda _: None,
    measure: Measure = PLAIN,
) -> Iterator[CaseResult]:
    """Yield the result of each case, until too many have crashed."""
    crashes = 0
    for case in plan.cases:
        progress(case.name)
        result = run_case(attention, module, text, case, runner, measure=measure)
        yield result
        crashes += result.crashed
        if crashes == MOST_CRASHES:
            return


def _summary(results: tuple[CaseResult, ...], plan: CasePlan) -> str:
    failed = sum(bool(result.failures) for result in results)
    if failed or len(results) < len(plan.cases):
        return f"{failed} of {len(plan.cases)} cases failed"
    worst = max(results, key=_worst_ratio)
    share = f"{100 * _worst_ratio(worst):.0f} %"
    text = f"{len(results)} cases, the worst ({worst.case.name}) uses {share} of its error budget"
    return text + (f"; {len(plan.too_long)} kinds of loops not run" if plan.too_long else "")


def _worst_ratio(result: CaseResult) -> float:
    return max(c.ratio for c in (result.out, result.lse) if c is not None)


def _row(result: CaseResult) -> Json:
    case = result.case
    row: dict[str, Json] = {
        "case": case.name,
        "passed": not result.failures,
        "shape": f"{case.batch} x {case.seq_q} x {case.seq_k}",
        "values": case.values.value,
        "layout": case.layout.value,
    }
    if result.programs:
        row["programs"] = "{} of {}".format(*result.programs)
    comparisons = {
        "out": result.out,
        "lse": result.lse,
        "cpu_out": result.eager_out,
        "cpu_lse": result.eager_lse,
    }
    return row | {name: _numbers(found) for name, found in comparisons.items() if found}


def _numbers(found: Comparison) -> Json:
    return [number(found.error), number(found.budget)]
