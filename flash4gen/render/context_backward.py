"""What the templates of backward passes see, beside what those of forward passes do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.render.context import (
    Constant,
    Impl,
    Mask,
    Option,
    RenderContext,
    SegmentText,
)

if TYPE_CHECKING:
    from flash4gen.render.context_inputs import Inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivatives:
    """The function that computes a score and its derivatives.

    Attributes:
        parameters: of the function.
        text: what it returns, in the spec's language.
        body: its lines; none if all derivatives are constants.
        origin: file and line of the spec.
    """

    parameters: tuple[str, ...]
    text: tuple[str, ...]
    body: tuple[str, ...]
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySpans:
    """Which queries see a key tile.

    Attributes:
        parameters: of the function that says so.
        arguments: at its call.
        segments: one or two ranges of queries.
        two: whether there are two.
        ordered: whether the first is known to start first.
    """

    parameters: tuple[str, ...]
    arguments: tuple[str, ...]
    segments: tuple[SegmentText, ...]
    two: bool
    ordered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What all kernels of a backward pass have in common.

    Attributes:
        constants: tiles and stages, with their reasons.
        options: compiler options of each kernel.
        derivatives: of the score.
        spans: which queries see a key tile.
        pointers: whether the functions that load by pointers are not there yet.
    """

    constants: tuple[Constant, ...]
    options: tuple[Option, ...]
    derivatives: Derivatives
    spans: QuerySpans
    pointers: bool


