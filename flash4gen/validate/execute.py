"""Runs one case: the module's own function on the virtual GPU or on a real one, and its CPU path.

In: a loaded module and a case. Out: a ``CaseResult``. Outputs start as NaN, inputs are looked at
again afterwards, and a launch must really have happened: the CPU path must not stand in for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from flash4gen.ir.core import is_surrounded
from flash4gen.validate.blame import Failure, blame
from flash4gen.validate.inputs import Inputs, make_inputs
from flash4gen.validate.oracle import (
    TORCH_DTYPES,
    WEIGHT_SCALES,
    attention_reference,
    exact_products,
    rounded_at,
)
from flash4gen.validate.packed import Sequence, apart, longest_keys, mean_queries
from flash4gen.validate.paged import gathered
from flash4gen.validate.tolerance import (
    EXACT,
    Accuracy,
    Comparison,
    compare,
    lse_allowance,
    lse_budget,
    output_budget,
)
from flash4gen.vgpu import virtual_gpu

if TYPE_CHECKING:
    from types import ModuleType

    from flash4gen.ir.hardware import Arch
    from flash4gen.ir.nodes import Attention
    from flash4gen.validate.cases import Case

Outputs: TypeAlias = "tuple[Tensor, Tensor]"


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run gave.

    Attributes:
        out, lse: on the CPU.
        problems: what else is wrong with it.
        programs: how many of the launch's programs were executed, and how many it has; None if all.
        idle: how many of these may have no rows.
    """

    out: Tensor
    lse: Tensor
    problems: tuple[str, ...] = ()
    programs: tuple[int, int] | None = None
    idle: int = 0

    def completed(self, out: Tensor, lse: Tensor) -> Ran:
        """Return it with these numbers in the rows of programs that were not executed."""
        if self.programs is None:
            return self
        seen = ~self.lse.isnan()
        problems = self.problems
        if int(seen.sum()) < self.programs[0] - self.idle:
            problems += (f"{self.programs[0]} programs stored {int(seen.sum())} rows",)
        rows = seen.transpose(-1, -2).unsqueeze(-1)
        return Ran(
            torch.where(rows, self.out, out.to(self.out.dtype)),
            torch.where(seen, self.lse, lse.float()),
            problems,
            self.programs,
            self.idle,
        )


_MOST_STEPS = 96
"""Key tiles of all programs of a case together, about, that a sample goes through."""

_LEAST_PROGRAMS = 8
_KEYS = 128

