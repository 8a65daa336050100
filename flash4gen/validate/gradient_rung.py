"""The rung ``gradients``: the backward kernels, run on the virtual GPU, are right.

In: a subject with a backward pass and its module. Out: a ``Rung`` that tells every case with the
error and the budget of each gradient. Autograd calls the module's own function, so that what is
proven is what a training step runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flash4gen.ir.nodes import Lengths
from flash4gen.render.gradients import moved_inputs
from flash4gen.render.module import lean
from flash4gen.validate.blame import Failure, blame
from flash4gen.validate.cases import Case, Layout, Values
from flash4gen.validate.certificate import Json, Rung, Status, number
from flash4gen.validate.execute import (
    one_thread,
    poisoned_outputs,
    truth_of,
    without_locations,
)
from flash4gen.validate.function import measure_of
from flash4gen.validate.gradients import (
    Call,
    Upstream,
    reference_gradients,
)
from flash4gen.validate.inputs import make_inputs
from flash4gen.validate.oracle import TORCH_DTYPES
from flash4gen.validate.surrounded import noted_outputs, trained_gradients
from flash4gen.validate.tensors import placed_tensor
from flash4gen.validate.tolerance import (
    FUNCTION_ERROR,
    GROUP,
    Comparison,
    compare,
    output_budget,
)
from flash4gen.vgpu import virtual_gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.backward.model import AnyBackwardSchedule
    from flash4gen.validate.subject import Subject

RULE = (
    "q, k, v: in each 256 numbers max|grad - ref| <= 2 max|base - ref| + 2 max|ref + 0.3 - 0.3 - "
    "ref|; inputs: the same over all numbers, base as it is for several gradients of the results "
    "where they are few, + the error of exp2 of the largest; ref: float64, by autograd of the "
    "formula; base: the same maths in the working precision, from what the forward pass stored; of "
    "q, k, v also with weights off by 2 ulp of the largest lse in base 2, either way: the furthest"
)

PACKED_AXES = 3
"""Of q, k and v: rows of all sequences, heads, columns."""

MOST_DRAWS = 16
"""Gradients of results that the error of the working precision is looked at for, at most."""


@dataclass(frozen=True, slots=True)
class GradientResult:
    """One case: each gradient against the reference, and everything that is wrong."""

    case: Case
    found: dict[str, Comparison]
    failures: tuple[Failure, ...] = ()


def gradient_cases(attention: Attention, schedule: AnyBackwardSchedule) -> tuple[Case, ...]:
    """Return the cases that gradients are computed for: edges of tiles, scores, layouts."""
    tile_q, tile_k = schedule.tile_q, schedule.tile_k
    middle_q, middle_k = tile_q // 2 + 3, tile_k + 5
    cases = [
        Case(name="one query, one key", seq_q=1, seq_k=1),
        Case(name="no keys", seq_q=3, seq_k=0),
        Case(name="no queries", seq_q=0, seq_k=5),
        Case(name="one less than a tile", seq_q=tile_q - 1, seq_k=tile_k - 1),
        Case(name="one more than a tile", seq_q=tile_q + 1, seq_k=tile_k + 1),
        Case(name="several tiles", seq_q=2 * tile_q + 7, seq_k=2 * tile_k + 5),
        Case(name="more queries than keys", seq_q=tile_q + 19, seq_k=tile_k // 2 + 3),
        Case(name="more keys than queries", seq_q=9, seq_k=2 * tile_k + 9),
        Case(name="three batch entries", batch=3, seq_q=5, seq_k=middle_k),
        Case(name="dominant", seq_q=middle_q, seq_k=middle_k, values=Values.DOMINANT),
        Case(name="negative", seq_q=middle_q, seq_k=middle_k, values=Values.NEGATIVE),
        Case(name="heads first", batch=2, seq_q=13, seq_k=middle_k, layout=Layout.HEADS_FIRST),
        Case(name="misaligned", seq_q=13, seq_k=middle_k, layout=Layout.MISALIGNED),
        Case(name="strided", seq_q=13, seq_k=middle_k, layout=Layout.DIM_STRIDED),
    ]
    if attention.lengths is Lengths.EQUAL:
        sizes = {case: max(case.seq_q, case.seq_k) for case in cases if case.seq_q and case.seq_k}
        return tuple(
            Case(
                name=case.name,
                batch=case.batch,
                seq_q=size,
                seq_k=size,
                values=case.values,
                layout=case.layout,
            )
            for case, size in sizes.items()
        )
    return tuple(cases)


def gradients_rung(subject: Subject, module: ModuleType, progress: Callable[[str], None]) -> Rung:
    """Compare the gradients of all cases with the reference."""
    choice = subject.choice.backward
    assert choice is not None
    cases = gradient_cases(subject.attention, choice.schedule)
    results: list[GradientResult] = []
    with one_thread():
        for case in cases:
            progress(case.name)
            results.append(gradient_result(subject, module, case))
    failures = [failure for result in results for failure in result.failures]
    details: dict[str, Json] = {
        "rule": RULE,
        "columns": "of each gradient [error, budget] where they come closest",
        "cases": [_row(result) for result in results],
    }
    if failures:
        details["failures"] = [failure.to_json() for failure in failures]
        failed = sum(bool(result.failures) for result in results)
        return Rung("gradients", Status.FAILED, f"{failed} of {len(cases)} cases failed", details)
    worst = max(it.ratio for result in results for it in result.found.values())
    summary = f"{len(cases)} cases, the worst uses {100 * worst:.0f} % of its error budget"
    return Rung("gradients", Status.PASSED, summary, details)


def gradient_result(subject: Subject, module: ModuleType, case: Case) -> GradientResult:
    """Run one case and compare."""
    attention = subject.attention
    call, given = call_of(attention, case)
    file = subject.path.name
    try:
        with (
            virtual_gpu(subject.hardware.arch) as gpu,
            poisoned_outputs(),
            noted_outputs(module) as unfinished,
        ):
            results, actual = run_step(attention, module, call, given)
    except Exception as error:
        failure = blame(error, file, subject.rendered.text, case.name)
        return GradientResult(case, {}, (failure,))
    reference = reference_gradients(attention, call, given)
    # What out lost when it was rounded is in delta, and the forward pass's to answer for.
    stored = (unfinished[0], results[1]) if unfinished else results
    bases = [trained_gradients(attention, call, stored, given, nudge=by) for by in (0, 1, -1)]
    drawn = _drawn(attention, call, stored, {name: x.numel() for name, x in actual_of(actual)})
    found, problems = {}, list(_forward_problems(subject, case, results))
    for name, grad in actual.items():
        if grad is None:
            problems.append(f"{name} has no gradient")
            continue
        budget = _budget(reference[name], [base[name] for base in bases], drawn.get(name))
        found[name] = compare(grad, reference[name], budget, f"gradient of {name}")
        problems += found[name].problems
    compiled = {without_locations(kernel.ttgir) for kernel in subject.artefact.backward}
    forward = {without_locations(kernel.ttgir) for kernel in subject.artefact.kernels}
    for launch in gpu.launches:
        if without_locations(launch.asm["ttgir"]) not in compiled | forward:
            problems.append(f"launched another {launch.name} than the one that was compiled")
    return GradientResult(
        case, found, tuple(Failure(reason=f"{case.name}: {problem}") for problem in problems)
    )


def _forward_problems(
    subject: Subject, case: Case, results: tuple[Tensor, Tensor]
) -> tuple[str, ...]:
    """Return what is wrong with what the forward pass stored.

    The base of gradients starts from it: a wrong one would widen their budget.
    """
    inputs = make_inputs(subject.attention, case)
    compared = truth_of(subject.attention, inputs, measure_of(subject)).compare(*results)
    return tuple(problem for one in compared for problem in one.problems)


def run_gradients(
    attention: Attention, module: ModuleType, call: Call, given: Upstream
) -> dict[str, Tensor | None]:
    """Call the module's function, and return the gradients that autograd gets from it."""
    return run_step(attention, module, call, given)[1]