@dataclass(frozen=True, slots=True)
class Value:
    """A name, and the expression that it gets."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientLoop:
    """A loop over tiles that recomputes scores and adds up gradients.

    Attributes:
        inputs: how the kernel reads tensors.
        program: the lines that read what is the same in all steps.
        step: the lines that read what is not.
        handed: what the loop is handed for them.
        score: the assignment of the score, and of its derivatives.
        visible: the assignment of the mask.
        terms: products with derivatives of the score.
        guards: those of them that may be infinite where a key is hidden.
        ds: gradient of the scaled product.
        sums: gradients of inputs, along the rows or keys of the program's tile.
        results: what the loop returns.
        mask: which keys a query tile sees.
        kept: the arguments of the function that says which weights stay; none without dropout.
        dv: the gradient of the values, as it is stored.
        scales: whether the score reads scaled products, whatever the forward pass's reads.
        together: whether one loop goes over the queries of all heads of a group.
        head: the line that says which head a step is for, where one loop has several.
        alone: whether it sums gradients of inputs only: those of q, k and v are a pipeline's.
        adds: whether what a tile contributes to the gradient of queries is added in memory.
    """

    inputs: Inputs
    program: str
    step: str
    handed: tuple[str, ...]
    score: str
    visible: str
    terms: tuple[Value, ...]
    guards: tuple[str, ...]
    ds: str
    sums: tuple[Value, ...]
    results: str
    mask: Mask
    kept: tuple[str, ...]
    dv: str
    scales: bool
    together: bool = False
    head: str = ""
    alone: bool = False
    adds: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PairGradient:
    """The kernel of the gradient of an input with an element per score.

    Attributes:
        name: of the value.
        tensor: of the input.
        position: among all gradients.
        function: the kernel's name.
        batches, heads: the batch entries and heads that a program adds up, as ranges.
        shape: of the gradient, axes in the order of the kernel.
        programs: of them per tile.
        loop: how scores are recomputed.
        term: what is added up.
        guarded: whether it may be infinite where a key is hidden.
    """

    name: str
    tensor: str
    position: int
    function: str
    batches: str
    heads: str
    shape: tuple[str, ...]
    programs: str
    loop: GradientLoop
    term: str
    guarded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DistanceGradient:
    """The kernel of the gradient of an input with an element per distance.

    Attributes:
        name: of its sums, one for each distance.
        tensor: of the input.
        position: among all gradients.
        function: the kernel's name.
        alike: whether the mask sees the same of all tiles on a diagonal.
        loop: how scores are recomputed.
        term: what is added up.
        guarded: whether it may be infinite where a key is hidden.
    """

    name: str
    tensor: str
    position: int
    function: str
    alike: bool
    loop: GradientLoop
    term: str
    guarded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The function that says which element of an input each sum belongs to.

    Attributes:
        name: of the function.
        element: the look-up, in the spec's language.
        signature, names: its parameters with their types, and its arguments.
        body: its lines.
        places: what it returns, an index for each axis of the input.
    """

    name: str
    element: str
    signature: tuple[str, ...]
    names: tuple[str, ...]
    body: tuple[str, ...]
    places: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackwardLaunch:
    """The launcher of the backward kernels.

    Attributes:
        signature: its parameters with their types.
        given: their names.
        wanted: the gradients, in words.
        second: name of the forward pass's second result.
        query_sums, key_sums: gradients of inputs that the kernels sum along rows and keys.
        pairs, distances: those that have kernels of their own.
        spreads: what says which element a sum belongs to, where indices are computed.
        sinks: the lines that give the gradient of the sink's logit.
        placed: the lines that bring gradients of inputs into the inputs' shapes, and the return.
        any_size: as for ``Launch``.
        key_results: what the kernel of keys is given for its results.
        adds: whether it adds up the gradient of queries as well.
    """

    signature: tuple[str, ...]
    given: tuple[str, ...]
    wanted: str
    second: str
    query_sums: tuple[str, ...]
    key_sums: tuple[str, ...]
    pairs: tuple[PairGradient, ...]
    distances: tuple[DistanceGradient, ...]
    spreads: tuple[Spread, ...]
    sinks: tuple[str, ...]
    placed: tuple[str, ...]
    any_size: bool = False
    key_results: tuple[str, ...] = ("dk", "dv")
    adds: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EagerSequences:
    """How packed sequences are computed one by one in PyTorch.

    Attributes:
        signature, names: of the function for one sequence, and its arguments.
        lengths: the arguments of the function that checks lengths.
        gradient_signature, gradient_names: of the function of its gradients, and its arguments.
        gradient_results, gradient_targets: what that gives, and where it goes.
        sums: what is known for each row, key or distance, before gradients of inputs are summed,
            and what it is before all sequences.
        by_distance: whether something is known for each distance.
        by_sequence: whether there are sums over the rows of each sequence.
    """

    signature: tuple[str, ...]
    names: tuple[str, ...]
    lengths: tuple[str, ...]
    gradient_signature: tuple[str, ...]
    gradient_names: tuple[str, ...]
    gradient_results: tuple[str, ...]
    gradient_targets: tuple[str, ...]
    sums: tuple[Value, ...]
    by_distance: bool
    by_sequence: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EagerTraining:
    """The formula and its derivative in PyTorch.

    Attributes:
        signature: parameters of the formula.
        score_signature, score_names: of the function that computes scores, and its arguments.
        score_results: what that function gives.
        returned: the type of it.
        reads, score: its lines: what inputs hold; the scores, derivatives and mask.
        masks, nothing, look_up, normalises, empty_value, second: as for ``Eager``.
        needs_seq_q, needs_seq_k, needs_q, needs_k, needs_h, needs_b: what the lines read.
        sink: parameters of the function that gives the sink's logit; none without one.
        sink_names: its arguments.
        sink_body: its lines.
        sink_returned: the type of what it gives.
        sink_moves: whether it gives derivatives too.
        sums: the lines that sum gradients of inputs.
        launch: what it shares with the launcher of the kernels.
        ds: gradient of the scaled product.
        kept: as for ``Eager``.
        dp: gradient of the weights.
        by_distance: whether something is summed for each distance.
        apart: whether each sequence is computed by itself, of packed ones.
        sequences: what computes them one by one.
    """

    signature: tuple[str, ...]
    score_signature: tuple[str, ...]
    score_names: tuple[str, ...]
    score_results: tuple[str, ...]
    returned: str
    reads: tuple[str, ...]
    score: tuple[str, ...]
    masks: bool
    nothing: bool
    look_up: bool
    normalises: bool
    empty_value: str
    second: str
    needs_seq_q: bool
    needs_seq_k: bool
    needs_q: bool
    needs_k: bool
    needs_h: bool
    needs_b: bool
    sink: tuple[str, ...]
    sink_names: tuple[str, ...]
    sink_body: tuple[str, ...]
    sink_returned: str
    sink_moves: bool
    sums: tuple[str, ...]
    launch: BackwardLaunch
    ds: str
    kept: tuple[str, ...]
    dp: str
    by_distance: bool
    apart: bool
    sequences: EagerSequences


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientInterface:
    """What makes the public function differentiable.

    Attributes:
        name, digest: of the op.
        signature, given, wanted, second: as for ``BackwardLaunch``.
        tensors: what has a gradient.
        saved: what the backward pass starts from.
        needs: which of the gradients are needed, as expressions.
        returned: a gradient, or None, for each argument.
        differentiable: the arguments that have a gradient.
        refused: those that move the result and have none.
    """

    name: str
    digest: str
    signature: tuple[str, ...]
    given: tuple[str, ...]
    wanted: str
    second: str
    tensors: tuple[str, ...]
    saved: tuple[str, ...]
    needs: tuple[str, ...]
    returned: tuple[str, ...]
    differentiable: tuple[str, ...]
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backward:
    """Everything that a backward pass is printed from.

    Attributes:
        operands: how tiles come in, ``pointer`` or ``tma``.
        extents: how sequences lie, ``batched`` or ``packed``.
        queries: the loop of a kernel of their own; None where that of the keys adds them up.
    """

    weights: Impl
    operands: Impl
    extents: Impl
    common: Common
    keys: GradientLoop
    queries: GradientLoop | None
    pairs: tuple[PairGradient, ...]
    distances: tuple[DistanceGradient, ...]
    launch: BackwardLaunch
    eager: EagerTraining


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingContext(RenderContext):
    """What a module with both passes is printed from; templates know it as ``ctx``."""

    backward: Backward
