"""Small modules with a backward pass: rendered with small tiles, loaded, compiled where needed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from flash4gen.build.compile import compile_module
from flash4gen.build.load import load_module
from flash4gen.ir import library
from flash4gen.ir.expr import Extent, Input, InputDType
from flash4gen.ir.nodes import DType, Pass
from flash4gen.render.module import render
from flash4gen.schedule.backward.model import LoopShape, as_loops
from flash4gen.validate import Subject
from flash4gen.validate.cases import Case, Values
from flash4gen.validate.gradient_rung import call_of, gradient_result, run_gradients
from flash4gen.validate.gradients import Call, Upstream, reference_gradients
from tests.ir.notation import attention, expr
from tests.validate.subjects import PINS, choice_for

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from flash4gen.ir.nodes import Attention

SMALL = LoopShape(32, 16, 4, 2)
"""Tiles that small tensors pass."""

SQUARE = LoopShape(16, 16, 4, 2)
"""The same where they must be square."""

FEW = Case(name="few", batch=2, seq_q=5, seq_k=9, values=Values.LARGE)
"""Less than a tile."""

SLOPES = Input("slopes", InputDType.F32, (Extent.HEADS,))


def training(**changes: object) -> Attention:
    """Return a small variant with both passes."""
    changes.setdefault("pins", PINS)
    return attention(
        **{"passes": (Pass.FORWARD, Pass.BACKWARD), "dtype": DType.BF16, "name": "trained"}
        | changes
    )


EVERYTHING = training(
    score="5.0 * tanh(s / 5.0) + slopes[h] * float(k - q_end) * 0.1 + bias[h, q, k]",
    mask="k <= q_end and q_end - k < 40",
    sink=expr("slopes[h]"),
)
"""Groups, a score with a derivative, a row and a pair gradient, a sink, a mask with two edges."""


def written(variant: Attention, target: str, folder: Path, *changes: tuple[str, str]) -> Subject:
    """Write a module with small tiles, changed by replacements that must find something.

    Nothing is compiled: its artefact is missing.
    """
    choice = choice_for(variant, target)
    assert choice.backward is not None
    schedule = as_loops(choice.backward.schedule)
    by_distance = None if schedule.distances is None else SQUARE
    schedule = replace(schedule, keys=SMALL, queries=SMALL, pairs=SMALL, distances=by_distance)
    choice = replace(choice, backward=replace(choice.backward, schedule=schedule))
    rendered = render(variant, library.target(target), choice)
    for old, new in changes:
        assert old in rendered.text, f"the templates no longer print {old!r}"
        rendered = replace(rendered, text=rendered.text.replace(old, new))
    path = folder / f"{variant.name}.py"
    path.write_text(rendered.text, encoding="utf-8")
    return Subject(
        attention=variant,
        hardware=library.target(target),
        choice=choice,
        rendered=rendered,
        path=path,
        artefact=None,  # type: ignore[arg-type]  # filled in where it is needed
    )


def compiled(subject: Subject) -> Subject:
    """Return the module with its kernels compiled."""
    artefact = compile_module(subject.path, subject.attention, subject.hardware)
    return replace(subject, artefact=artefact)


def module_of(variant: Attention, folder: Path) -> ModuleType:
    """Return a module whose CPU path is tested."""
    return load_module(written(variant, "rtx5090", folder).path)


def in_float64(variant: Attention, case: Case) -> tuple[Call, Upstream]:
    """Return arguments in float64, and gradients of the results."""
    call, given = call_of(variant, case)
    wide = Call(call.q.double(), call.k.double(), call.v.double(), call.tensors)
    return wide, Upstream(given.out.double(), given.second.double())


def assert_right(found: Subject, *cases: Case) -> None:
    """Run a compiled module's kernels and compare all gradients."""
    module = load_module(found.path)
    for case in cases:
        result = gradient_result(found, module, case)
        assert not result.failures, result.failures


def assert_like_the_oracle(variant: Attention, call: Call, given: Upstream, tmp_path: Path) -> None:
    """Compare the gradients of a module's CPU path, in float64, with those of the oracle."""
    reference = reference_gradients(variant, call, given)
    found = run_gradients(variant, module_of(variant, tmp_path), call, given)
    assert {"q", "k", "v"} <= set(found)
    for argument, grad in found.items():
        assert grad is not None
        tolerance = {torch.float64: 1e-7, torch.float32: 1e-5, torch.bfloat16: 1e-2}[grad.dtype]
        scale = reference[argument].abs().max().item()
        error = (grad.double() - reference[argument]).abs().max().item()
        assert error <= tolerance * scale, argument