def run_step(
    attention: Attention, module: ModuleType, call: Call, given: Upstream
) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor | None]]:
    """Return the results of the module's function as well, and the gradients by name."""
    moving = ("q", "k", "v", *(tensor.name for tensor in moved_inputs(lean(attention))))
    leaves = {name: x.detach().requires_grad_(name in moving) for name, x in call.by_name.items()}
    q, k, v, *_ = leaves.values()
    tensors = {name: leaves[name] for name in call.tensors}
    out, second = getattr(module, attention.name)(q, k, v, **tensors)
    found = torch.autograd.grad(
        (out, second),
        [leaves[name] for name in moving],
        (given.out, given.second),
        allow_unused=True,
    )
    return (out.detach(), second.detach()), dict(zip(moving, found, strict=True))


def call_of(attention: Attention, case: Case) -> tuple[Call, Upstream]:
    """Return the arguments of a case, and gradients of its results in the same kind of layout."""
    made = make_inputs(attention, case)
    random = torch.Generator().manual_seed(case.seed + 2)
    rows = made.q.shape[:-2]
    grad = torch.randn(*rows, attention.heads, attention.value_dim, generator=random)
    second = torch.randn(*rows[:-1], attention.heads, rows[-1], generator=random)
    out, _ = placed_tensor(grad.to(TORCH_DTYPES[attention.dtype]), case.layout)
    return Call(made.q, made.k, made.v, made.tensors), Upstream(out, second)


