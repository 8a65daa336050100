"""The schedule of a backward pass: for each kernel the first shape that is known to fit.

In: an ``Attention``, a ``Hardware``, and shapes that a build has found wanting. Out: a
``BackwardChoice`` with the reason for each shape. Shapes are tried in the order of ``space.py``;
whether one fits is read from compiled facts of the target's generation and of heads at least as
wide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Diagnostic, Label, Severity
from flash4gen.ir.core import places_read
from flash4gen.ir.distance import by_distance
from flash4gen.ir.expr import SCORE, Var, lookups, variables
from flash4gen.schedule.backward.facts import Fact, Variant, read_facts
from flash4gen.schedule.backward.heads import REASONS, HeadLoop, head_loop
from flash4gen.schedule.backward.model import (
    BackwardChoice,
    BackwardSchedule,
    KernelShape,
    LoopShape,
    Unfit,
)
from flash4gen.schedule.backward.pins import (
    gradient_pins,
    lack,
    pinned_sides,
    shapes_to_try,
)
from flash4gen.schedule.backward.pipeline.inputs import moving, per_score
from flash4gen.schedule.backward.space import ROWS, Kernel
from flash4gen.schedule.model import Load
from flash4gen.schedule.space import pad
from flash4gen.schedule.units import Unit, best_unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flash4gen.ir.hardware import Arch, Hardware
    from flash4gen.ir.nodes import Attention

_UNIT_OF = {90: Unit.WGMMA, 100: Unit.TCGEN05}
"""The matrix unit of swept targets, where it is not the warp's own."""

_UNKNOWN = "nothing is known of such kernels"

_FUSED_REASON = "adds up the gradients of queries in float32: five products a tile, not seven"

_ROWS_REASON = "rows of the kernel that reads out and its gradient once, before the others"


def no_backward(attention: Attention) -> Diagnostic | None:
    """Return the refusal of a backward pass that has no kernels yet, None where there are some."""
    if not attention.differentiable:
        return None
    if attention.paged:
        lacking, instead = "of keys in pages", "pass keys and values as whole tensors"
    elif attention.packed and places_read(attention):
        lacking = "of norms and outputs that read places in packed sequences"
        instead = "normalise q and k, and change the output, in PyTorch"
    else:
        return None
    return Diagnostic(
        code=Code.NOT_YET,
        severity=Severity.ERROR,
        message=f"backward kernels {lacking} are not available yet",
        primary=None if attention.span is None else Label(attention.span),
        helps=(f"{instead}, or write `passes = forward`",),
    )


def choose_backward(
    attention: Attention,
    hardware: Hardware,
    exclude: Unfit = (),
    load: Load = Load.POINTER,
) -> BackwardChoice:
    """Choose the shapes of all backward kernels.

    Args:
        attention: what to differentiate.
        hardware: the target.
        exclude: shapes that were compiled for it and found unfit, each with the reason.
        load: how tiles come in.
    """
    out = dict(exclude)
    kernels = _kernels(attention)
    chosen = {kernel: _choose(kernel, attention, hardware, load, out) for kernel in kernels}
    fused = _fused(attention, hardware, load, out, chosen[Kernel.KEYS][0])
    if fused is not None:
        chosen[Kernel.KEYS] = fused
        del chosen[Kernel.QUERIES]
    reasons = [(kernel.value, reason) for kernel, (_, reason) in chosen.items()]
    heads = head_loop(attention, load)
    if heads in REASONS:
        reasons.append(("heads", REASONS[heads]))
    return BackwardChoice(
        schedule=BackwardSchedule(
            hardware=hardware.name,
            keys=chosen[Kernel.KEYS][0],
            queries=None if fused is not None else chosen[Kernel.QUERIES][0],
            pairs=chosen[Kernel.PAIRS][0],
            rows=ROWS,
            head_pad=pad(attention.head_dim),
            value_pad=pad(attention.value_dim),
            heads=heads,
            distances=chosen[Kernel.DISTANCES][0] if Kernel.DISTANCES in chosen else None,
            load=load,
        ),
        reasons=(*reasons, ("rows", _ROWS_REASON)),
        excluded=exclude,
    )


def _kernels(attention: Attention) -> Iterator[Kernel]:
    """Yield the kernels whose shape is chosen: those of distances only where an input has one."""
    yield from (Kernel.KEYS, Kernel.QUERIES, Kernel.PAIRS)
    if any(by_distance(lookup) for lookup, _ in moving(attention)):
        yield Kernel.DISTANCES


def _fused(
    attention: Attention,
    hardware: Hardware,
    load: Load,
    out: dict[KernelShape, str],
    alone: LoopShape,
) -> tuple[LoopShape, str] | None:
    """Return the shape with which the kernel of keys adds up the gradients of queries, and why.

    It then has five products for each tile of scores, where two kernels have seven and recompute
    scores twice. So it is the better one where it has room for tiles as large as that of the keys
    has ``alone``. None where it has not, where sums are to have an order, where an element is read
    for each score, or where an input moves with queries, whose kernel would have to go through all
    keys for it.
    """
    if attention.deterministic or gradient_pins(attention):
        return None
    if any(Var.K not in variables(lookup) for lookup, _ in moving(attention)):
        return None
    if any(map(per_score, lookups(attention.score, attention.mask))):
        return None
    if load is not Load.TMA or best_unit(hardware) is not Unit.WGMMA:
        return None
    known = _facts_for(Kernel.FUSED, attention, hardware, load)
    for shape in shapes_to_try(attention, hardware, Kernel.FUSED, load):
        as_large = shape.tile_q * shape.tile_k >= alone.tile_q * alone.tile_k
        fact = known.get(shape)
        left_out = KernelShape(Kernel.FUSED.value, shape) in out
        if as_large and fact is not None and fact.fits(hardware) and not left_out:
            return shape, f"{_FUSED_REASON}; {_reason(fact, '')}"
    return None


