"""What the templates of the ``blackwell`` family see, beside what they share with all modules.

As in ``context``, every decision is made before this point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flash4gen.render.context import (
        Arithmetic,
        Constants,
        Eager,
        Header,
        Impl,
        Interface,
        Mask,
        Score,
    )
    from flash4gen.render.context_inputs import Inputs


@dataclass(frozen=True, slots=True)
class Named:
    """A name with the text of its value, where it has one, and a remark."""

    name: str
    reason: str
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How the sequences of a batch lie, and what a work tile is told of its own.

    Attributes:
        impl: ``batched`` or ``packed``.
        holder: what has seq_q and seq_k.
        place: the statement that assigns q_tile, pack, b, and the holder where it is not known.
        tiles: how many query tiles a work tile has, as ``q_tile`` counts them.
        rows: query positions of a work tile.
        host_rows: the same in the launch.
        key_length: keys of a sequence, in the launch; on average, where they differ.
        before: statements of the launch ahead of the number of work tiles.
        queries, keys: coordinates of row ``q``, and of row ``key``, for the copy engine.
        entry: what is handed on to where keys are copied, beside their position.
        second: address of the second result's row ``q``, from its pointer on.
    """

    impl: str
    holder: str
    place: str
    tiles: str
    rows: str
    host_rows: str
    key_length: str
    before: tuple[str, ...]
    queries: str
    keys: str
    entry: str
    second: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """How a role finds the key tiles of a work tile.

    Attributes:
        place: statements that assign q_tile, pack, b and spans.
        alone: the first of them, without spans.
        spans: the ranges of key tiles, in the order in which they are walked.
        count: how many key tiles there are.
    """

    place: tuple[str, ...]
    alone: str
    spans: tuple[str, ...]
    count: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """The function that computes the ranges of key tiles.

    Attributes:
        parameters: of it.
        lines: statements that assign what the bounds read.
        spans: after each range of ``Mask.segments``, the assignment that keeps it.
        result: what is returned.
    """

    parameters: tuple[str, ...]
    lines: tuple[str, ...]
    spans: tuple[str, ...]
    result: str


@dataclass(frozen=True, slots=True)
class TensorMemory:
    """Where scores and weights lie: the plan's file, the weights' element type, both's layout.

    ``per_column`` is how many weights a column holds, ``weights_at`` where among those of a whole
    score its upper half begins.

    ``tiles`` is how many query tiles a program has, here and below: a constant of the module, or a
    parameter of its kernel.
    """

    impl: str
    dtype: str
    layout: str
    tiles: str
    per_column: int
    per_column_text: str
    weights_at: str


@dataclass(frozen=True, slots=True)
class Exponent:
    """How a weight's exponent follows from its score.

    Attributes:
        impl: the file of ``concern/exp2``.
        to_log2: what scores are multiplied with.
        given: the parameter, and argument, that it is; empty for a constant.
        rounding: what weights lose to their element type, in words.
    """

    impl: str
    to_log2: str
    given: str
    rounding: str


