"""From a meaning and a target to a schedule: which family, its search, and the log of both.

In: an ``Attention``, a ``Hardware``, and schedules that a build has found wanting. Out: a
``Choice`` with its whole log, or diagnostics when the spec's pins, or the target, leave nothing.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from flash4gen.clock.machine import NoConstantsError
from flash4gen.diagnostics.suggest import one_of
from flash4gen.ir import library
from flash4gen.ir.core import core, is_surrounded
from flash4gen.ir.hardware import Feature
from flash4gen.ir.printer import format_expr
from flash4gen.schedule.backward.choose import choose_backward, no_backward
from flash4gen.schedule.backward.pipeline.choose import (
    choose_pipeline,
    no_pair,
    no_pipeline,
)
from flash4gen.schedule.backward.pipeline.inputs import (
    beside,
    by_score,
    kernels_beside,
    reads_score,
)
from flash4gen.schedule.backward.pipeline.pair_choice import PIN, pins_pair
from flash4gen.schedule.blackwell.dozen import dozen
from flash4gen.schedule.blackwell.search import search as search_blackwell
from flash4gen.schedule.blackwell.traits import unsupported
from flash4gen.schedule.formats import no_dtype
from flash4gen.schedule.model import (
    BUILD,
    Choice,
    Decision,
    Family,
    Rejected,
    Schedule,
    as_portable,
)
from flash4gen.schedule.pins import (
    PIN_FAMILY,
    PIN_RULE,
    Request,
    families_of,
    gradient_misfit,
    pin_error,
    pin_problems,
    read_pins,
)
from flash4gen.schedule.search import search as search_portable

if TYPE_CHECKING:
    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.backward.model import BackwardChoice, Unfit
    from flash4gen.schedule.blackwell.dozen import Dozen
    from flash4gen.schedule.model import Excluded, Searched

__all__ = ["BUILD", "choose", "ran_on_clock", "search_on_clock"]

EVERYWHERE = "the family that every target can run"
"""Why the portable family, where there is no other."""

DETERMINISTIC = Decision(
    "deterministic", "true", "asked for: no kernel adds atomically, and each sum has one order"
)
"""How this family has the same bits in every run; others may sum otherwise where they are free."""

IN_TURN = Decision(
    "deterministic", "true", "asked for: programs add to the gradient of q in turns, by key tile"
)
"""The same of the warp-specialised family."""

AROUND = Decision(
    "norms, output",
    "PyTorch",
    "the backward pass starts from rows as products take them and from the output before it is "
    "changed: PyTorch does both around the kernels, and differentiates them",
)
"""Where norms and the output's expression are computed if there are gradients."""

DECLINED = "not the blackwell family: "
"""Why the portable family, where there is another."""


def choose(
    attention: Attention,
    hardware: Hardware,
    exclude: Excluded = (),
    searched: Searched | None = None,
    *,
    unfit: Unfit = (),
) -> Choice | tuple[Diagnostic, ...]:
    """Choose the forward schedule of an attention on a target.

    The warp-specialised family comes first where the target has its instructions; a pin, an
    attention that it has no plan for, or spills in all it can try, lead to the portable one.

    Args:
        attention: what to compute; its pins restrict the choice.
        hardware: the target.
        exclude: schedules that were compiled and found unfit, each with the reason.
        searched: what a search on the clock has found (``search_on_clock``); the choice follows it.
        unfit: as ``exclude``, shapes of backward kernels.

    Returns:
        The choice and its log; diagnostics if a pin is wrong or nothing fits.
    """
    lacking = no_dtype(attention, hardware) or no_backward(attention)
    if lacking is not None:
        return (lacking,)
    if is_surrounded(attention):
        inner = choose(core(attention), hardware, exclude, searched, unfit=unfit)
        if not isinstance(inner, Choice):
            return inner
        return replace(inner, decisions=(*inner.decisions, AROUND))
    problems = pin_problems(attention)
    if problems:
        return problems
    clash = _clash(attention) or gradient_misfit(attention, hardware)
    if clash is not None:
        return (clash,)
    allowed = [
        family for family in Family if all(family in families_of(pin) for pin in attention.pins)
    ]
    declined = _declined(attention, hardware, allowed)
    if not declined:
        found = search_blackwell(
            attention, hardware, read_pins(attention, Family.BLACKWELL), exclude, searched
        )
        if not isinstance(found, str):
            return _with_gradients(found, attention, hardware, unfit)
        declined = f"{DECLINED}{found}"
    if Family.PORTABLE not in allowed:
        return (_refused(attention, hardware, declined),)
    return _portable(attention, hardware, declined, exclude, unfit)


