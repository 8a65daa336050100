"""The typed IR: what a spec means, with every name resolved and every default filled in."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from flash4gen.digest import WHERE_SET
from flash4gen.ir.expr import Apply, Extent, Input, InputDType, Literal, Lookup, Op, Var, Variable

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr
    from flash4gen.source import Span


class DType(StrEnum):
    """Element types of q, k and v, and of the output, which is never 8-bit.

    FP8_E4M3 is OCP's E4M3: 4 exponent bits, 3 of mantissa, no infinities, 448 the largest number
    (PTX's ``e4m3``, PyTorch's ``float8_e4m3fn``).
    """

    FP16 = "fp16"
    BF16 = "bf16"
    FP8_E4M3 = "fp8_e4m3"

    @property
    def bytes(self) -> int:
        """Size of one element in bytes."""
        return 1 if self is DType.FP8_E4M3 else 2


class Scales(StrEnum):
    """For what q, k and v each have a factor of their own, by which their elements count."""

    PER_TENSOR = "per_tensor"
    PER_KV_HEAD = "per_kv_head"


class EmptyRow(StrEnum):
    """What the output of a query that sees no key is. Its LSE is −inf either way."""

    ZERO = "zero"
    NAN = "nan"


class Weights(StrEnum):
    """What becomes of scores before they weigh the values."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"


class Lengths(StrEnum):
    """Whether the query and the key length may differ, or sequences lie packed on one axis."""

    ANY = "any"
    EQUAL = "equal"
    PACKED = "packed"


class Pass(StrEnum):
    """Which kernels are made."""

    FORWARD = "forward"
    BACKWARD = "backward"


@dataclass(frozen=True, slots=True)
class Pin:
    """One choice fixed by the spec's ``schedule { }`` block, checked by ``schedule/``."""

    name: str
    value: int | float | str
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class FieldSource:
    """Where and how the spec wrote a field: for banners in generated code and for messages."""

    name: str
    text: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Norm:
    """RMSNorm of each row x of q or of k (Zhang, Sennrich, arXiv:1910.07467).

    ``x[d] · weight(d) / sqrt(mean(x²) + eps)``, the mean over the row's head_dim elements.

    Attributes:
        eps: > 0.
        weight: FLOAT expression over ``d``, heads, batch entry and lengths; 1.0 for none.
    """

    eps: float
    weight: Expr


DROPOUT_STATE = tuple(Input(f"dropout_{name}", InputDType.I64, (1,)) for name in ("seed", "offset"))
"""The tensors that say which weights a call drops."""

_OWNER: dict[Scales, tuple[tuple[Extent | int, ...], tuple[Expr, ...]]] = {
    Scales.PER_TENSOR: ((1,), (Literal(0),)),
    Scales.PER_KV_HEAD: ((Extent.BATCH, Extent.KV_HEADS), (Variable(Var.B), Variable(Var.HKV))),
}
"""Axes of the factors' tensors, and at which element of them an attention head finds its own."""


