"""What templates see of a warp-specialised forward kernel with portable gradients, in one module.

A function of Triton cannot call one of Gluon, so that what both passes compute with is printed
twice; ``languages`` tells their names apart.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from flash4gen.ir.expr import SCORE
from flash4gen.render import expressions
from flash4gen.render.backward import backward_text, differentiable
from flash4gen.render.constants import exponent, integer
from flash4gen.render.context import LoadText, Option, Score
from flash4gen.render.context_mixed import InTriton, MixedContext, Stored
from flash4gen.render.gradients import gradients
from flash4gen.schedule.backward.model import as_loops

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context import Arithmetic, Constant
    from flash4gen.render.context_blackwell import BlackwellContext
    from flash4gen.schedule.backward.model import BackwardChoice

GROUP = 8
"""Elements of 16 bytes: gradients are computed with 16-bit tensors only."""


def mixed_context(
    attention: Attention, choice: BackwardChoice, forward: BlackwellContext
) -> MixedContext:
    """Return the context of a module with both passes.

    Args:
        attention: the variant, simplified.
        choice: the schedule of its backward pass, a ``BackwardSchedule``.
        forward: the context of its forward pass.
    """
    found = gradients(attention)
    kept = {field.name: getattr(forward, field.name) for field in fields(forward)}
    helpers = expressions.arithmetic_of(attention, [by for _, by in found.moving])
    backward = backward_text(attention, choice, found)
    more = {
        "interface": differentiable(attention, found, backward.launch, forward.interface),
        "imports": _imports(forward, helpers),
        "backward": backward,
        "triton": in_triton(attention, choice, forward, helpers, moving=bool(found.moving)),
    }
    return MixedContext(**{**kept, **more})


def in_triton(
    attention: Attention,
    choice: BackwardChoice,
    forward: BlackwellContext,
    helpers: Arithmetic,
    *,
    moving: bool,
) -> InTriton:
    """Return what portable kernels compute with beside those of a warp-specialised module.

    Args:
        attention: the variant, simplified.
        choice: the shapes of the kernels, a ``BackwardSchedule``.
        forward: the context of the rest of the module.
        helpers: the functions that expressions call.
        moving: whether scores come with derivatives.
    """
    schedule = as_loops(choice.schedule)
    read, mask = expressions.input_tensors(attention), expressions.mask(attention)
    plain = attention.score == SCORE or moving
    exact = schedule.value_pad == attention.value_dim
    own = (
        *exponent(attention),
        integer("HEAD_PAD", schedule.head_pad, "HEAD_DIM, up to the power of two tl.dot needs"),
        integer("VALUE_PAD", schedule.value_pad, "VALUE_DIM, likewise"),
    )
    return InTriton(
        constants=tuple(_others(own, forward)),
        options=(Option("num_ctas", "1"), Option("enable_fp_fusion", "True")),
        arithmetic=helpers,
        load=LoadText("pointer", "an address per element, so that Triton can use cp.async", GROUP),
        inputs=replace(read, by_element=read.by_element and not forward.inputs.by_element),
        score=Score(impl="identity") if plain else expressions.score(attention),
        mask=mask,
        masks=mask.impl == "expr",
        stored=Stored("row < rows_left" if exact else "(row < rows_left) & (column < VALUE_DIM)"),
    )


def _others(own: tuple[Constant, ...], forward: BlackwellContext) -> list[Constant]:
    """Return the constants that do not stand in the module already."""
    there = {it.name: it.value for it in (*forward.constants.variant, *forward.constants.schedule)}
    return [it for it in own if there.get(it.name) != it.value]


def _imports(forward: BlackwellContext, helpers: Arithmetic) -> tuple[str, ...]:
    """Return the imports, Triton's own language among them."""
    library = "from triton.language.extra import libdevice"
    lines = [line for line in forward.imports if line != library]
    if library in forward.imports or helpers.libdevice:
        lines.insert(-1, library)
    return ("import triton.language as tl", *lines)
