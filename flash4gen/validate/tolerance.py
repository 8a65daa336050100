"""The error budget: how far a module's numbers may be from the truth, and the comparison itself.

For the output it is the rule of FlashAttention's own tests (``tests/test_flash_attn.py``): with the
float64 reference ``ref`` and the same maths in the working precision ``base``,

    max |out − ref|  ≤  2 · max |base − ref|  +  2 · max |ref + 0.3 − 0.3 − ref|

where the last term is computed in the output's type: it is about one rounding of a number near 0.3.
Here it must hold in every group of neighbouring rows of a head with at least 256 numbers, a sample
that shows what roundings do, so that rows of large values cannot hide errors in others. ``lse`` is
float32 and has ``2 · max |base − ref|`` too, over all rows; ``lse_allowance`` says what is added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from flash4gen.ir.expr import Apply, Expr, Literal, Op, Var, walk
from flash4gen.ir.nodes import DType
from flash4gen.schedule.blackwell.model import BlackwellSchedule, Tanh
from flash4gen.validate.evaluate import NO_TENSORS, evaluate
from flash4gen.validate.head import Head
from flash4gen.validate.oracle import score_scale, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.model import AnySchedule

OUT_RULE = (
    "in each 256 numbers max|out - ref| <= 2 max|base - ref| + 2 max|ref + 0.3 - 0.3 - ref| "
    "+ (error of exp2 in software + rounding of the largest weight) sum p |v|; "
    "ref: float64, base and the last term: the dtype"
)
LSE_RULE = (
    "max|lse - ref| <= 2 max|base - ref| + 2 ulp of the largest row maximum or lse in base 2 "
    "+ the error of each function of the score, carried through it, + that of exp2 in software"
)

_FUNCTIONS = frozenset({Op.EXP, Op.LOG, Op.TANH, Op.SIGMOID, Op.SQRT, Op.RSQRT, Op.POW})

GROUP = 256
"""Numbers of the output, at least, that keep the rule together."""

FUNCTION_ERROR = 2.0**-22
"""Error of a function of the score, of its value or of 1: GPUs build them from exp2 and log2."""

TANH_ERROR = 2.0**-11
"""Relative error of ``tanh.approx.f32`` (PTX ISA, tanh)."""

EXP2_ERROR = 9.3e-5
"""Largest relative error of a weight whose exp2 is the kernel's polynomial of degree 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """What a kernel's techniques cost by design, beside the working precision.

    Attributes:
        weight: relative error of a weight, and so of a row's sum, of which LSE is the logarithm
            where weights are those of a softmax.
        rounding: of the largest weight of a row on its way to the tensor core. With the running
            maximum itself as reference that weight is 1, which is exact; with an older one it is
            not, and its error is one that the working precision, by the rule above, lacks.
        tanh: of a hyperbolic tangent, of its value or of 1.
    """

    weight: float = 0.0
    rounding: float = 0.0
    tanh: float = FUNCTION_ERROR


EXACT = Accuracy()
"""Of kernels that compute exp2 and the score's functions to float32's precision."""


ROUNDING = {DType.BF16: 2.0**-9, DType.FP16: 2.0**-12, DType.FP8_E4M3: 2.0**-4}
"""Half a unit in the last place, relative to the number: where a number is just below a power of
two, and for 8 bits where it is that power, as nothing else is in their budget for it."""


def accuracy_of(schedule: AnySchedule, dtype: DType) -> Accuracy:
    """Return what a schedule's techniques cost for weights of a type."""
    if not isinstance(schedule, BlackwellSchedule):
        return EXACT
    return Accuracy(
        weight=EXP2_ERROR if schedule.emulated else 0.0,
        rounding=ROUNDING[dtype] if schedule.rescale_threshold else 0.0,
        tanh=TANH_ERROR if schedule.tanh is Tanh.APPROX else FUNCTION_ERROR,
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """One tensor against the reference.

    Attributes:
        error: distance where the reference is finite, in the place that is worst compared with
            its budget; inf if a number is missing.
        budget: what the error may be there.
        problems: what is wrong, in words; empty if nothing is.
    """

    error: float
    budget: float
    problems: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """Error over budget; at most 1 if it is kept."""
        if self.error == 0:
            return 0.0
        return self.error / self.budget if self.budget else math.inf


def output_budget(ref: Tensor, base: Tensor, *others: Tensor) -> Tensor:
    """Return the budget of the output, float64, of the shape of ``ref``.

    Args:
        ref: float64 reference, [batch, seq_q, heads, value_dim].
        base: the same maths in the working precision, in the output's dtype.
        others: the same again, as right, with another luck of its roundings.
    """
    rounded = ref.to(base.dtype)
    wobble = torch.where(ref.isfinite(), (rounded + 0.3 - 0.3 - rounded).double().abs(), 0.0)
    distance = torch.stack([_distance(each, ref) for each in (base, *others)]).amax(0)
    return 2 * _group_maxima(distance) + 2 * _group_maxima(wobble)


def lse_budget(ref: Tensor, base: Tensor, allowance: float) -> Tensor:
    """Return the budget of the LSE, a float64 scalar; ``allowance`` is ``lse_allowance``'s."""
    distance = _distance(base, ref)
    return 2 * (distance.max() if distance.numel() else distance.sum()) + allowance


def lse_allowance(  # noqa: PLR0913 - three have defaults
    attention: Attention,
    q: Tensor,
    k: Tensor,
    lse: Tensor,
    accuracy: Accuracy = EXACT,
    tensors: Mapping[str, Tensor] = NO_TENSORS,
    *,
    entry: int = 0,
) -> float:
    """Return what the LSE may lose besides what the working precision in base e loses.

    A kernel works in base 2: it rounds ``row_max · log2 e`` to float32 and, having added a
    logarithm, the LSE in base 2. And it builds functions such as tanh from exp2, with an error of
    ``FUNCTION_ERROR``; a score that multiplies such a value, like 50 · tanh(s / 50), multiplies the
    error. An LSE is off by no more than the scores are.

    Args:
        attention: the variant.
        q: [batch, seq_q, heads, head_dim].
        k: [batch, seq_k, kv_heads, head_dim].
        lse: float64 reference, [batch, heads, seq_q].
        accuracy: of the kernel's techniques.
        tensors: the attention's inputs, by name.
        entry: number of the first batch entry.
    """
    peak, spread = _largest(lse[lse.isfinite()].abs()) if attention.normalised else 0.0, 0.0
    perturbed = tuple(_perturbed(attention.score, accuracy))
    for b in range(q.shape[0]):
        for h in range(attention.heads):
            factor = score_scale(attention, b + entry, h, tensors)
            env = _environment(attention, q, k, (b, h), factor)
            env |= {Var.B: torch.tensor(b + entry)}
            if attention.norm_weights:
                own = Head(attention, b + entry, h, q.shape[1], k.shape[1], tensors)
                rows = own.normed(attention.q_norm, q[b, :, h].double())
                keys = own.normed(attention.k_norm, k[b, :, h // attention.group].double())
                env[Var.S] = rows @ keys.T * factor
            seen = visible(attention, q.shape[1], k.shape[1], b=b + entry, h=h, tensors=tensors)
            score = evaluate(attention.score, env, tensors=tensors).expand(seen.shape)
            peak = max(peak, _largest(_row_maxima(score, seen).abs()))
            shifts = [(evaluate(other, env, tensors=tensors) - score).abs() for other in perturbed]
            if shifts:
                spread = max(spread, _largest(torch.stack(shifts).sum(0)[seen]))
            if attention.sink is not None:
                sink = evaluate(attention.sink, env, tensors=tensors)
                others = _perturbed(attention.sink, accuracy)
                shifts = [(evaluate(other, env, tensors=tensors) - sink).abs() for other in others]
                spread = max(spread, sum(map(_largest, shifts)))
    if not attention.normalised:
        by_design = accuracy.weight * _largest(lse)
        return _total_allowance(peak, spread, k.shape[1]) + by_design
    if peak == 0:
        return spread + accuracy.weight
    return 2 * ulp_in_base_2(peak) + spread + accuracy.weight


def _total_allowance(peak: float, spread: float, keys: int) -> float:
    """Return what a sum of sigmoid weights may lose besides the working precision's loss.

    A sigmoid is off by the error of a function, and by a quarter, its steepest slope, of the error
    of its score; a sum by no more than all its terms.
    """
    return keys * (FUNCTION_ERROR + (2 * ulp_in_base_2(peak) + spread) / 4)


def ulp_in_base_2(peak: float) -> float:
    """Return what float32 leaves open of a score, or an LSE, of this size in base 2."""
    in_base_2 = torch.tensor(peak * math.log2(math.e), dtype=torch.float32)
    return float(torch.nextafter(in_base_2, torch.tensor(math.inf)) - in_base_2)


def compare(actual: Tensor, ref: Tensor, budget: Tensor, name: str) -> Comparison:
    """Compare a tensor with the float64 reference of the same shape.

    NaN and the infinities must stand exactly where the reference has them.

    Args:
        actual: what was computed.
        ref: float64 reference.
        budget: what the errors may be; broadcasts to ``ref``.
        name: ``out`` or ``lse``, for the texts.
    """
    if actual.shape != ref.shape:
        wrong = f"{name} has shape {list(actual.shape)}, not {list(ref.shape)}"
        return Comparison(math.inf, 0.0, (wrong,))
    if not ref.numel():
        return Comparison(0.0, 0.0)
    if not budget.isfinite().all():
        return Comparison(math.inf, 0.0, (f"{name}: the working precision itself overflows",))
    actual = actual.double()
    problems: list[str] = []
    misplaced = ~ref.isfinite() & ~(actual.isnan() & ref.isnan() | (actual == ref))
    if misplaced.any():
        problems.append(_told(misplaced, actual, ref, name, "the reference is not finite there"))
    lost = ref.isfinite() & ~actual.isfinite()
    if lost.any():
        problems.append(_told(lost, actual, ref, name, "the reference is finite there"))
        return Comparison(math.inf, 0.0, tuple(problems))
    error, budget = _distance(actual, ref).flatten(), budget.expand_as(ref).flatten()
    # A budget of 0 that is kept is not the worst one: 0 / 0 counts as 0.
    worst = torch.where(error > 0, error / budget, 0.0).argmax()
    over = (error > budget).view(ref.shape)
    if over.any():
        why = f"off by {error[worst]:.3g}, {budget[worst]:.3g} is allowed"
        problems.append(_told(over, actual, ref, name, why))
    return Comparison(error[worst].item(), budget[worst].item(), tuple(problems))


def _group_maxima(x: Tensor) -> Tensor:
    """Return in each place of [batch, seq, heads, dim] the maximum over its group of rows."""
    batch, seq, heads, dim = x.shape
    peaks = x.amax(-1)
    per_head = peaks.transpose(1, 2).reshape(-1)
    rows = -(-GROUP // dim)
    groups = max(1, len(per_head) // rows)
    # The rows that are left over join the last group.
    group = (torch.arange(len(per_head)) // rows).clamp(max=groups - 1)
    maxima = x.new_zeros(groups).scatter_reduce(0, group, per_head, "amax")
    return maxima[group].view(batch, heads, seq, 1).transpose(1, 2).expand_as(x)


def _distance(a: Tensor, ref: Tensor) -> Tensor:
    """Return |a − ref| in float64, 0 where ref is not finite."""
    return torch.where(ref.isfinite(), (a.double() - ref).abs(), 0.0)


def _told(where: Tensor, actual: Tensor, ref: Tensor, name: str, why: str) -> str:
    """Describe wrong elements by their number and the first of them."""
    first = where.nonzero()[0].tolist()
    got, wanted = actual[tuple(first)].item(), ref[tuple(first)].item()
    count = f"{int(where.sum())} of {where.numel()} elements"
    return f"{name}: {why}: {count}, first {first}: {got:.6g} instead of {wanted:.6g}"


def _largest(x: Tensor) -> float:
    return x.max().item() if x.numel() else 0.0


def _row_maxima(score: Tensor, seen: Tensor) -> Tensor:
    """Return the row maxima that exist."""
    if score.shape[1] == 0:
        return score.new_empty(0)
    peaks = torch.where(seen, score, -math.inf).amax(dim=1)
    return peaks[peaks > -math.inf]


def _environment(
    attention: Attention, q: Tensor, k: Tensor, head: tuple[int, int], factor: Tensor
) -> dict[Var, Tensor]:
    """Return the variables of one head's score expression; ``factor`` is that on q·k."""
    b, h = head
    hkv = h // attention.group
    scalars = {Var.H: h, Var.HKV: hkv, Var.B: b, Var.SEQ_Q: q.shape[1], Var.SEQ_K: k.shape[1]}
    env = {var: torch.tensor(value) for var, value in scalars.items()}
    env[Var.Q] = torch.arange(q.shape[1])[:, None]
    env[Var.K] = torch.arange(k.shape[1])[None, :]
    env[Var.S] = (q[b, :, h].float() @ k[b, :, hkv].float().T).double() * factor
    return env


def _perturbed(score: Expr, accuracy: Accuracy) -> Iterator[Expr]:
    """Yield the score once for each function in it, with that function's value a little off."""
    for node in walk(score):
        if isinstance(node, Apply) and node.op in _FUNCTIONS:
            size = Apply(Op.MAX, (Literal(1.0), Apply(Op.ABS, (node,))))
            error = accuracy.tanh if node.op is Op.TANH else FUNCTION_ERROR
            off = Apply(Op.ADD, (node, Apply(Op.MUL, (Literal(error), size))))
            yield _replaced(score, node, off)


def _replaced(expr: Expr, old: Expr, new: Expr) -> Expr:
    """Return the expression with one node, that very object, replaced."""
    if expr is old:
        return new
    if isinstance(expr, Apply):
        return Apply(expr.op, tuple(_replaced(arg, old, new) for arg in expr.args))
    return expr
