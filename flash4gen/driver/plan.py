"""Spec file → checked items → plans: the stages that need neither torch nor Triton."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.collect import Findings
from flash4gen.diagnostics.suggest import did_you_mean, one_of
from flash4gen.driver.model import Checked, IndexPlan, Plan
from flash4gen.ir import library
from flash4gen.ir.lower import analyse
from flash4gen.ir.masks import never_true
from flash4gen.ir.nodes import DType
from flash4gen.ir.verify import assert_valid
from flash4gen.syntax import read_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.ir.model import Model
    from flash4gen.ir.nodes import Attention

    Unnamed = Callable[[str], Sequence[str]]


def check_spec(path: str | Path) -> Checked:
    """Parse and lower a spec; mistakes come back as diagnostics, never as exceptions."""
    source = read_source(path)
    if isinstance(source, tuple):
        return Checked(str(path), None, (), (), source)
    lowered = analyse(source)
    findings = Findings()
    findings.add(*lowered.diagnostics)
    for attention in lowered.attentions:
        _warn_if_never_true(attention, findings)
    return Checked(
        str(path),
        source,
        lowered.attentions,
        lowered.hardware,
        findings.in_order(),
        models=lowered.models,
        used_hardware=lowered.used_hardware,
    )


def plan_spec(
    checked: Checked,
    targets: Sequence[str] = (),
    *,
    search: bool = False,
    unnamed: Unnamed | None = None,
) -> tuple[tuple[Plan, ...], tuple[Diagnostic, ...]]:
    """Choose a schedule for every variant and target, those of models included.

    Args:
        checked: a spec without errors.
        targets: names of hardware items; those that the spec names if empty.
        search: whether to run the best dozen of candidates on the clock, where it pays.
        unnamed: gives the targets of an attention or a model, by its name, where nobody names one;
            None: that is a mistake.

    Raises:
        InvalidIRError: lowering made what no later stage may be given.
    """
    from flash4gen.schedule.choose import choose, search_on_clock

    findings = Findings()
    plans: list[Plan] = []
    known = checked.known_targets
    for name in targets:
        if name not in known:
            findings.error(
                Code.UNKNOWN_TARGET,
                f"unknown target `{name}`",
                None,
                helps=did_you_mean(name, known) or (f"one of {one_of(known)}",),
            )
    if unnamed is None:
        _check_targets(checked, targets, findings)
    for attention, wanted in _wanted(checked, targets, unnamed or _nowhere):
        assert_valid(attention)
        for name in (name for name in wanted if name in known):
            choice = choose(attention, checked.target(name))
            if isinstance(choice, tuple):
                findings.add(*choice)
                continue
            if search:
                choice = search_on_clock(choice, attention, checked.target(name))
            plans.append(Plan(attention, checked.target(name), choice, searched=search))
    return tuple(plans), findings.in_order()


def refusals(checked: Checked, targets: Sequence[str] = ()) -> tuple[Diagnostic, ...]:
    """Return why a spec cannot be compiled for some targets, or those that it names.

    A spec that every shipped target has a schedule for is not searched for one, which would take
    longer than reading it; what nobody names a target for is left alone.
    """
    if not targets and all(_is_plain(*one, checked) for one in _wanted(checked, (), _nowhere)):
        return ()
    return plan_spec(checked, targets, unnamed=_nowhere)[1]


PLAIN_WIDTH = 256
"""Widest heads that every shipped target has room for."""


def _is_plain(attention: Attention, targets: Sequence[str], checked: Checked) -> bool:
    """Whether nothing of an attention asks more of these targets than the shipped ones can do."""
    shipped = library.target_names()
    own = {item.name for item in (*checked.hardware, *checked.used_hardware)}
    return (
        all(name in shipped and name not in own for name in targets)
        and not (attention.pins or attention.differentiable)
        and attention.dtype is not DType.FP8_E4M3
        and max(attention.head_dim, attention.value_dim) <= PLAIN_WIDTH
    )


def named_targets(checked: Checked) -> tuple[str, ...]:
    """Return the targets that the variants and models of a spec name."""
    wanted = _wanted(checked, (), _nowhere)
    return tuple(dict.fromkeys(name for _, targets in wanted for name in targets))


def plan_indexes(
    checked: Checked, targets: Sequence[str] = (), *, unnamed: Unnamed | None = None
) -> tuple[IndexPlan, ...]:
    """Return the index modules of a spec's models: one for every model and target."""
    elsewhere = unnamed or _nowhere
    return tuple(
        IndexPlan(model, checked.target(name))
        for model in checked.models
        for name in targets or model.targets or elsewhere(model.name)
        if name in checked.known_targets
    )


def without_borrowed(checked: Checked, there: Unnamed) -> Checked:
    """Return a file where models that were not compiled have no targets of their layers.

    Layers that another file compiles for its own sake do not ask for the index of a model.

    Args:
        checked: the file.
        there: the targets that an item has modules for, by its name.
    """
    models = (
        replace(model, targets=()) if model.borrowed and not there(model.name) else model
        for model in checked.models
    )
    return replace(checked, models=tuple(models))


def without_target(checked: Checked) -> tuple[Attention | Model, ...]:
    """Return what names no target; a layer's are its model's business."""
    layers = {item.name for model in checked.models for item in model.attentions}
    alone = [item for item in checked.attentions if item.name not in layers]
    named: tuple[Attention | Model, ...] = (*alone, *checked.models)
    return tuple(item for item in named if not item.targets)


def _nowhere(_name: str) -> Sequence[str]:
    return ()


def _wanted(
    checked: Checked, targets: Sequence[str], unnamed: Unnamed
) -> list[tuple[Attention, tuple[str, ...]]]:
    """Return what to compile for which targets: the spec's variants, and those of its models."""
    found = {item.name: unnamed(item.name) for item in without_target(checked)}
    wanted = {
        item.name: (item, dict.fromkeys(item.targets or found.get(item.name, ())))
        for item in checked.attentions
    }
    for model in checked.models:
        for item in model.attentions:
            own = model.targets or found[model.name]
            wanted.setdefault(item.name, (item, {}))[1].update(dict.fromkeys(own))
    return [(item, tuple(targets or own)) for item, own in wanted.values()]


def _check_targets(checked: Checked, targets: Sequence[str], findings: Findings) -> None:
    """Report what no target is named for."""
    for one in () if targets else without_target(checked):
        helps = [f"write `target = {checked.known_targets[0]}`, or pass --target"]
        findings.error(Code.MISSING_FIELD, f"`{one.name}` names no target", one.span, helps=helps)


def _warn_if_never_true(attention: Attention, findings: Findings) -> None:
    """Warn about a mask that hides every key, unless lowering has seen it already."""
    already = any(found.code == Code.NEVER for found in findings.in_order())
    if already or not never_true(attention.mask):
        return
    written = attention.field_source("mask")
    findings.warning(
        Code.NEVER,
        f"the mask of `{attention.name}` is never true: no query sees a key",
        written.span if written else attention.span,
        helps=["look for two conditions that exclude each other"],
    )
