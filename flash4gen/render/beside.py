"""What templates see of portable kernels that sum gradients of inputs beside a pipeline.

They start from q, k, v, the output's gradient and what is known of each row, recompute scores and
gradients of scores, and add up what the pipeline has no place for; nothing else. A kernel of
another kind needs three things: the look-ups that it serves among those that
``schedule/backward/pipeline/inputs.py`` calls *beside*, a part of ``Beside`` with its text in
``backward/beside.py.j2``, and a part of ``BesideLaunch`` with its launch in
``backward/beside_launch.py.j2``, which leaves its result under ``sum_`` and the look-up's name.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from flash4gen.ir.derivative import ONE
from flash4gen.render import backward_loops, expressions
from flash4gen.render.backward import kernel_constants, kernel_options
from flash4gen.render.constants import integer
from flash4gen.render.context import Impl
from flash4gen.render.context_backward import Common
from flash4gen.render.context_mixed import Beside, BesideContext
from flash4gen.render.context_pipeline import BesideLaunch
from flash4gen.render.gradients import Gradients, Where, gradients
from flash4gen.render.mixed import in_triton
from flash4gen.schedule.backward.model import as_loops
from flash4gen.schedule.backward.pipeline.inputs import beside

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context import Constant
    from flash4gen.render.context_backward import DistanceGradient, PairGradient
    from flash4gen.render.context_pipeline import PipelineContext
    from flash4gen.schedule.backward.model import BackwardChoice


def beside_context(
    attention: Attention, choice: BackwardChoice, pipeline: PipelineContext
) -> BesideContext:
    """Return the context of a module with a pipeline and kernels beside it.

    Args:
        attention: the variant, simplified.
        choice: the shapes of the kernels, a ``BackwardSchedule``.
        pipeline: the context of everything else.
    """
    sums = _sums(attention)
    kernels = [
        kernel
        for kernel, where in (
            ("keys", Where.KEYS),
            ("queries", Where.ROWS),
            ("pairs", Where.PAIRS),
            ("distances", Where.DISTANCES),
        )
        if sums.at(where)
    ]
    keys = backward_loops.key_loop(attention, sums, as_loops(choice.schedule).heads)
    queries = backward_loops.query_loop(attention, sums)
    text = Beside(
        weights=Impl("softmax"),
        extents=Impl("batched"),
        common=Common(
            constants=tuple(map(_in_order, kernel_constants(choice, kernels))),
            options=kernel_options(choice, kernels),
            derivatives=backward_loops.derivatives(attention, sums),
            spans=backward_loops.query_spans(attention),
            pointers=False,
        ),
        keys=backward_loops.alone(keys) if keys.sums else None,
        queries=backward_loops.alone(queries) if queries.sums else None,
        pairs=_pairs(attention, sums),
        distances=_distances(attention, sums),
    )
    kept = {field.name: getattr(pipeline, field.name) for field in fields(pipeline)}
    helpers = expressions.arithmetic_of(attention, [by for _, by in sums.moving])
    moving = bool(sums.moving)
    triton = in_triton(attention, choice, pipeline, helpers, moving=moving)
    # What makes a tensor readable has been defined for the pipeline.
    triton = replace(triton, inputs=replace(triton.inputs, by_element=False))
    imports = pipeline.imports
    if "import triton.language as tl" not in imports:
        imports = ("import triton.language as tl", *imports)
    launch = replace(pipeline.backward, beside=beside_launch(attention, pipeline))
    more = {"beside": text, "triton": triton, "imports": imports, "backward": launch}
    return BesideContext(**{**kept, **more})


def _in_order(constant: Constant) -> Constant:
    """Return a constant of a kernel; sums by key load nothing ahead.

    Triton 3.9 would wait after their loop for copies that have been waited for, and no order of
    events can tell whether it does: a mutant of that wait is neither found nor proven redundant.
    """
    if constant.name != "KEYS_STAGES":
        return constant
    return integer("KEYS_STAGES", 1, "nothing is loaded ahead: every copy is waited for once")


def beside_launch(attention: Attention, pipeline: PipelineContext) -> BesideLaunch:
    """Return how the kernels are launched."""
    sums = _sums(attention)
    return BesideLaunch(
        inputs=pipeline.backward.compute.inputs,
        queries=tuple(f"sum_{item.name}" for item in sums.at(Where.ROWS)),
        keys=tuple(f"sum_{item.name}" for item in sums.at(Where.KEYS)),
        queries_wanted=_wanted(attention, sums, Where.ROWS),
        keys_wanted=_wanted(attention, sums, Where.KEYS),
        pairs=_pairs(attention, sums),
        distances=_distances(attention, sums),
    )


def _sums(attention: Attention) -> Gradients:
    """Return the gradients that are summed beside the pipeline, and no others."""
    others = beside(attention)
    found = gradients(attention).summed
    summed = tuple(it for it in found if it.where is not Where.SINK and it.lookup in others)
    return Gradients(by_s=ONE, summed=summed, refused=())


def _pairs(attention: Attention, sums: Gradients) -> tuple[PairGradient, ...]:
    """Return the kernels of gradients with an element per score, in their places among all."""
    every = [tensor.name for tensor in gradients(attention).inputs]
    return tuple(
        replace(pair, position=3 + every.index(pair.tensor))
        for pair in backward_loops.pair_gradients(attention, sums)
    )


def _distances(attention: Attention, sums: Gradients) -> tuple[DistanceGradient, ...]:
    """Return the kernels of gradients with an element per distance, likewise."""
    every = [tensor.name for tensor in gradients(attention).inputs]
    return tuple(
        replace(one, position=3 + every.index(one.tensor))
        for one in backward_loops.distance_gradients(attention, sums)
    )


def _wanted(attention: Attention, sums: Gradients, where: Where) -> str:
    """Return whether somebody asks for a gradient that is summed in one place."""
    every = gradients(attention).inputs
    tensors = dict.fromkeys(item.lookup.tensor for item in sums.at(where))
    return " or ".join(f"needs[{3 + every.index(tensor)}]" for tensor in tensors)