def descales(scales: Scales) -> tuple[Input, Input, Input]:
    """Return the tensors of the factors that elements of q, k and v are to be multiplied by."""
    axes, _ = _OWNER[scales]
    q, k, v = (Input(f"descale_{name}", InputDType.F32, axes) for name in "qkv")
    return q, k, v


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """One attention variant.

    The meaning, for query ``i`` of head ``h`` and keys ``j`` of head ``h // group``::

        s   = (q[b, i, h] · k[b, j, h // group]) · scale            float32
        x   = score(s, ...)  where mask(...) else −inf
        lse = log (exp(sink) + Σ_j exp(x))                          natural log
        out = Σ_j exp(x − lse) · v[b, j, h // group]

    Without a sink its term is left out. With sigmoid weights nothing is normalised::

        out   = Σ_j sigmoid(x) · v[b, j, h // group]
        total = Σ_j sigmoid(x)                                      in the place of lse

    Where there are norms, rows of q and k are normalised first; where there is an epilogue, it
    makes each element of out what it says, last.

    With ``scales`` elements of q, k and v stand for numbers that are ``descale_q``, ``descale_k``
    and ``descale_v`` times as large, each > 0::

        s   = (q · k) · descale_q · descale_k · scale
        out = descale_v · Σ_j ...

    With ``dropout`` weights are dropped after they were normalised, and the others count for them::

        out = Σ_j exp(x − lse) · kept / (1 − dropout) · v[b, j, h // group]

    where ``kept`` is 0 or 1 by the call's seed and offset and the weight's place, and not by how
    it is computed (``docs/language.md``); lse, and total, are those of all weights.

    Attributes:
        name: identifier of the generated function.
        doc: one line for people.
        dtype: element type of q, k, v and, unless ``out_dtype`` says otherwise, of out.
        heads: query heads.
        kv_heads: key/value heads; divides ``heads``.
        head_dim: width of q and k, 16 to 512 in steps of 8.
        value_dim: width of v and out, same range.
        scale: factor on q·k, > 0, already evaluated in float64.
        score: FLOAT expression, may read ``s``; the identity is ``Variable(Var.S)``.
        mask: BOOL expression over positions, heads and lengths, never ``s``; true = visible.
        empty_row: output of a query without visible keys.
        lengths: whether seq_q and seq_k may differ.
        passes: kernels to make.
        targets: names of hardware items to compile for when the command line names none.
        pins: the ``schedule { }`` block.
        fields: the text of every written field, in order of the spec.
        inputs: tensors that the expressions read, in order of the spec.
        sink: FLOAT expression over heads, batch entry and lengths: a logit without a value, not
            scaled, that joins the softmax's denominator; None for none.
        weights: softmax or sigmoid.
        block_size: rows of a block, where keys and values lie in blocks that a table given at run
            time names: key ``j`` of entry ``b`` is row ``j % block_size`` of block
            ``block_table[b, j // block_size]``, and entry ``b`` has ``seqused_k[b]`` keys. None
            where they lie one behind the other.
        q_norm, k_norm: norms of the rows of q and k, before their products; None for none.
        epilogue: FLOAT expression that each element of the output becomes, over ``out``, ``d``,
            ``q``, heads, batch entry and lengths; None where it stays.
        out_dtype: element type of out where it is not that of q; None where it is.
        scales: whether q, k and v have factors, which are the last three inputs.
        dropout: probability that a weight is dropped, from 0 on, below 1. Where it is not 0, the
            inputs end with ``DROPOUT_STATE``, before factors.
        deterministic: whether every run must give the same bits, gradients included.
        span: the item's name in the spec.
    """

    name: str
    doc: str
    dtype: DType
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    scale: float
    score: Expr
    mask: Expr
    empty_row: EmptyRow
    lengths: Lengths
    passes: tuple[Pass, ...]
    targets: tuple[str, ...]
    pins: tuple[Pin, ...]
    fields: tuple[FieldSource, ...]
    inputs: tuple[Input, ...] = field(default=(), metadata=WHERE_SET)
    sink: Expr | None = field(default=None, metadata=WHERE_SET)
    weights: Weights = field(default=Weights.SOFTMAX, metadata=WHERE_SET)
    block_size: int | None = field(default=None, metadata=WHERE_SET)
    q_norm: Norm | None = field(default=None, metadata=WHERE_SET)
    k_norm: Norm | None = field(default=None, metadata=WHERE_SET)
    epilogue: Expr | None = field(default=None, metadata=WHERE_SET)
    out_dtype: DType | None = field(default=None, metadata=WHERE_SET)
    scales: Scales | None = field(default=None, metadata=WHERE_SET)
    dropout: float = field(default=0.0, metadata=WHERE_SET)
    deterministic: bool = field(default=False, metadata=WHERE_SET)
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def group(self) -> int:
        """Query heads per key/value head."""
        return self.heads // self.kv_heads

    @property
    def packed(self) -> bool:
        """Whether the sequences of a batch lie one behind the other on one axis."""
        return self.lengths is Lengths.PACKED

    @property
    def differentiable(self) -> bool:
        """Whether its function has a backward pass."""
        return Pass.BACKWARD in self.passes

    @property
    def paged(self) -> bool:
        """Whether keys lie in blocks that a table names; each entry has a number of its own."""
        return self.block_size is not None

    @property
    def length_tensors(self) -> tuple[str, ...]:
        """Names of the tensors that say where the sequences of a call lie; mostly none.

        All are int32: ``cu_seqlens_q`` and ``cu_seqlens_k`` [batch + 1], ``block_table``
        [batch, max_blocks], ``seqused_k`` [batch], in the words of FlashAttention's users.
        """
        queries = ("cu_seqlens_q",) if self.packed else ()
        if self.paged:
            return (*queries, "block_table", "seqused_k")
        return (*queries, "cu_seqlens_k") if self.packed else ()

    @property
    def normalised(self) -> bool:
        """Whether the weights of a row add up to 1, its sink's included."""
        return self.weights is Weights.SOFTMAX

    @property
    def output(self) -> DType:
        """Element type of out."""
        return self.out_dtype or self.dtype

    @property
    def dropout_state(self) -> tuple[Expr, ...]:
        """What says which weights a call drops, its seed and its offset: INT; none without."""
        if not self.dropout:
            return ()
        return tuple(Lookup(tensor, (Literal(0),)) for tensor in DROPOUT_STATE)

    @property
    def dropped_below(self) -> int:
        """The word of a weight's draw, of 2^32, below which it is dropped."""
        return min(round(self.dropout * 2**32), 2**32 - 1)

    @property
    def dropout_scale(self) -> float:
        """What weights that are kept count."""
        return 1.0 / (1.0 - self.dropout)

    @property
    def own_inputs(self) -> tuple[Input, ...]:
        """The inputs that no spec declares: fields bring them."""
        state = DROPOUT_STATE if self.dropout else ()
        return (*state, *(() if self.scales is None else descales(self.scales)))

    @property
    def score_factor(self) -> Expr | None:
        """The factor on q·k beside ``scale``: FLOAT, of heads and batch entry; None for none."""
        if self.scales is None:
            return None
        q, k = (Lookup(tensor, _OWNER[self.scales][1]) for tensor in descales(self.scales)[:2])
        return Apply(Op.MUL, (q, k))

    @property
    def value_factor(self) -> Expr | None:
        """The factor on the output, likewise."""
        if self.scales is None:
            return None
        return Lookup(descales(self.scales)[2], _OWNER[self.scales][1])

    @property
    def expressions(self) -> tuple[Expr, ...]:
        """All expressions: score, mask; where there are any, sink, factors, norms and so on."""
        factors = self.score_factor, self.value_factor
        more = (self.sink, *factors, *self.norm_weights, self.epilogue)
        given = (self.score, self.mask, *(expr for expr in more if expr is not None))
        return (*given, *self.dropout_state)

    @property
    def norm_weights(self) -> tuple[Expr, ...]:
        """The weights of the norms that there are."""
        return tuple(norm.weight for norm in (self.q_norm, self.k_norm) if norm is not None)

    def shape_of(self, tensor: Input, batch: int, seq_q: int, seq_k: int) -> tuple[int, ...]:
        """Return the shape that an input tensor has in a call of these sizes."""
        sizes: dict[Extent | int, int] = {
            Extent.HEADS: self.heads,
            Extent.KV_HEADS: self.kv_heads,
            Extent.BATCH: batch,
            Extent.SEQ_Q: seq_q,
            Extent.SEQ_K: seq_k,
        }
        return tuple(axis if isinstance(axis, int) else sizes[axis] for axis in tensor.axes)

    def field_source(self, name: str) -> FieldSource | None:
        """Return how the spec wrote a field, or None where the default holds."""
        return next((item for item in self.fields if item.name == name), None)
