"""What templates see: the whole template API, as frozen data.

Every decision is made before this point. A template prints these values and chooses nothing but
the concern files named by the ``impl`` fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flash4gen.render.context_backward import GradientInterface
    from flash4gen.render.context_dropout import DropoutText
    from flash4gen.render.context_inputs import Inputs
    from flash4gen.render.context_rows import NormText, OutputText
    from flash4gen.render.context_surround import Surround

API = 1
"""Raised whenever a field below changes its name or meaning; every module's header names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Provenance and docstring.

    Attributes:
        version: of flash4gen.
        spec_name: file name of the spec, without folders.
        target: name of the hardware item.
        provenance: aligned rows with the digests of spec, target, schedule and text.
        title: first line of the docstring.
        meaning: the other lines: the formula, and how it is computed.
    """

    version: str
    spec_name: str
    target: str
    provenance: tuple[str, ...]
    title: str
    meaning: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Constant:
    """A module constant: its name, the text of its value, and the reason for it."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Option:
    """A compiler option pinned in the launch, with the reason for its value if there is one."""

    name: str
    value: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Constants:
    """All constants of a module."""

    variant: tuple[Constant, ...]
    schedule: tuple[Constant, ...]
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Which helper functions the printed expressions call; tanh has four forms.

    Attributes:
        logistic: a sigmoid in a language that has none, Gluon.
    """

    tanh: bool
    tanh_approx: bool
    tanh_packed: bool
    floor_div: bool
    floor_mod: bool
    libdevice: bool
    tanh_reciprocal: bool = False
    logistic: bool = False


@dataclass(frozen=True, slots=True)
class Impl:
    """A concern that needs no more than the name of its file."""

    impl: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax:
    """How scores become weights, and how those are summed.

    Attributes:
        impl: ``online``, ``capped``, ``sigmoid``, or one of their forms.
        parts: whether the sum of a row is kept in parts until its last key.
        sums: shape of the sums of the rows of a tile.
    """

    impl: str
    parts: bool
    sums: str


@dataclass(frozen=True, slots=True)
class LoadText:
    """How tiles come from global memory.

    Attributes:
        impl: ``pointer`` or ``tma``.
        purpose: for the banner of the former.
        group: elements of 16 bytes, in which strides are counted.
    """

    impl: str
    purpose: str
    group: int


@dataclass(frozen=True, slots=True)
class Launch:
    """How the kernel is called.

    Attributes:
        any_size: whether Triton must not see the size of tensors, which it would specialise on.
    """

    any_size: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequences:
    """How the sequences of a batch lie.

    Attributes:
        impl: ``batched`` or ``packed``.
        entry: the batch entry in addresses of q, k and v.
        first_query: row of q at which a tile starts.
        first_key: row of k and v at which a sequence starts.
    """

    impl: str
    entry: str
    first_query: str
    first_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The score expression.

    Attributes:
        impl: ``identity``, ``expr``, ``capped``, or ``capped_pairs`` of two numbers at a time.
        title: for the banner.
        text: the expression in the spec's language.
        parameters: of ``_score``.
        arguments: at its call in the key loop.
        body: the function's indented statements, ending in a return.
        origin: file and line of the spec.
        share: of a capped score: 1 / (1 + e^2x) where it is a constant times tanh(x).
        asm: whether that takes a reciprocal in assembly.
    """

    impl: str
    title: str = ""
    text: str = ""
    parameters: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    body: str = ""
    origin: str = ""
    share: str = ""
    asm: bool = False