def search_on_clock(choice: Choice, attention: Attention, hardware: Hardware) -> Choice:
    """Return the choice after a short search on the clock: the same, or one that is faster.

    A portable choice stays: all of its candidates have been ranked.

    Args:
        choice: what rules and formulas make.
        attention: what to compute.
        hardware: the target.
    """
    found = ran_on_clock(attention, hardware)
    if found is None or found.winner is None:
        return choice
    again = choose(attention, hardware, searched=found.winner)
    return again if isinstance(again, Choice) else choice


def ran_on_clock(attention: Attention, hardware: Hardware) -> Dozen | None:
    """Rank all candidates by formula, run the best dozen on the clock, and return what came of it.

    Returns:
        None where the choice is portable, or nothing was published for the target.
    """
    default = choose(attention, hardware)
    if not isinstance(default, Choice) or isinstance(default.schedule, Schedule):
        return None
    pins = read_pins(attention, Family.BLACKWELL)
    try:
        return dozen(core(attention), hardware, pins, default.schedule)
    except NoConstantsError:
        return None


def _portable(
    attention: Attention,
    hardware: Hardware,
    reason: str,
    exclude: Excluded,
    unfit: Unfit,
) -> Choice | tuple[Diagnostic, ...]:
    """Choose among portable schedules; what was compiled of the other family stays in the log."""
    own = tuple((item, why) for item, why in exclude if isinstance(item, Schedule))
    request = Request(read_pins(attention, Family.PORTABLE), reason)
    found = search_portable(attention, hardware, request, own)
    if not isinstance(found, Choice):
        return (found,)
    others = tuple(
        Rejected(item, BUILD, why) for item, why in exclude if not isinstance(item, Schedule)
    )
    found = replace(found, rejected=(*others, *found.rejected))
    if attention.deterministic:
        found = replace(found, decisions=(*found.decisions, DETERMINISTIC))
    if not attention.differentiable:
        return found
    load = as_portable(found.schedule).load
    return replace(found, backward=choose_backward(attention, hardware, unfit, load))


def _with_gradients(
    found: Choice | Diagnostic, attention: Attention, hardware: Hardware, unfit: Unfit
) -> Choice | tuple[Diagnostic, ...]:
    """Return what the blackwell family chose, with a backward pass where one is asked for.

    Gradients that the family's pipeline does not compute are those of the portable family.
    """
    if not isinstance(found, Choice):
        return (found,)
    refusal = _no_pair(attention, hardware) if pins_pair(attention) else None
    if refusal is not None:
        return (refusal,)
    if not attention.differentiable:
        return found
    declined = no_pipeline(attention, hardware)
    if declined:
        portable = Decision("backward", Family.PORTABLE.value, f"{DECLINED}{declined}")
        found = replace(found, decisions=(*found.decisions, portable))
        backward = choose_backward(attention, hardware, unfit)
    else:
        backward = choose_pipeline(attention, hardware, pair=pins_pair(attention))
        if beside(attention):
            sums = _sums(attention, hardware, unfit)
            backward = replace(backward, beside=sums)
            found = replace(found, decisions=(*found.decisions, _beside(attention)))
    if attention.deterministic:
        why = DETERMINISTIC if declined else IN_TURN
        found = replace(found, decisions=(*found.decisions, why))
    return replace(found, backward=backward)


def _sums(attention: Attention, hardware: Hardware, unfit: Unfit) -> BackwardChoice:
    """Return the shapes of the kernels beside a pipeline, with the reasons of those there are."""
    found, kernels = choose_backward(attention, hardware, unfit), kernels_beside(attention)
    return replace(found, reasons=tuple(it for it in found.reasons if it[0] in kernels))