@dataclass(frozen=True, slots=True)
class Work:
    """How programs come to their work: the file, and the layout of launch control's answer."""

    impl: str
    answer_layout: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """The load warp.

    Attributes:
        impl: in which order key and value tiles come.
        chunked: whether the head dimension comes in several parts.
        tile: where a query tile starts, in query tiles.
        q_place: coordinates of a query tile; ``key_place``: of a tile of keys or values.
        entry: the argument of ``_fetch`` that says which sequence is read.
        ring, slot: what ``_fetch`` is given to find slots in, and one of them.
        key_arguments, value_arguments: of ``_fetch`` for a key tile, and for a value tile.
        walk: of its work tiles.
    """

    impl: str
    chunked: bool
    tile: str
    q_place: str
    key_place: str
    entry: str
    ring: str
    slot: str
    key_arguments: tuple[str, ...]
    value_arguments: tuple[str, ...]
    walk: Walk
    tiles: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mma:
    """The mma warp.

    Attributes:
        impl: the order of products.
        chunked: whether the head dimension is multiplied in several parts.
        key_slot, value_slot: where a key or value tile lies.
        qk_parameters: of ``_qk``.
        chunks: its last argument, where there are parts: their number, as a runtime integer, so
            that the loop over them stays a loop.
        early, late: the products P·V before and after the wait for the late weights.
        walk: of its work tiles.
    """

    impl: str
    chunked: bool
    key_slot: str
    value_slot: str
    qk_parameters: tuple[str, ...]
    chunks: str
    early: tuple[str, ...]
    late: tuple[str, ...]
    walk: Walk
    tiles: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyMask:
    """How single elements of a score tile are masked.

    Attributes:
        impl: ``bits`` where the keys of a row are one or two intervals, ``bits_read`` where tensors
            say which of them, ``bits_words`` where a tensor has a bit for each; ``expr`` and
            ``read``, like the first two, where they are no intervals.
        title, text, parameters, body, origin: as for ``Score``; ``bits_words`` has them for
            ``_masked``, where body is the number of the first key's bit.
        arguments: of ``_visible`` in the softmax step, or of ``_masked`` there.
        holder: what has seq_k there.
        row_parameters: of ``_row_keys``.
        row_arguments: at its call.
        visible: the assignment of the bounds of a row.
        bounds: what ``_row_keys`` returns.
        bits: the statements that turn bounds into the bits of a fragment; none without intervals.
        reads: the variables that the softmax step computes or is handed for it.
        before: the key is visible, too, where it is less than one of these.
    """

    impl: str
    title: str
    text: str
    parameters: tuple[str, ...]
    body: str
    origin: str
    arguments: tuple[str, ...]
    holder: str
    row_parameters: tuple[str, ...]
    row_arguments: tuple[str, ...]
    visible: str
    bounds: tuple[str, ...]
    bits: tuple[str, ...]
    reads: tuple[str, ...]
    before: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMaximum:
    """Where the row maximum comes from.

    Attributes:
        impl: ``reduce``, ``load``, ``monotone`` or ``monotone_load``.
        score: the statement that changes a fragment's scores; empty for the identity.
        row_score: the call that does it to the largest product of each row.
    """

    impl: str
    score: str
    row_score: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One loop of the softmax: how many key tiles, the first one of them, the step's arguments."""

    count: str
    last: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxRole:
    """The softmax warps.

    Attributes:
        impl: ``online``, or ``sigmoid``.
        walk: of its work tiles.
        row_place: statements that assign each row's q and h.
        second: address of a row of the second result, from its pointer on.
        holder: what has seq_q.
        runs: the loops over key tiles.
        step_parameters: of ``_softmax_step``.
        step_lines: statements at its start.
        columns: whether it computes the positions ``k`` of a fragment's keys.
        largest: of the fragments' row maxima ``tops``.
        total: of the fragments' row sums ``sums``.
        dtype: the weights' element type.
        early: whether some weights are released before the others.
        pause: after how many keys it waits before input tensors are read for others; empty if none
            are read for every key.
        to_log2, given: as of ``Exponent``.
        shift: whether weights are scaled to fill the range of 8 bits.
        factors: statements that assign what scores are multiplied with, where it is not constant.
    """

    impl: str
    walk: Walk
    row_place: tuple[str, ...]
    second: str
    holder: str
    runs: tuple[Run, ...]
    step_parameters: tuple[str, ...]
    step_lines: tuple[str, ...]
    columns: bool
    largest: str
    total: str
    dtype: str
    early: bool
    pause: str
    to_log2: str
    given: str
    shift: bool
    factors: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalise:
    """How a row's sum becomes the factor of its output, and its LSE.

    Attributes:
        impl: ``plain``, ``sink`` where a logit without a value joins the sum, or ``scaled`` where
            outputs have a factor that is known at run time.
        empty_factor: what a row without any term is multiplied with.
        log_max: the exponent that weights of the row's maximum have, less that of the weights.
        value_factor: the factor of the outputs.
        unit: the same in front of a product; empty for 1.
        given: parameters of ``_normalised`` for these; ``given_factors``: its arguments.
        reads: statements that read the tensors of sink and factor.
        logit: the sink, in base e.
    """

    impl: str
    empty_factor: str
    log_max: str
    value_factor: str = ""
    unit: str = ""
    given: str = ""
    given_factors: str = ""
    reads: str = ""
    logit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """The correction warps.

    Attributes:
        impl: ``threshold``, or ``none`` where nothing is rescaled.
        walk: of their work tiles.
        dtype: the outputs' element type.
        vote: statements that find the least factor of a CTA's rows.
        least: that factor.
        empty_text: the output of a row without keys.
    """

    impl: str
    walk: Walk
    dtype: str
    vote: tuple[str, ...]
    least: str
    empty_text: str
    tiles: str