@dataclass(frozen=True, slots=True)
class LoopKind:
    """One call of the key loop: its two runs of tiles (begin, length, begin, length)."""

    runs: tuple[str, str, str, str]
    masked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentText:
    """One range of keys, printed.

    Attributes:
        suffix: of its variables; empty if there is one range only.
        names: of its live_start, live_end, full_start and full_end.
        body: the assignments that compute them from the tile's rows.
        after: the first tile that no earlier range has visited.
        loops: calls of the key loop.
    """

    suffix: str
    names: tuple[str, ...]
    body: str
    after: str
    loops: tuple[LoopKind, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """The mask expression and what follows from it.

    Attributes:
        impl: ``full`` or ``expr``.
        title, text, parameters, arguments, body, origin: as for ``Score``.
        segments: one or two ranges of keys.
        two: whether there are two.
        ordered: whether the first is known to start first.
        rows: the constant with the query positions of a work tile.
        range_parameters: of ``_visible_keys``.
        range_arguments: at its call in the kernel.
    """

    impl: str
    title: str
    text: str
    parameters: tuple[str, ...]
    arguments: tuple[str, ...]
    body: str
    origin: str
    segments: tuple[SegmentText, ...]
    two: bool
    ordered: bool
    rows: str
    range_parameters: tuple[str, ...]
    range_arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attend:
    """The key loop.

    Attributes:
        parameters, arguments: what it is handed for the expressions.
        scales: whether scores are scaled before their expression.
        factor: what they are scaled by then.
        score_sum: what is said of how the products of a score are summed.
        promotes: whether a tile's products with values are summed apart from the output.
        rescales: whether there is a running maximum, whose growth rescales the output so far.
        parts: whether the sums of rows are kept in parts.
        rounded: whether rounded weights are summed too, by a product with ones.
        kept: the arguments of the function that says which weights stay; none without dropout.
    """

    parameters: tuple[str, ...]
    arguments: tuple[str, ...]
    scales: bool
    factor: str
    score_sum: str
    promotes: bool
    rescales: bool
    parts: bool
    rounded: bool
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Epilogue:
    """What becomes of rows without keys, and which columns are stored.

    Attributes:
        empty_text, empty_factor, empty_value: of a row without keys.
        store_mask: which elements are stored.
        sink: the logit that joins the denominator; empty if there is none.
        parameters, arguments: of the function that normalises.
        log_max: the largest score of a row, in base 2 and on the scale of its sum; empty where no
            maximum is known.
        log_sum: logarithm of the sum of a row's weights, in base 2.
        divisor: what an output is divided by.
        unit: what an output that is not scaled otherwise counts.
        value_factor: the factor on values; empty if there is none.
        out, total: what is stored of an output, and of a sum, that is not normalised.
        normalises: whether there is one.
        first_row, second_row: rows of out, and of the second result, before a tile's.
        dropout_scale: what weights that stay count; empty without dropout.
    """

    empty_text: str
    empty_factor: str
    empty_value: str
    store_mask: str
    sink: str
    parameters: tuple[str, ...]
    arguments: tuple[str, ...]
    log_max: str
    log_sum: str
    divisor: str
    unit: str
    value_factor: str
    out: str
    total: str
    normalises: bool
    first_row: str
    second_row: str
    dropout_scale: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eager:
    """The formula in PyTorch.

    Attributes:
        body: assignments to ``x`` (the score) and ``visible`` (the mask), where they do something.
        masks: whether ``visible`` is assigned.
        nothing: whether the mask hides everything.
        needs_seq_q, needs_seq_k, needs_q, needs_k, needs_h, needs_b: what they read.
        sink: the logit that joins the denominator; empty if there is none.
        normalises: whether weights are a softmax.
        look_up: whether they read tensors at indices that may lie outside.
        signature: the parameters with their types.
        packed: whether sequences are packed.
        out_dtype: of the output.
        out_option: the same as an argument of what allocates it; empty where it is that of q.
        query_axes, key_axes, second_axes: of q and out, of k and v, of the second result.
        second: name of the second result.
        sequence_signature: of the function for one sequence.
        sequence_names: its arguments.
        paged: whether keys lie in blocks.
        apart: whether each sequence is computed by itself.
        lengths: the arguments of the function that checks lengths.
        norms: the lines that normalise queries and keys.
        output: the lines that change the output.
        empty_value: output of a row without keys.
        kept: the arguments of the function that says which weights stay; none without dropout.
    """

    body: tuple[str, ...]
    masks: bool
    nothing: bool
    needs_seq_q: bool
    needs_seq_k: bool
    needs_q: bool
    needs_k: bool
    needs_h: bool
    needs_b: bool
    look_up: bool
    sink: str
    normalises: bool
    signature: tuple[str, ...]
    packed: bool
    out_dtype: str
    out_option: str
    second: str
    sequence_signature: tuple[str, ...]
    sequence_names: tuple[str, ...]
    paged: bool
    apart: bool
    lengths: tuple[str, ...]
    empty_value: str
    norms: tuple[str, ...] = ()
    output: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A parameter of the public function besides q, k and v.

    Attributes:
        name: of the parameter.
        dtype: as PyTorch spells it.
        shape: a tuple, as an expression of q and k.
        axes: the same in words.
        told: what else is said of it.
    """

    name: str
    dtype: str
    shape: str
    axes: str
    told: str = ""

    @property
    def check(self) -> tuple[str, ...]:
        """The arguments of the function that checks it."""
        return f'"{self.name}"', self.name, self.dtype, self.shape, f'"{self.axes}"', "q"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """The public function and the torch op.

    Attributes:
        inputs: the parameters besides q, k and v.
        signature: all parameters with their types.
        dtype, out_dtype: of q, k and v, and of the output.
        out_option: its dtype as an argument of what allocates it; empty where it is that of q.
        second: name of the second result.
        lse: what it is.
        public: the same where the tensors besides q, k and v must be named.
        names: all parameters, as they are handed on.
        gradients: what makes the function differentiable, where it is.
        element: what q, k and v must hold, as the function that checks them calls it.
        packed: whether sequences are packed.
        paged: whether keys lie in blocks.
        apart: whether either holds: the sequences of a call have lengths of their own.
        key_words: of a block, as part of a shape in words.
        length_names: the arguments of the function that checks lengths; its parameters with types.
        length_words: the tensors that say them, in words.
        drops: whether weights are dropped, by a seed and an offset.
        tensors: what must be a tensor, as keyword arguments of the function that checks it.
        checked, given: as ``signature`` and ``names``, which are those of the op, with the tensors
            that ``surround`` alone reads.
        surround: what PyTorch computes around the op, if anything.
    """

    name: str
    digest: str
    doc: str
    spec_name: str
    target: str
    title: str
    dtype: str
    out_dtype: str
    out_option: str
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    equal_lengths: bool
    packed: bool
    paged: bool
    apart: bool
    key_words: str
    length_names: tuple[str, ...]
    length_signature: tuple[str, ...]
    length_words: str
    query_axes: str
    key_axes: str
    second_axes: str
    second: str
    lse: str
    inputs: tuple[Argument, ...]
    signature: tuple[str, ...]
    public: tuple[str, ...]
    names: tuple[str, ...]
    tensors: tuple[str, ...]
    checked: tuple[str, ...]
    given: tuple[str, ...]
    surround: Surround | None = None
    gradients: GradientInterface | None = None
    element: str = "DTYPE"
    drops: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderContext:
    """Everything that one module is printed from; templates know it as ``ctx``.

    ``factors`` are the lines that compute what scores count by, where that is no constant.
    """

    header: Header
    imports: tuple[str, ...]
    constants: Constants
    arithmetic: Arithmetic
    order: Impl
    sequences: Sequences
    load: LoadText
    inputs: Inputs
    norm: NormText
    factors: tuple[str, ...]
    score: Score
    mask: Mask
    softmax: Softmax
    attend: Attend
    output: OutputText
    epilogue: Epilogue
    eager: Eager
    interface: Interface
    dropout: DropoutText
    launch: Launch