def _choose(
    kernel: Kernel,
    attention: Attention,
    hardware: Hardware,
    load: Load,
    out: dict[KernelShape, str],
) -> tuple[LoopShape, str]:
    """Return the first shape that fits, and why the one before it does not.

    One of which nothing is known is taken where a pin leaves no other, or where a build has found
    all that are known to fit wanting; it compiles that one, and comes back if it spills too.
    """
    known = _facts_for(kernel, attention, hardware, load)
    shapes = shapes_to_try(attention, hardware, kernel, load)
    before = ""
    for shape in shapes:
        fact = known.get(shape)
        if KernelShape(kernel.value, shape) in out:
            before = f"{shape.text}: {out[KernelShape(kernel.value, shape)]}"
        elif fact is not None and fact.fits(hardware):
            return shape, _pinned(kernel, attention) + _reason(fact, before)
        elif fact is not None:
            before = f"{shape.text} {_misfit(fact, hardware)}"
    pinned = _pinned(kernel, attention)
    wanting = any(tried.kernel == kernel.value for tried in out)
    for shape in shapes if pinned or wanting else ():
        fits = not lack(attention, hardware, kernel, shape)
        if fits and shape not in known and KernelShape(kernel.value, shape) not in out:
            return shape, pinned + _UNKNOWN + (f"; {before}" if before else "")
    return shapes[-1], f"{pinned}the smallest; {before}" if before else f"{pinned}the smallest"


def _pinned(kernel: Kernel, attention: Attention) -> str:
    """Return what the spec pins of a kernel, as the start of a reason; nothing where nothing is."""
    sides = pinned_sides(attention, kernel)
    return f"{', '.join(f'{kernel.value}_{side}' for side in sides)} pinned; " if sides else ""


def _reason(fact: Fact, before: str) -> str:
    what = f"compiled with {fact.registers} registers and no spills, {fact.smem:,} bytes of shared"
    return f"{what} memory" + (f"; {before}" if before else "")


def _misfit(fact: Fact, hardware: Hardware) -> str:
    if fact.stack:
        return f"spills {fact.stack} bytes per thread"
    if fact.smem > hardware.smem_per_block:
        return f"needs {fact.smem:,} bytes of shared memory of {hardware.smem_per_block:,}"
    return f"needs {fact.tmem} columns of tensor memory of {hardware.tmem_columns}"


def _facts_for(
    kernel: Kernel, attention: Attention, hardware: Hardware, load: Load
) -> dict[LoopShape, Fact]:
    """Return what is known of a kernel, by shape: of the nearest target with the same matrix unit.

    Widths that were not compiled stand back behind the narrowest pair that is as wide. A shape that
    fits a variant fits those that ask for less; that it does not fit says nothing of them.
    """
    known: dict[LoopShape, Fact] = {}
    for variant in _variants(kernel, attention, load):
        for shape, fact in _known(kernel, attention, hardware, variant, load).items():
            if fact.fits(hardware) or shape not in known:
                known[shape] = fact
    return known


def _variants(kernel: Kernel, attention: Attention, load: Load) -> tuple[Variant, ...]:
    """Return what an attention asks no more than, the most demanding first.

    Masks are not looked at: where one needs the registers, a compile spills, and the next shape
    stands in. Nor are heads and lengths, but in a kernel that has no register to spare.
    """
    if kernel is Kernel.FUSED and (attention.group > 1 or attention.packed):
        return (Variant.TOGETHER,)
    one_loop = head_loop(attention, load) is HeadLoop.TOGETHER or attention.group == 1
    capped = attention.score != SCORE
    if attention.dropout or not one_loop:
        return (Variant.CAPPED,) if capped else (Variant.CAPPED, Variant.PLAIN)
    return (Variant.CAPPED, Variant.TOGETHER) if capped else tuple(Variant)


def _known(
    kernel: Kernel, attention: Attention, hardware: Hardware, variant: Variant, load: Load
) -> dict[LoopShape, Fact]:
    wanted = kernel, variant, load
    facts = [fact for fact in read_facts() if (fact.kernel, fact.variant, fact.load) == wanted]
    arch = _nearest(facts, hardware, variant)
    own = [fact for fact in facts if fact.arch == arch]
    wide = [
        (fact.head_dim, fact.value_dim)
        for fact in own
        if fact.head_dim >= attention.head_dim and fact.value_dim >= attention.value_dim
    ]
    if not wide:
        return {}
    widths = min(wide, key=lambda pair: (sum(pair), pair))
    return {fact.shape: fact for fact in own if (fact.head_dim, fact.value_dim) == widths}


def _nearest(facts: Sequence[Fact], hardware: Hardware, variant: Variant) -> Arch | None:
    """Return whose facts stand in for a target's: AMD's are all swept, and have none but their own.

    Of compute capabilities it is the last one before with the same matrix unit; where that has no
    facts, the most demanding variant is known of others as well.
    """
    if isinstance(hardware.arch, str):
        return hardware.arch
    unit = best_unit(hardware)
    swept = {fact.arch for fact in facts if isinstance(fact.arch, int)}
    same = {arch for arch in swept if _UNIT_OF.get(arch, Unit.MMA_SYNC) is unit}
    known = sorted(same or swept if variant is Variant.CAPPED else same)
    before = [one for one in known if one <= hardware.arch]
    return before[-1] if before else next(iter(known), None)
