"""Climbs the rungs about numbers: the results, their gradients, and whether both repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from flash4gen.validate.certificate import Rung, Status
from flash4gen.validate.determinism import determinism_rung
from flash4gen.validate.function import function_rung
from flash4gen.validate.gradient_rung import gradients_rung

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from flash4gen.validate.subject import Subject

Progress: TypeAlias = Callable[[str, str], None]
"""Told the name of a rung and what it is doing, or its summary when it is done."""


def number_rungs(subject: Subject, module: ModuleType, tell: Progress) -> Iterator[Rung]:
    """Run the kernels on the virtual GPU and compare what they compute; one rung after the other.

    Args:
        subject: what is validated.
        module: its module, imported.
        tell: told each case before it runs.
    """
    yield function_rung(subject, module, lambda case: tell("function", case))
    if not subject.attention.differentiable:
        return
    gradients = gradients_rung(subject, module, lambda case: tell("gradients", case))
    yield gradients
    if gradients.status is Status.FAILED:  # whether wrong ones repeat is of no interest
        yield not_run("determinism", "gradients failed")
    else:
        yield determinism_rung(subject, module, lambda what: tell("determinism", what))


def not_run(name: str, why: str) -> Rung:
    """Return a rung that was not climbed."""
    return Rung(name, Status.NOT_RUN, f"not run: {why}")