@dataclass(frozen=True, slots=True)
class StoreRole:
    """The store warp: where an output tile is, in query tiles, and where it goes."""

    walk: Walk
    tile: str
    out_place: str
    tiles: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The warps of a program: the query tiles that have softmax warps; all but the correction's.

    Attributes:
        softmax_tiles: the query tiles.
        weights, output: the functions of the roles softmax and correction.
        warps, registers: of all roles but the correction.
    """

    softmax_tiles: tuple[int, ...]
    weights: str
    output: str
    warps: str
    registers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Specialised:
    """What the roles share, the kernel that starts them, and its launch.

    Attributes:
        integers: runtime arguments.
        fields: of ``Problem``, in its order.
        barriers: arrays of mbarriers; the value is slots and arrivals.
        tiles: how many query tiles a program has.
        roles: its warps; ``short``: those of the kernel for short queries, if there is one.
        q_smem, k_smem, v_smem, out_smem: shapes of the buffers.
        q_tensor, out_tensor: what is described to the copy engine, packs of heads as an axis of
            their own, and the shape of what it moves at a time.
        k_box, v_box: the same shapes of keys and values; for a pair of CTAs, all of them end in the
            axis along which they are split.
        output_layout: of tensor memory.
        rows_layout: of a number for each row, in shared memory.
        sections: statements of the launch that assign the integers which the order needs.
        grid: how many programs are launched.
        empty_value: output of a row without keys; ``empty_second``: its second result.
        statistics: whether softmax and correction tell each other about rows.
        row_elements: a row's elements are a multiple of this, which the copy engine asks for.
        element_of: the element type of tensor ``x`` in Gluon's words.
    """

    integers: tuple[Named, ...]
    fields: tuple[str, ...]
    barriers: tuple[Named, ...]
    tiles: str
    roles: Roles
    short: Roles | None
    q_smem: str
    k_smem: str
    v_smem: str
    out_smem: str
    q_tensor: tuple[str, str]
    k_box: str
    v_box: str
    out_tensor: tuple[str, str]
    output_layout: str
    rows_layout: str
    sections: tuple[str, ...]
    grid: str
    empty_value: str
    empty_second: str
    statistics: bool
    row_elements: int
    element_of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlackwellContext:
    """Everything that one warp-specialised module is printed from."""

    header: Header
    imports: tuple[str, ...]
    constants: Constants
    arithmetic: Arithmetic
    eager: Eager
    interface: Interface
    mask: Mask
    spans: Spans
    lengths: Lengths
    place: Impl
    cluster: Impl
    work: Work
    plan: TensorMemory
    fetch: Fetch
    mma: Mma
    score: Score
    key_mask: KeyMask
    row_max: RowMaximum
    exp2: Exponent
    softmax: SoftmaxRole
    correction: Correction
    store: StoreRole
    specialised: Specialised
    inputs: Inputs
    normalise: Normalise
