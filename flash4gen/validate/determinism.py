"""The rung ``determinism``: whether a training step gives the same bits in every run.

Programs of a launch, and warps, copies and tensor cores within a program, have no order on a GPU.
So a step runs several times on the checked machine: programs first to last, last to first and
shuffled, each under another schedule of what is asynchronous. All results are compared bit by bit.
Runs that agree are no proof by themselves where a kernel adds floats in memory that other programs
add to: the order of such sums is open, and the rung says so whatever the runs gave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from flash4gen.validate.blame import Failure
from flash4gen.validate.cases import Case
from flash4gen.validate.certificate import Json, Rung, Status
from flash4gen.validate.execute import one_thread, poisoned_outputs
from flash4gen.validate.gradient_rung import call_of, run_step
from flash4gen.validate.order import broken_promise, unordered
from flash4gen.vgpu import Check, Order, Policy, virtual_gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from torch import Tensor

    from flash4gen.schedule.backward.model import AnyBackwardSchedule
    from flash4gen.validate.subject import Subject

RUNS = (
    Check(policy=Policy.IN_ORDER, order=Order.FIRST_TO_LAST),
    Check(policy=Policy.LAZIEST, order=Order.LAST_TO_FIRST),
    Check(policy=Policy.EAGEREST, order=Order.SHUFFLED, seed=1),
    Check(policy=Policy.RANDOM, order=Order.SHUFFLED, seed=2),
)
"""The first is what the others are compared with."""


def determinism_rung(subject: Subject, module: ModuleType, progress: Callable[[str], None]) -> Rung:
    """Run one training step several times, and compare."""
    choice = subject.choice.backward
    assert choice is not None
    case = repeated_case(choice.schedule)
    runs: list[dict[str, Tensor]] = []
    findings: list[str] = []
    with one_thread():
        for check in RUNS:
            progress(_name(check))
            found, told = _run(subject, module, case, check)
            runs.append(found)
            findings += told
    differing = {name: share for name in runs[0] if (share := _differing(runs, name))}
    return _verdict(subject, case, runs[0], differing, findings)


def repeated_case(schedule: AnyBackwardSchedule) -> Case:
    """Return a case of three tiles of every kind: two numbers have the same sum in any order.

    Lengths are equal, as of most that is trained: under a causal mask all tiles then see a key.
    """
    tile = max(schedule.tile_q, schedule.tile_k)
    return Case(name="repeated", seq_q=5 * tile // 2 + 3, seq_k=5 * tile // 2 + 3)


def unordered_sums(subject: Subject) -> tuple[str, ...]:
    """Return the backward kernels that add floats in global memory, in an order of their own."""
    return unordered(subject.artefact.backward)


def _run(
    subject: Subject, module: ModuleType, case: Case, check: Check
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the results of a step, and what the checks found."""
    call, given = call_of(subject.attention, case)
    with virtual_gpu(subject.hardware.arch, check=check) as gpu, poisoned_outputs():
        (out, second), grads = run_step(subject.attention, module, call, given)
    found = {"out": out, "lse" if subject.attention.normalised else "total": second}
    found |= {f"gradient of {name}": x for name, x in grads.items() if x is not None}
    return found, [str(finding) for report in gpu.reports for finding in report.findings]


def _differing(runs: list[dict[str, Tensor]], name: str) -> int:
    """Return how many elements of a result differ in some run from those of the first."""
    first = _bits(runs[0][name])
    changed = torch.stack([_bits(run[name]) != first for run in runs[1:]])
    return int(changed.any(0).sum())


def _bits(x: Tensor) -> Tensor:
    """Return the elements as integers: NaN is what it was, and 0 is not −0."""
    sizes = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    return x.contiguous().flatten().view(sizes[x.element_size()])


def _name(check: Check) -> str:
    return f"{check.policy.value}, programs {check.order.value}"


def _verdict(
    subject: Subject,
    case: Case,
    results: Mapping[str, Tensor],
    differing: Mapping[str, int],
    findings: list[str],
) -> Rung:
    adding = unordered_sums(subject)
    details: dict[str, Json] = {
        "deterministic": not differing and not adding,
        "compared": "bit by bit",
        "results": list(results),
        "shape": f"{case.batch} x {case.seq_q} x {case.seq_k}",
        "programs": "all of each launch",
        "runs": [_name(check) for check in RUNS],
        "sums in memory of no order": list(adding),
        "elements that differ": dict(differing),
    }
    asked = subject.attention.deterministic
    if findings or (adding and asked) or (differing and not adding):
        reasons = findings + ([broken_promise(adding)] if adding else [])
        reasons += [
            f"{name}: {count} elements differ between orders, and no kernel adds in memory"
            for name, count in ({} if adding else differing).items()
        ]
        details["failures"] = [Failure(reason=reason).to_json() for reason in reasons]
        return Rung("determinism", Status.FAILED, reasons[0], details)
    return Rung("determinism", Status.PASSED, _summary(results, differing, adding), details)


def _summary(
    results: Mapping[str, Tensor], differing: Mapping[str, int], adding: tuple[str, ...]
) -> str:
    if not adding:
        return f"{len(results)} results, the same bits in {len(RUNS)} runs of every order"
    seen = (
        f"{', '.join(differing)} differ" if differing else "these runs agree, which proves nothing"
    )
    return f"not deterministic: {', '.join(adding)} adds in memory in any order; {seen}"
