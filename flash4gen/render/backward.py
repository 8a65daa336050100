"""What the templates of a module with both passes see: the forward pass's context, and more."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from flash4gen.ir.nodes import EmptyRow
from flash4gen.render import backward_eager, backward_loops
from flash4gen.render.constants import integer
from flash4gen.render.context import Impl, Option
from flash4gen.render.context_backward import Backward, Common, TrainingContext
from flash4gen.render.expressions import arithmetic_of, sigmoid_form, tanh_form
from flash4gen.render.gradients import gradients
from flash4gen.schedule.backward.model import as_loops
from flash4gen.schedule.model import Load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context import Constant, Interface, RenderContext
    from flash4gen.render.context_backward import BackwardLaunch
    from flash4gen.render.gradients import Gradients
    from flash4gen.schedule.backward.model import BackwardChoice, BackwardSchedule, LoopShape


CONVERTED = 2048
"""Elements of dq per program that brings them into their type: a few 16-byte loads a thread."""


_QUERY_SUMS = "_descriptor(sums, KEYS_TILE_Q.value, HEAD_PAD.value)"


def training_context(
    attention: Attention, choice: BackwardChoice, forward: RenderContext, *, waves: bool
) -> TrainingContext:
    """Return the context of a module with both passes.

    Args:
        attention: the variant, simplified.
        choice: the schedule of its backward pass.
        forward: the context of its forward pass.
        waves: whether it is for AMD.
    """
    found = gradients(attention)
    kept = {field.name: getattr(forward, field.name) for field in fields(forward)}
    derived = [by for _, by in found.moving]
    backward = backward_text(attention, choice, found, waves=waves)
    return TrainingContext(
        **{
            **kept,
            "interface": differentiable(attention, found, backward.launch, forward.interface),
            "arithmetic": arithmetic_of(attention, derived, tanh_form(waves=waves)),
            "backward": backward,
        }
    )


def differentiable(
    attention: Attention, found: Gradients, host: BackwardLaunch, face: Interface
) -> Interface:
    """Return the public function of a forward pass with what makes it differentiable."""
    return replace(
        face,
        element="dtype",
        gradients=backward_eager.interface(attention, found, host, face.name, face.digest),
    )


def backward_text(
    attention: Attention, choice: BackwardChoice, found: Gradients, *, waves: bool = False
) -> Backward:
    """Return everything that the kernels of a backward pass are printed from.

    ``waves``: for AMD.
    """
    schedule = as_loops(choice.schedule)
    boxes = schedule.load is Load.TMA
    pairs = backward_loops.pair_gradients(attention, found)
    distances = backward_loops.distance_gradients(attention, found)
    zero = attention.empty_row is EmptyRow.ZERO
    adds = schedule.queries is None
    host = backward_eager.launch(attention, found, pairs, distances)
    results = (_QUERY_SUMS, *host.key_results) if adds else host.key_results
    host = replace(host, any_size=waves, adds=adds, key_results=results)
    kernels = {"queries": not adds, "pairs": pairs, "distances": distances}
    some = [name for name, there in kernels.items() if there]
    return Backward(
        weights=Impl("softmax" if attention.normalised else sigmoid_form(waves=waves)),
        operands=Impl(schedule.load.value),
        extents=Impl("packed" if attention.packed else "batched"),
        common=Common(
            constants=_constants(choice, some),
            options=_options(choice, some, rows=attention.normalised),
            derivatives=backward_loops.derivatives(attention, found),
            spans=backward_loops.query_spans(attention),
            pointers=False,
        ),
        keys=replace(
            backward_loops.key_loop(attention, found, schedule.heads, boxes=boxes), adds=adds
        ),
        queries=None if adds else backward_loops.query_loop(attention, found, boxes=boxes),
        pairs=pairs,
        distances=distances,
        launch=host,
        eager=backward_eager.eager(attention, found, host, "0.0" if zero else 'float("nan")'),
    )


def _constants(choice: BackwardChoice, some: Sequence[str]) -> tuple[Constant, ...]:
    """Return tiles and stages. ``some``: the kernels that not every backward pass has."""
    rows = integer("ROWS", as_loops(choice.schedule).rows, choice.reason("rows"))
    converted = integer("CONVERTED", CONVERTED, "elements of dQ per program that converts them")
    adds = as_loops(choice.schedule).queries is None
    return (*kernel_constants(choice, ("keys", *some)), rows, *([converted] if adds else []))


def kernel_constants(choice: BackwardChoice, kernels: Sequence[str]) -> tuple[Constant, ...]:
    """Return the shapes of some kernels, by their names."""
    schedule = as_loops(choice.schedule)
    found: list[Constant] = []
    for name in kernels:
        shape, upper, reason = _shape(schedule, name), name.upper(), choice.reason(name)
        found.append(integer(f"{upper}_TILE_Q", shape.tile_q, reason))
        found.append(integer(f"{upper}_TILE_K", shape.tile_k))
        if name != "pairs":
            found.append(integer(f"{upper}_STAGES", shape.stages))
    return tuple(found)


def _options(choice: BackwardChoice, some: Sequence[str], *, rows: bool) -> tuple[Option, ...]:
    found = kernel_options(choice, ("keys", *some))
    four = '{**OPTIONS, "num_warps": 4}'
    more = [Option("ROWS_OPTIONS", four)] if rows else []
    more += [] if "queries" in some else [Option("CONVERT_OPTIONS", four)]
    return (*found, *more)


def kernel_options(choice: BackwardChoice, kernels: Sequence[str]) -> tuple[Option, ...]:
    """Return the compiler options of some kernels, by their names."""
    schedule = as_loops(choice.schedule)
    found: list[Option] = []
    for name in kernels:
        shape = _shape(schedule, name)
        parts = f'"num_warps": {shape.warps}, "num_stages": {shape.stages}'
        found.append(Option(f"{name.upper()}_OPTIONS", f"{{**OPTIONS, {parts}}}"))
    return tuple(found)


def _shape(schedule: BackwardSchedule, name: str) -> LoopShape:
    shape: LoopShape = getattr(schedule, name)
    return shape