Runner: TypeAlias = Callable[[Inputs], Ran]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One case, run.

    Attributes:
        case: what ran.
        programs: how many of how many programs were executed; None if all.
        out: the output against the reference.
        lse: the LSE against the reference.
        eager_out: the same of the module's CPU path.
        eager_lse: the same.
        failures: everything that is wrong; empty if the case passed.
    """

    case: Case
    programs: tuple[int, int] | None = None
    out: Comparison | None = None
    lse: Comparison | None = None
    eager_out: Comparison | None = None
    eager_lse: Comparison | None = None
    failures: tuple[Failure, ...] = ()

    @property
    def crashed(self) -> bool:
        """Whether there are no numbers to compare."""
        return self.out is None


@dataclass(frozen=True, slots=True)
class Truth:
    """The float64 reference of a case, and the budgets that follow from it."""

    out: Tensor
    lse: Tensor
    out_budget: Tensor
    lse_budget: Tensor

    def compare(self, out: Tensor, lse: Tensor) -> tuple[Comparison, Comparison]:
        """Compare a pair of results with it."""
        return (
            compare(out, self.out, self.out_budget, "out"),
            compare(lse, self.lse, self.lse_budget, "lse"),
        )


@dataclass(frozen=True, slots=True)
class Measure:
    """What results are measured by.

    Attributes:
        accuracy: of the kernel's techniques.
        product: the matrix product that the working precision has, of 16-bit matrices to float32.
    """

    accuracy: Accuracy = EXACT
    product: Callable[[Tensor, Tensor], Tensor] = exact_products


PLAIN = Measure()
"""For exact techniques, on exact products."""


def truth_of(attention: Attention, inputs: Inputs, measure: Measure = PLAIN) -> Truth:
    """Compute the reference and the budgets of one set of inputs."""
    q, k, v = inputs.q, inputs.k, inputs.v
    if not attention.length_tensors:
        return _truth(attention, Sequence(0, q, k, v), inputs.tensors, measure)
    keys = gathered if attention.paged else apart
    found = [
        _truth(attention, each, inputs.tensors, measure) for each in keys(q, k, v, inputs.tensors)
    ]
    return _together(attention, found) if attention.packed else _stacked(attention, found, q)


def _stacked(attention: Attention, found: list[Truth], q: Tensor) -> Truth:
    """Return the truth of a batch whose entries are known one by one; ``q`` shows its shape."""
    out = torch.empty(0, q.shape[1], attention.heads, attention.value_dim, dtype=torch.float64)
    lse = out[..., 0].transpose(1, 2)
    return Truth(
        torch.cat([out, *(each.out for each in found)]),
        torch.cat([lse, *(each.lse for each in found)]),
        torch.cat([out, *(each.out_budget for each in found)]),
        torch.cat([lse, *(each.lse_budget.expand_as(each.lse) for each in found)]),
    )


def _together(attention: Attention, found: list[Truth]) -> Truth:
    """Return the truth of packed sequences that are known one by one."""
    nothing = torch.empty(0, attention.heads, attention.value_dim, dtype=torch.float64)
    return Truth(
        torch.cat([nothing, *(each.out[0] for each in found)]),
        torch.cat([nothing[..., 0].T, *(each.lse[0] for each in found)], dim=1),
        torch.cat([nothing, *(each.out_budget[0] for each in found)]),
        torch.cat(
            [nothing[..., 0].T, *(each.lse_budget.expand_as(each.lse)[0] for each in found)], dim=1
        ),
    )


def _truth(
    attention: Attention, given: Sequence, tensors: Mapping[str, Tensor], measure: Measure
) -> Truth:
    """Compute the same of one batch, or of one sequence of packed ones."""
    q, k, v, entry = given.q, given.k, given.v, given.entry
    accuracy = measure.accuracy
    out, lse = attention_reference(attention, q, k, v, tensors, entry=entry)
    scales = WEIGHT_SCALES[attention.dtype]
    bases, base_lse = rounded_at(attention, q, k, v, scales, measure.product, tensors, entry=entry)
    allowance = lse_allowance(attention, q, k, lse, accuracy, tensors, entry=entry)
    budget = output_budget(out, *bases)
    if by_design := accuracy.weight + accuracy.rounding:
        spread, _ = attention_reference(attention, q, k, v.double().abs(), tensors, entry=entry)
        budget = budget + by_design * spread.nan_to_num()
    return Truth(out, lse, budget, lse_budget(lse, base_lse, allowance))


def run_case(
    attention: Attention,
    module: ModuleType,
    text: str,
    case: Case,
    runner: Runner,
    *,
    measure: Measure = PLAIN,
) -> CaseResult:
    """Run one case and its twin on the module's CPU path, and compare both with the reference.

    Args:
        attention: what the module means.
        module: the module, imported.
        text: its text, to find the places of failures.
        case: what to run.
        runner: calls the module's function; see ``on_virtual_gpu`` and ``on_device``.
        measure: what its results are measured by.
    """
    inputs = make_inputs(attention, case)
    file = (module.__file__ or "").replace("\\", "/").rpartition("/")[2]
    try:
        ran = runner(inputs)
        eager: Outputs = _on_cpu(attention, module, inputs)
    except Exception as error:
        return CaseResult(case=case, failures=(blame(error, file, text, case.name),))
    truth = truth_of(attention, inputs, measure)
    problems = list(_form(attention, inputs, (ran.out, ran.lse)))
    if not problems:
        ran = ran.completed(truth.out, truth.lse)
    problems += ran.problems
    problems += [f"CPU path: {problem}" for problem in _form(attention, inputs, eager)]
    if not inputs.untouched:
        problems.append("an input was written to")
    out, lse = truth.compare(ran.out, ran.lse)
    eager_out, eager_lse = truth.compare(*eager)
    problems += [*out.problems, *lse.problems]
    problems += [f"CPU path: {it}" for it in (*eager_out.problems, *eager_lse.problems)]
    return CaseResult(
        case=case,
        programs=ran.programs,
        out=out,
        lse=lse,
        eager_out=eager_out,
        eager_lse=eager_lse,
        failures=tuple(Failure(reason=f"{case.name}: {problem}") for problem in problems),
    )


def _on_cpu(attention: Attention, module: ModuleType, inputs: Inputs) -> Outputs:
    """Return what the module's CPU path computes; around it may be more that PyTorch does."""
    function = getattr(module, attention.name) if is_surrounded(attention) else module._eager
    found: Outputs = function(inputs.q, inputs.k, inputs.v, **inputs.tensors)
    return found


