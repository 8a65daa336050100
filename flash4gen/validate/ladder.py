"""Climbs the ladder: from a subject to its certificate, one rung after the other.

A rung that needs a lower one that failed is not run, and says so: nothing is proven about a module
that does not parse or does not load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeAlias

import torch
import triton

from flash4gen import __version__
from flash4gen.build.load import load_module
from flash4gen.validate.blame import blame
from flash4gen.validate.certificate import Certificate, Json, Rung, Status
from flash4gen.validate.concurrency import concurrency_rung
from flash4gen.validate.determinism import determinism_rung
from flash4gen.validate.device import device_rung
from flash4gen.validate.function import function_rung
from flash4gen.validate.gradient_rung import gradients_rung
from flash4gen.validate.structure import compile_rung, schedule_rung
from flash4gen.validate.text import text_rung

if TYPE_CHECKING:
    from types import ModuleType

    from flash4gen.build.artefact import Artefact
    from flash4gen.validate.subject import Subject

Progress: TypeAlias = Callable[[str, str], None]
"""Told the name of a rung and what it is doing, or its summary when it is done."""


def validate_module(
    subject: Subject, progress: Progress | None = None, *, mutate: bool = False
) -> Certificate:
    """Check everything that can be checked here about a module.

    Faults of the module do not raise: they are failed rungs.

    Args:
        subject: the module, and what it follows from.
        progress: told how it goes.
        mutate: check the concurrency checks too, by mutants; takes a minute or two.
    """
    tell = progress or (lambda _rung, _what: None)
    rungs: list[Rung] = []

    def climb(rung: Rung) -> None:
        rungs.append(rung)
        tell(rung.name, rung.summary)

    climb(text_rung(subject))
    loaded = _loaded(subject) if rungs[0].status is Status.PASSED else None
    if isinstance(loaded, Rung) or loaded is None:
        why = "the text failed" if loaded is None else "the module cannot be imported"
        climb(loaded or _not_run("schedule", why))
        climb(compile_rung(subject))
        climb(_not_run("function", why))
        climb(_not_run("concurrency", why))
        climb(_not_run("device", why))
    else:
        climb(schedule_rung(subject, loaded))
        climb(compile_rung(subject))
        climb(function_rung(subject, loaded, lambda case: tell("function", case)))
        if subject.attention.differentiable:
            climb(gradients_rung(subject, loaded, lambda case: tell("gradients", case)))
            climb(_determinism(subject, loaded, rungs, tell))
        climb(_concurrency(subject, loaded, rungs, tell, mutate=mutate))
        climb(device_rung(subject, loaded, lambda case: tell("device", case)))
    return _certificate(subject, tuple(rungs))


def _determinism(subject: Subject, module: ModuleType, rungs: list[Rung], tell: Progress) -> Rung:
    """Climb the rung if gradients are right: whether wrong ones repeat is of no interest."""
    if rungs[-1].status is Status.FAILED:
        return _not_run("determinism", f"{rungs[-1].name} failed")
    return determinism_rung(subject, module, lambda what: tell("determinism", what))


def _concurrency(
    subject: Subject, module: ModuleType, rungs: list[Rung], tell: Progress, *, mutate: bool
) -> Rung:
    """Climb the rung if the one below holds: a kernel that cannot run has no interleavings."""
    failed = [rung.name for rung in rungs[-2:] if rung.status is Status.FAILED]
    if failed:
        return _not_run("concurrency", f"{failed[0]} failed")
    return concurrency_rung(subject, module, lambda what: tell("concurrency", what), mutate=mutate)


def _loaded(subject: Subject) -> ModuleType | Rung:
    """Return the module, or the failed rung ``schedule`` if it cannot be imported."""
    try:
        return load_module(subject.path)
    except Exception as error:
        failure = blame(error, subject.path.name, subject.rendered.text, "import")
        details: dict[str, Json] = {"failures": [failure.to_json()]}
        return Rung("schedule", Status.FAILED, failure.reason, details)


def _not_run(name: str, why: str) -> Rung:
    return Rung(name, Status.NOT_RUN, f"not run: {why}")


def _facts(kernel: Artefact) -> dict[str, Json]:
    facts = asdict(kernel.facts) | {"tensor_instructions": dict(kernel.facts.tensor_instructions)}
    return {name: value for name, value in facts.items() if value is not None}


def _certificate(subject: Subject, rungs: tuple[Rung, ...]) -> Certificate:
    facts = _facts(subject.artefact)
    if subject.artefact.short is not None:
        facts["short_queries"] = _facts(subject.artefact.short)
    schedule = asdict(subject.choice.schedule)
    if subject.choice.backward is not None:
        facts["backward"] = {it.kernel: _facts(it) for it in subject.artefact.backward}
        schedule["backward"] = asdict(subject.choice.backward.schedule)
    return Certificate(
        name=subject.rendered.name,
        target=subject.rendered.target,
        versions={
            "flash4gen": __version__,
            # Without the suffix that tells how it was built: the numbers do not follow from it.
            "torch": torch.__version__.partition("+")[0],
            "triton": triton.__version__,
        },
        provenance=asdict(subject.rendered.provenance),
        schedule=schedule,
        facts=facts,
        rungs=rungs,
    )
