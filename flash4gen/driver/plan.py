"""Spec file → checked items → plans: the stages that need neither torch nor Triton."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.collect import Findings
from flash4gen.diagnostics.suggest import did_you_mean, one_of
from flash4gen.driver.model import Checked, Plan
from flash4gen.ir import library
from flash4gen.ir.lower import lower
from flash4gen.ir.masks import never_true
from flash4gen.ir.verify import assert_valid
from flash4gen.syntax import parse, read_source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.ir.nodes import Attention


def check_spec(path: str | Path) -> Checked:
    """Parse and lower a spec; mistakes come back as diagnostics, never as exceptions."""
    source = read_source(path)
    if isinstance(source, tuple):
        return Checked(str(path), None, (), (), source)
    parsed = parse(source)
    lowered = lower(parsed.file)
    findings = Findings()
    findings.add(*parsed.diagnostics, *lowered.diagnostics)
    for attention in lowered.attentions:
        _warn_if_never_true(attention, findings)
    return Checked(str(path), source, lowered.attentions, lowered.hardware, findings.in_order())


def plan_spec(
    checked: Checked, targets: Sequence[str] = ()
) -> tuple[tuple[Plan, ...], tuple[Diagnostic, ...]]:
    """Choose a schedule for every variant and target.

    Args:
        checked: a spec without errors.
        targets: names of hardware items; those that the spec names if empty.

    Raises:
        InvalidIRError: lowering made what no later stage may be given.
    """
    from flash4gen.schedule.choose import choose

    findings = Findings()
    plans: list[Plan] = []
    known = (*library.target_names(), *(item.name for item in checked.hardware))
    for name in targets:
        if name not in known:
            findings.error(
                Code.UNKNOWN_TARGET,
                f"unknown target `{name}`",
                None,
                helps=did_you_mean(name, known) or (f"one of {one_of(known)}",),
            )
    for attention in checked.attentions:
        assert_valid(attention)
        names = [name for name in (targets or attention.targets) if name in known]
        if not (targets or attention.targets):
            findings.error(
                Code.MISSING_FIELD,
                f"`{attention.name}` names no target",
                attention.span,
                helps=[f"write `target = {known[0]}`, or pass --target"],
            )
        for name in names:
            choice = choose(attention, checked.target(name))
            if isinstance(choice, tuple):
                findings.add(*choice)
            else:
                plans.append(Plan(attention, checked.target(name), choice))
    return tuple(plans), findings.in_order()


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