def on_virtual_gpu(
    attention: Attention,
    module: ModuleType,
    arch: Arch,
    compiled: Callable[[int], str] | None = None,
    *,
    sampled: bool = False,
) -> Runner:
    """Return a runner that calls the module's function with the virtual GPU active.

    Args:
        attention: for the function's name.
        module: the module, imported.
        arch: of the target, as Triton writes it.
        compiled: gives the TTGIR of the kernel for a number of queries; a launch of another one is
            a problem.
        sampled: execute some programs of long launches only.
    """

    def run(inputs: Inputs) -> Ran:
        packed = attention.packed
        keys = longest_keys(inputs.tensors) if packed else inputs.k.shape[1]
        queries = mean_queries(inputs.q, inputs.tensors) if packed else inputs.q.shape[1]
        most = _affordable(keys) if sampled else None
        with virtual_gpu(arch, most=most) as gpu, poisoned_outputs():
            function = getattr(module, attention.name)
            out, lse = function(inputs.q, inputs.k, inputs.v, **inputs.tensors)
        problems = []
        if bool(gpu.launches) not in _launches(attention, inputs):
            problems.append(f"{len(gpu.launches)} launches")
        if compiled is not None and any(
            without_locations(launch.asm["ttgir"]) != without_locations(compiled(queries))
            for launch in gpu.launches
        ):
            problems.append("launched another kernel than the one that was compiled")
        programs = math.prod(gpu.launches[-1].grid) if gpu.launches else 0
        part = (most, programs) if most is not None and most < programs else None
        # Of packed sequences a head has more work tiles than some lengths fill, one a sequence.
        empty = attention.heads * len(inputs.tensors["cu_seqlens_q"]) if packed else 0
        return Ran(out, lse, tuple(problems), part, empty)

    return run


def _affordable(seq_k: int) -> int:
    """Return how many programs of a case are executed, where not all of them need to be.

    All programs run the same code. A case of one key tile runs whole, however many heads there
    are; of longer ones a sample does, among it always the first and the last.
    """
    return max(_LEAST_PROGRAMS, _MOST_STEPS // max(1, -(-seq_k // _KEYS)))


def on_device(attention: Attention, module: ModuleType) -> Runner:
    """Return a runner that copies the inputs' storages to the CUDA device and calls there."""

    def run(inputs: Inputs) -> Ran:
        moved = [storage.cuda() for storage in inputs.storages]
        views = [same_view(x, inputs.storages, moved) for x in (inputs.q, inputs.k, inputs.v)]
        tensors = {name: same_view(x, inputs.storages, moved) for name, x in inputs.tensors.items()}
        with poisoned_outputs():
            out, lse = getattr(module, attention.name)(*views, **tensors)
        pairs = zip(moved, inputs.copies, strict=True)
        intact = all(torch.equal(a.cpu().view(torch.uint8), b.view(torch.uint8)) for a, b in pairs)
        return Ran(out.cpu(), lse.cpu(), () if intact else ("an input was written to",))

    return run


@contextmanager
def poisoned_outputs() -> Iterator[None]:
    """Let torch fill what it allocates uninitialised with NaN: an element not stored shows."""
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    fills = settings.fill_uninitialized_memory
    # That an operation has no deterministic form is no concern here: warn_only, not an error.
    # The public torch.use_deterministic_algorithms does the same and imports the whole of Inductor
    # for it, which takes longer than the proof.
    torch._C._set_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = True
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = fills
        torch._C._set_deterministic_algorithms(before, warn_only=warns)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: sums then come out alike on machines of any size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def without_locations(ttgir: str) -> str:
    """Return TTGIR without its ``loc(...)`` marks.

    Triton's cache may hold a kernel that was compiled from the same text in another file.
    """
    return re.sub(r"(?m)^#loc.*\n| loc\(.*$", "", ttgir)


def _launches(attention: Attention, inputs: Inputs) -> tuple[bool, ...]:
    """Whether the call has anything to launch a kernel for; packed queries without keys may do."""
    if attention.packed and inputs.q.numel() and not inputs.k.numel():
        return (True, False)
    return (inputs.q.numel() > 0 and inputs.k.numel() > 0,)


def same_view(x: Tensor, storages: tuple[Tensor, ...], moved: list[Tensor]) -> Tensor:
    """Return the part of the moved storages that x is of the original ones."""
    own = x.untyped_storage().data_ptr()
    index = next(i for i, s in enumerate(storages) if s.untyped_storage().data_ptr() == own)
    return torch.as_strided(moved[index], x.shape, x.stride(), x.storage_offset())


def _form(attention: Attention, inputs: Inputs, outputs: Outputs) -> Iterator[str]:
    """Yield what is wrong with the types and shapes of a result."""
    *batch, seq_q, _, _ = inputs.q.shape
    out_dtype = TORCH_DTYPES[attention.output]
    expected = (
        ("out", outputs[0], (*batch, seq_q, attention.heads, attention.value_dim), out_dtype),
        ("lse", outputs[1], (*batch, attention.heads, seq_q), torch.float32),
    )
    for name, x, shape, dtype in expected:
        if x.dtype is not dtype:
            yield f"{name} has dtype {x.dtype}, not {dtype}"
        if tuple(x.shape) != shape:
            yield f"{name} has shape {list(x.shape)}, not {list(shape)}"