def _beside(attention: Attention) -> Decision:
    """Return why portable kernels compute some gradients of inputs."""
    named = ", ".join(f"`{format_expr(lookup)}`" for lookup in beside(attention))
    sums = (
        "a thread of the pipeline keeps a weight times the score's derivative, and sums nothing "
        "else where that reads the score"
        if reads_score(by_score(attention))
        else "the pipeline sums what is added to scores by head or by key, and what multiplies "
        "them by head or by query"
    )
    return Decision(
        "backward",
        f"{Family.BLACKWELL.value}, and portable sums",
        f"{sums}; the gradient of {named} has portable kernels beside it, which are launched where "
        "it is wanted",
    )


def _no_pair(attention: Attention, hardware: Hardware) -> Diagnostic | None:
    """Return the refusal of a pair of CTAs that cannot compute gradients, or None."""
    pins = tuple(pin for pin in attention.pins if pin.name == PIN)
    declined = no_pipeline(attention, hardware) if attention.differentiable else ""
    if declined:
        return pin_error(
            PIN_FAMILY,
            f"`{PIN} = 2` needs the blackwell family's backward pipeline, which cannot compute the "
            f"gradients of `{attention.name}`",
            pins,
            notes=(declined,),
            helps=("remove the pin: portable kernels compute them",),
        )
    reason, fix = no_pair(attention, hardware), f"write `{PIN} = 1`"
    if not attention.differentiable:
        reason = "this attention has a forward pass only"
        fix = "write `passes = forward, backward`, or remove the pin"
    if not reason:
        return None
    return pin_error(
        PIN_RULE,
        f"no pair of CTAs can compute the gradients of `{attention.name}`",
        pins,
        notes=(reason,),
        helps=(fix,),
    )


def _clash(attention: Attention) -> Diagnostic | None:
    """Return the refusal of two pins that no family can have together."""
    for first, second in combinations(attention.pins, 2):
        if set(families_of(first)) & set(families_of(second)):
            continue
        notes = (
            f"`{pin.name} = {pin.value}` is a choice of the {families_of(pin)[0]} family"
            for pin in (first, second)
        )
        return pin_error(
            PIN_FAMILY,
            f"`{second.name}` and `{first.name}` belong to different kernel families",
            (second, first),
            notes=notes,
            helps=("remove one of the two",),
        )
    return None


def _declined(attention: Attention, hardware: Hardware, allowed: list[Family]) -> str:
    """Return why the blackwell family is not used, or an empty text."""
    if not hardware.has(Feature.TCGEN05):
        return EVERYWHERE
    if Family.BLACKWELL not in allowed:
        pin = next(pin for pin in attention.pins if Family.BLACKWELL not in families_of(pin))
        if pin.name == "family":
            return "pinned by the spec"
        return f"{DECLINED}the spec pins `{pin.name} = {pin.value}`, which it does not have"
    why = unsupported(attention)
    return f"{DECLINED}{why}" if why else ""


def _refused(attention: Attention, hardware: Hardware, declined: str) -> Diagnostic:
    """Return the refusal of pins that need the blackwell family where it cannot be used."""
    pins = tuple(pin for pin in attention.pins if Family.PORTABLE not in families_of(pin))
    names = ", ".join(f"`{pin.name} = {pin.value}`" for pin in pins)
    needs = f"{names} need{'s' if len(pins) == 1 else ''} the blackwell family, which"
    if declined == EVERYWHERE:
        able = [item.name for item in library.targets() if item.has(Feature.TCGEN05)]
        return pin_error(
            PIN_FAMILY,
            f"{needs} {hardware.doc} cannot run",
            pins,
            notes=("its products are tcgen05 instructions and need tensor memory",),
            helps=(f"compile for {one_of(able)}, or remove the pin",),
        )
    return pin_error(
        PIN_FAMILY,
        f"{needs} cannot compute `{attention.name}`",
        pins,
        notes=(declined.removeprefix(DECLINED),),
        helps=("remove the pin: the portable family computes it",),
    )
