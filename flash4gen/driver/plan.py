"""Spec file → checked items → plans: the stages that need neither torch nor Triton."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.collect import Findings
from flash4gen.diagnostics.suggest import did_you_mean, one_of
from flash4gen.driver.model import Checked, IndexPlan, Plan
from flash4gen.ir.lower import analyse
from flash4gen.ir.masks import never_true
from flash4gen.ir.verify import assert_valid
from flash4gen.syntax import read_source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.ir.model import Model
    from flash4gen.ir.nodes import Attention


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
    checked: Checked, targets: Sequence[str] = (), *, search: bool = False
) -> tuple[tuple[Plan, ...], tuple[Diagnostic, ...]]:
    """Choose a schedule for every variant and target, those of models included.

    Args:
        checked: a spec without errors.
        targets: names of hardware items; those that the spec names if empty.
        search: whether to run the best dozen of candidates on the clock, where it pays.

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
    _check_targets(checked, targets, findings)
    for attention, wanted in _wanted(checked, targets):
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


def plan_indexes(checked: Checked, targets: Sequence[str] = ()) -> tuple[IndexPlan, ...]:
    """Return the index modules of a spec's models: one for every model and target."""
    return tuple(
        IndexPlan(model, checked.target(name))
        for model in checked.models
        for name in targets or model.targets
        if name in checked.known_targets
    )


def _wanted(checked: Checked, targets: Sequence[str]) -> list[tuple[Attention, tuple[str, ...]]]:
    """Return what to compile for which targets: the spec's variants, and those of its models."""
    wanted = {item.name: (item, dict.fromkeys(item.targets)) for item in checked.attentions}
    for model in checked.models:
        for item in model.attentions:
            wanted.setdefault(item.name, (item, {}))[1].update(dict.fromkeys(model.targets))
    return [(item, tuple(targets or own)) for item, own in wanted.values()]


def _check_targets(checked: Checked, targets: Sequence[str], findings: Findings) -> None:
    """Report what no target is named for; a layer's are its model's business."""
    if targets:
        return
    layers = {item.name for model in checked.models for item in model.attentions}
    alone = [item for item in checked.attentions if item.name not in layers]
    named: tuple[Attention | Model, ...] = (*alone, *checked.models)
    for one in named:
        if not one.targets:
            helps = [f"write `target = {checked.known_targets[0]}`, or pass --target"]
            findings.error(
                Code.MISSING_FIELD, f"`{one.name}` names no target", one.span, helps=helps
            )


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
