"""Climbs the ladder: from a subject to its certificate, one rung after the other.

A rung that needs a lower one that failed is not run, and says so: nothing is proven about a module
that does not parse or does not load.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import torch
import triton

from flash4gen import __version__
from flash4gen.build.load import load_module
from flash4gen.validate.aside import numbers_aside
from flash4gen.validate.blame import blame
from flash4gen.validate.certificate import Certificate, Json, Rung, Status
from flash4gen.validate.concurrency import concurrency_rung
from flash4gen.validate.device import device_rung
from flash4gen.validate.numbers import Progress, not_run, number_rungs
from flash4gen.validate.structure import compile_rung, schedule_rung
from flash4gen.validate.text import text_rung
from flash4gen.vgpu.mutate.pool import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType

    from flash4gen.build.artefact import Artefact
    from flash4gen.validate.subject import Subject


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
        climb(loaded or not_run("schedule", why))
        climb(compile_rung(subject))
        climb(not_run("function", why))
        climb(not_run("concurrency", why))
        climb(not_run("device", why))
    else:
        climb(schedule_rung(subject, loaded))
        climb(compile_rung(subject))
        for rung in _run_rungs(subject, loaded, rungs[-1], tell, mutate=mutate):
            climb(rung)
        climb(device_rung(subject, loaded, lambda case: tell("device", case)))
    return _certificate(subject, tuple(rungs))


def _run_rungs(
    subject: Subject, module: ModuleType, compiled: Rung, tell: Progress, *, mutate: bool
) -> Iterator[Rung]:
    """Climb the rungs that run the kernel: those about numbers, and ``concurrency``.

    The last is not climbed if one below fails: a kernel that cannot run has no interleavings. With
    mutants, which take long, both parts run at once where there are processors for it.
    """
    watch = partial(
        concurrency_rung, subject, module, lambda what: tell("concurrency", what), mutate=mutate
    )
    numbers: Iterable[Rung]
    if mutate and usable_cores() > 1:
        with numbers_aside(subject) as answer:
            watched = _outcome(watch)
            numbers = answer()
    else:
        numbers = number_rungs(subject, module, tell)
        watched = watch
    failed = [compiled.name] if compiled.status is Status.FAILED else []
    for rung in numbers:
        yield rung
        failed += [rung.name] if rung.status is Status.FAILED else []
    yield not_run("concurrency", f"{failed[0]} failed") if failed else watched()


def _outcome(watch: Callable[[], Rung]) -> Callable[[], Rung]:
    """Return what gives a rung that was climbed now, or the fault that it came to."""
    try:
        rung = watch()
    except Exception as error:
        fault = error

        def failed() -> Rung:
            raise fault

        return failed
    return lambda: rung


def _loaded(subject: Subject) -> ModuleType | Rung:
    """Return the module, or the failed rung ``schedule`` if it cannot be imported."""
    try:
        return load_module(subject.path)
    except Exception as error:
        failure = blame(error, subject.path.name, subject.rendered.text, "import")
        details: dict[str, Json] = {"failures": [failure.to_json()]}
        return Rung("schedule", Status.FAILED, failure.reason, details)


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
        if subject.choice.backward.beside is not None:
            schedule["beside"] = asdict(subject.choice.backward.beside.schedule)
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
