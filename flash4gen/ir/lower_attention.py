"""``attention`` items: fields to one typed ``Attention``, defaults filled in, values checked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.ir.expr import ALWAYS, SCORE, Expr, Literal, Type, Var, Variable, walk
from flash4gen.ir.lower_alignment import check_alignment
from flash4gen.ir.lower_calls import bare_window
from flash4gen.ir.lower_expr import Expressions
from flash4gen.ir.lower_fields import check_item_name, gather, value_text
from flash4gen.ir.lower_formats import check_widths, lower_formats
from flash4gen.ir.lower_inputs import check_read, declared, lost_inputs, lower_inputs
from flash4gen.ir.lower_numbers import lower_numbers
from flash4gen.ir.lower_passes import asks_for_gradients, lower_passes
from flash4gen.ir.lower_rows import RowFields
from flash4gen.ir.lower_schedule import lower_pins
from flash4gen.ir.lower_scope import Scope
from flash4gen.ir.lower_targets import target_names
from flash4gen.ir.lower_training import lower_training
from flash4gen.ir.nodes import Attention, EmptyRow, FieldSource, Lengths, Weights
from flash4gen.syntax import ast

if TYPE_CHECKING:
    from flash4gen.diagnostics.collect import Findings
    from flash4gen.ir.expr import Input
    from flash4gen.ir.lower_formats import Formats
    from flash4gen.ir.lower_functions import Functions
    from flash4gen.ir.lower_training import Training

FIELDS = (
    "doc", "dtype", "out_dtype", "scales", "heads", "kv_heads", "head_dim", "scale", "score",
    "mask", "sink", "q_norm", "k_norm", "output", "weights", "dropout", "empty_row", "lengths",
    "block_size", "passes", "deterministic", "target",
)  # fmt: skip
VARYING = (Var.S, Var.Q, Var.K)
"""What differs between the scores of one head."""

REQUIRED = ("dtype", "heads", "head_dim")

ADVICE = {
    "window": "a window is part of the mask; write `mask = window(keys = N)`, which counts the "
    "query's own position",
    "causal": "causality is part of the mask; write `mask = causal(align = end)`",
    "is_causal": "causality is part of the mask; write `mask = causal(align = end)`",
    "softcap": "a cap is part of the score; write `score = softcap(s, 50)`",
    "logit_cap": "a cap is part of the score; write `score = softcap(s, 50)`",
    "sm_scale": "the factor on q·k is `scale`",
    "softmax_scale": "the factor on q·k is `scale`",
    "num_heads": "the number of query heads is `heads`",
    "num_kv_heads": "the number of key and value heads is `kv_heads`",
    "value_dim": "write both widths as `head_dim = 192 / 128`: of q and k, then of v",
    "head_dim_v": "write both widths as `head_dim = 192 / 128`: of q and k, then of v",
    "sinks": "the field is `sink`, the logit of one head: `sink = sinks[h]`",
    "s_aux": "sinks are the field `sink`, the logit of one head: `sink = sinks[h]`",
    "qk_norm": "norms are two fields: `q_norm = rms_norm(eps = 1e-6)`, and `k_norm` likewise",
    "gate": "what becomes of the output is the field `output = out * sigmoid(gate[b, q, h, d])`",
    "page_size": "keys and values in blocks have the field `block_size`",
    "paged": "keys and values in blocks have the field `block_size`",
    "descale": "factors of 8-bit elements are tensors: write `scales = per_kv_head`",
    "kv_scale": "factors of 8-bit elements are tensors: write `scales = per_kv_head`",
    "out_type": "the output's element type is `out_dtype`",
    "dropout_p": "the field is `dropout`, the probability that a weight is dropped",
    "attn_dropout": "the field is `dropout`, the probability that a weight is dropped",
    "attention_dropout": "the field is `dropout`, the probability that a weight is dropped",
    "targets": "the field is `target`, for one name or several: `target = b200, rtx5090`",
}  # fmt: skip


def lower_attention(
    item: ast.Attention, functions: Functions, targets: frozenset[str], findings: Findings
) -> Attention | None:
    """Return the item's meaning, or None after an error.

    Args:
        item: the item as written.
        functions: what its expressions can call.
        targets: names of all known hardware.
        findings: where to report.
    """
    before = findings.errors
    result = _Item(item, functions, targets, findings).lower()
    return None if findings.errors > before or item.damaged else result


class _Item:
    """Lowers one item, field by field, in an order in which each can read those before."""

    def __init__(
        self,
        item: ast.Attention,
        functions: Functions,
        targets: frozenset[str],
        findings: Findings,
    ) -> None:
        self._item = item
        self._findings = findings
        self._targets = targets
        self._expressions = Expressions(findings)
        self._fields = gather(item.name, item.fields, FIELDS, findings, ADVICE)
        self._scope = Scope(functions=functions, constants={})

    def lower(self) -> Attention | None:
        check_item_name(self._item.name, self._findings, of_function=True)
        self._check_written()
        doc = self._fields.text("doc")
        lengths = self._fields.choice("lengths", Lengths, Lengths.ANY)
        formats = lower_formats(self._fields, self._item.inputs, self._findings)
        empty_row = self._fields.choice("empty_row", EmptyRow, EmptyRow.ZERO)
        weights = self._fields.choice("weights", Weights, Weights.SOFTMAX)
        self._check_weights(weights, empty_row)
        self._check_blocks(lengths)
        numbers, self._scope = lower_numbers(self._fields, self._expressions, self._scope)
        inputs = lower_inputs(self._item.inputs, self._expressions, self._scope, self._findings)
        inputs = {**lost_inputs(self._item), **inputs}
        self._scope = replace(self._scope, inputs=inputs)
        score, mask, sink = self._score(), self._mask(), self._sink()
        rows = RowFields(self._fields, self._expressions, self._scope)
        q_norm, k_norm, epilogue = rows.norm("q_norm"), rows.norm("k_norm"), rows.output()
        rows.check({"score": score, "mask": mask, "sink": sink})
        training = lower_training(self._fields, self._expressions, self._scope)
        passes = lower_passes(self._fields, score, formats.dtype, self._findings)
        targets = target_names(self._fields.get("target"), self._targets, self._findings)
        heads, kv_heads = numbers.heads, numbers.kv_heads
        head_dim, value_dim, scale = numbers.head_dim, numbers.value_dim, numbers.scale
        if heads is None or kv_heads is None or head_dim is None or value_dim is None:
            return None
        dtype = formats.dtype
        if dtype is None or empty_row is None or lengths is None or weights is None:
            return None
        if scale is None or score is None or mask is None:
            return None
        lost = rows.damaged or self._lost(sink=sink, block_size=numbers.block_size)
        if training is None or lost:
            return None
        rows.check_elements(dtype)
        result = Attention(
            name=self._item.name.text,
            doc=doc,
            dtype=dtype,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            value_dim=value_dim,
            scale=scale,
            score=score,
            mask=mask,
            empty_row=empty_row,
            lengths=lengths,
            passes=passes,
            targets=targets,
            pins=lower_pins(self._item.schedules, self._findings),
            fields=self._sources(),
            sink=sink,
            weights=weights,
            block_size=numbers.block_size,
            q_norm=q_norm,
            k_norm=k_norm,
            epilogue=epilogue,
            span=self._item.name.span,
        )
        return self._completed(result, inputs, training, formats)

    def _completed(
        self,
        plain: Attention,
        inputs: dict[str, Input | None],
        training: Training,
        formats: Formats,
    ) -> Attention:
        """Return it with what fields bring together, and the tensors of these; check the whole."""
        result = replace(
            plain,
            inputs=(*declared(inputs), *training.inputs, *formats.inputs),
            out_dtype=formats.out_dtype,
            scales=formats.scales,
            dropout=training.dropout,
            deterministic=training.deterministic,
        )
        widths = result.head_dim, result.value_dim
        check_widths(self._fields, result.dtype, widths, self._findings)
        check_read(inputs, result.expressions, self._findings)
        return result

    def _lost(self, **values: object) -> bool:
        """Whether a field is written and has no value: an error has been reported."""
        return any(
            value is None and self._fields.get(name) is not None for name, value in values.items()
        )

    def _sources(self) -> tuple[FieldSource, ...]:
        return tuple(
            FieldSource(name, value_text(field), field.span)
            for name, field in self._fields.by_name.items()
        )

    def _check_written(self) -> None:
        for field in self._fields.by_name.values():
            if field.source is not None:
                self._findings.error(
                    Code.BAD_VALUE,
                    "only hardware numbers have a source",
                    field.source.span,
                    helps=("write a remark as a comment: `# …`",),
                )
        missing = [name for name in REQUIRED if self._fields.get(name) is None]
        if missing and not self._item.damaged:
            spelt = ", ".join(f"`{name}`" for name in missing)
            example = {"dtype": "bf16", "heads": "32", "head_dim": "128"}
            self._findings.error(
                Code.MISSING_FIELD,
                f"attention `{self._item.name.text}` lacks {spelt}",
                self._item.name.span,
                helps=tuple(f"add `{name} = {example[name]}`" for name in missing),
            )

    def _check_weights(self, weights: Weights | None, empty_row: EmptyRow | None) -> None:
        """Refuse what only a softmax has: a denominator, and rows whose denominator is 0."""
        if weights is not Weights.SIGMOID:
            return
        reasons = {"sink": "a sink joins a denominator, and sigmoid weights have none"}
        if empty_row is EmptyRow.NAN:
            reasons["empty_row"] = "a sum of sigmoids over no key is 0, and well defined"
        for name, why in reasons.items():
            field = self._fields.get(name)
            if field is not None:
                self._findings.error(
                    Code.NOT_WITH_SIGMOID,
                    f"`{name}` has no meaning with sigmoid weights",
                    field.name.span,
                    notes=(why,),
                    helps=(f"remove `{name}`, or `weights = sigmoid`",),
                )

    def _check_blocks(self, lengths: Lengths | None) -> None:
        """Note what is said of lengths; refuse blocks where there are as many keys as queries."""
        paged = self._fields.get("block_size") is not None
        self._scope = replace(
            self._scope,
            lengths=lengths or Lengths.ANY,
            paged=paged,
            trains=asks_for_gradients(self._fields),
        )
        field, other = self._fields.get("block_size"), self._fields.get("lengths")
        if field is None or other is None or lengths is not Lengths.EQUAL:
            return
        self._findings.error(
            Code.BLOCKS,
            "keys in blocks have lengths of their own, given at run time",
            Label(field.name.span),
            also=(Label(other.values_span, "this says that there are as many keys as queries"),),
            helps=("remove `lengths = equal`", "or write `lengths = packed`, for packed queries"),
        )

    def _lowered(self, name: str) -> tuple[ast.Expression | None, Expr | None]:
        node = self._fields.expression(name)
        return node, None if node is None else self._expressions.lower(node, self._scope)

    def _score(self) -> Expr | None:
        if self._fields.get("score") is None:
            return SCORE
        node, score = self._lowered("score")
        if node is None or score is None:
            return None
        if score.type is Type.BOOL:
            self._findings.error(
                Code.WRONG_TYPE,
                "`score` is a number, this is a condition",
                node.span,
                helps=("what hides keys belongs into `mask`",),
            )
            return None
        return self._expressions.to_float(score)

    def _mask(self) -> Expr | None:
        if self._fields.get("mask") is None:
            return ALWAYS
        node, mask = self._lowered("mask")
        if node is None or mask is None:
            return None
        if isinstance(node, ast.Number):
            bare_window(node, self._findings, Label(node.span, "this is a number, not a condition"))
            return None
        if mask.type is not Type.BOOL:
            self._findings.error(
                Code.WRONG_TYPE,
                "`mask` is a condition, this is a number",
                node.span,
                helps=("write which keys a query sees, such as `mask = causal(align = end)`",),
            )
            return None
        read = next((n for n in walk(mask) if isinstance(n, Variable) and n.var is Var.S), None)
        if read is not None:
            self._findings.error(
                Code.MASK_READS_SCORE,
                "a mask cannot read the score",
                read.span or node.span,
                notes=("a mask says which scores need not be computed at all",),
                helps=("to drop small scores, write `score = where(…, s, -1e30)`",),
            )
            return None
        if mask == Literal(False):
            self._findings.warning(
                Code.NEVER,
                "this mask is never true: no query sees any key",
                node.span,
                notes=("every row of the output will be what `empty_row` says",),
            )
        check_alignment(node, self._scope, self._findings)
        return mask

    def _sink(self) -> Expr | None:
        node, sink = self._lowered("sink")
        if node is None or sink is None:
            return None
        if sink.type is Type.BOOL:
            self._findings.error(Code.WRONG_TYPE, "`sink` is a number, a logit", node.span)
            return None
        read = next((n for n in walk(sink) if isinstance(n, Variable) and n.var in VARYING), None)
        if read is not None:
            self._findings.error(
                Code.SINK,
                f"a sink cannot read `{read.var.value}`: it is one logit for all rows of a head",
                read.span or node.span,
                helps=("write a tensor's element per head: `sink = sinks[h]`",),
            )
            return None
        return self._expressions.to_float(sink)