def actual_of(found: dict[str, Tensor | None]) -> list[tuple[str, Tensor]]:
    """Return the gradients that there are."""
    return [(name, grad) for name, grad in found.items() if grad is not None]


def _drawn(
    attention: Attention, call: Call, results: tuple[Tensor, Tensor], sizes: dict[str, int]
) -> dict[str, float]:
    """Return the error of the working precision for each input, as a sample of roundings shows it.

    A tensor of few numbers is a poor sample: gradients of the results are drawn until there are
    as many numbers as the rule for outputs takes together.
    """
    inputs = {name: size for name, size in sizes.items() if name not in ("q", "k", "v")}
    fewest = min((size for size in inputs.values() if size), default=GROUP)
    worst = dict.fromkeys(inputs, 0.0)
    random = torch.Generator().manual_seed(call.q.shape[-3])
    for _ in range(min(MOST_DRAWS, GROUP // fewest) if inputs and call.q.numel() else 0):
        out = torch.randn(results[0].shape, generator=random)
        second = torch.randn(results[1].shape, generator=random)
        given = Upstream(out.to(call.q.dtype), second)
        reference = reference_gradients(attention, call, given)
        base = trained_gradients(attention, call, results, given)
        for name in inputs:
            distance = (base[name].double() - reference[name]).abs()
            worst[name] = max(worst[name], distance.max().item() if distance.numel() else 0.0)
    return worst


def _budget(reference: Tensor, bases: Sequence[Tensor], drawn: float | None) -> Tensor:
    """Return the budget of a gradient: by groups of neighbouring rows, or over all numbers."""
    if drawn is None and reference.dim() == PACKED_AXES:
        return output_budget(reference[None], *(base[None] for base in bases))[0]
    if drawn is None:
        return output_budget(reference, *bases)
    flat = reference.reshape(1, -1, 1, 1), bases[0].reshape(1, -1, 1, 1)
    if not flat[0].numel():
        return torch.zeros_like(reference)
    # Each weight comes from an exp2 with an error of its own, as in the LSE's budget.
    allowance = FUNCTION_ERROR * reference.abs().max()
    return (output_budget(*flat).max().clamp(min=2 * drawn) + allowance).expand_as(reference)


def _row(result: GradientResult) -> Json:
    case = result.case
    row: dict[str, Json] = {
        "case": case.name,
        "passed": not result.failures,
        "shape": f"{case.batch} x {case.seq_q} x {case.seq_k}",
        "values": case.values.value,
        "layout": case.layout.value,
    }
    return row | {name: [number(it.error), number(it.budget)] for name, it in result.found.items()}
