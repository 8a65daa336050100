"""The field ``passes``, and what a backward pass asks of the other fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.ir.derivative import jumps
from flash4gen.ir.lower_fields import choose
from flash4gen.ir.nodes import Pass

if TYPE_CHECKING:
    from flash4gen.diagnostics.collect import Findings
    from flash4gen.ir.expr import Expr
    from flash4gen.ir.lower_fields import Fields
    from flash4gen.ir.nodes import DType
    from flash4gen.source import Span


def asks_for_gradients(fields: Fields) -> bool:
    """Whether a spec names the backward pass."""
    field = fields.get("passes")
    return field is not None and Pass.BACKWARD in {value.span.text for value in field.values}


def lower_passes(
    fields: Fields,
    score: Expr | None,
    dtype: DType | None,
    findings: Findings,
) -> tuple[Pass, ...]:
    """Return the passes that a spec asks for; forward alone where it does not say.

    Args:
        fields: of the item.
        score: its score, None after an error.
        dtype: the elements of q, k and v, None after an error.
        findings: where to report what has no backward pass.
    """
    field = fields.get("passes")
    if field is None:
        return (Pass.FORWARD,)
    found: dict[Pass, Span] = {}
    for value in field.values:
        choice = choose("passes", value, Pass, findings)
        if choice in found:
            findings.error(Code.DUPLICATE, f"`{choice}` is written twice", value.span)
        elif choice is not None:
            found[choice] = value.span
    if Pass.BACKWARD in found:
        at = found[Pass.BACKWARD]
        if Pass.FORWARD not in found:
            findings.error(
                Code.BAD_VALUE,
                "a backward pass starts from what the forward pass has stored",
                at,
                helps=("write `passes = forward, backward`",),
            )
        _check_dtypes(fields, dtype, at, findings)
        _check_score(score, at, findings)
    return tuple(found)


def _check_dtypes(fields: Fields, dtype: DType | None, at: Span, findings: Findings) -> None:
    written = fields.get("out_dtype")
    if dtype is not None and dtype.bytes == 1:
        written = fields.get("dtype")
    if written is not None:
        findings.error(
            Code.NOT_YET,
            "backward kernels have 16-bit elements only, those of q, k, v and out",
            at,
            also=(Label(written.values_span, "other elements are asked for here"),),
            helps=("write `dtype = bf16` and leave `out_dtype` out, or write `passes = forward`",),
        )


def _check_score(score: Expr | None, at: Span, findings: Findings) -> None:
    for comparison in () if score is None else jumps(score):
        findings.error(
            Code.NO_DERIVATIVE,
            f"the score jumps where `{comparison.op.value}` changes: it has no derivative there",
            comparison.span or at,
            also=(Label(at, "the backward pass is asked for here"),),
            notes=(
                "a `where` may compare the score if its sides are the same where it changes, "
                "as in `where(s > 0, s, 0.1 * s)`",
            ),
            helps=(
                "write a bend with `max`, `min`, `abs` or `softcap`; hide keys in `mask`",
                "or write `passes = forward`",
            ),
        )
