"""The number formats of an ``attention`` item: what 8-bit elements need that others do not.

Elements of q, k and v in 8 bits come with factors that they count by, and leave an output of 16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.diagnostics.suggest import one_of
from flash4gen.ir.lower_fields import choose
from flash4gen.ir.nodes import DType, Scales, descales
from flash4gen.ir.widths import HEAD_DIMS_8_BIT, STEP_8_BIT
from flash4gen.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash4gen.diagnostics.collect import Findings
    from flash4gen.ir.expr import Input
    from flash4gen.ir.lower_fields import Fields


_ELSEWHERE = {
    **dict.fromkeys(("bfloat16", "bfloat"), DType.BF16),
    **dict.fromkeys(("float16", "half"), DType.FP16),
    **dict.fromkeys(("fp8", "e4m3", "fp8e4m3", "e4m3fn", "float8_e4m3fn"), DType.FP8_E4M3),
}
"""What other libraries call our element types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """The formats of an item.

    Attributes:
        dtype: of q, k and v; None after an error.
        out_dtype: of the output where it is another one.
        scales: for what there are factors.
    """

    dtype: DType | None
    out_dtype: DType | None = None
    scales: Scales | None = None

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The tensors of the factors."""
        return () if self.scales is None else descales(self.scales)


def lower_formats(fields: Fields, declared: Iterable[ast.Input], findings: Findings) -> Formats:
    """Return the formats of an item.

    Args:
        fields: of the item.
        declared: its input tensors, whose names may clash with those of factors.
        findings: where to report.
    """
    dtype = _dtype(fields, findings)
    out_dtype, scales = _out_dtype(fields, findings), _scales(fields, findings)
    if dtype is not DType.FP8_E4M3:
        if dtype is not None:
            _refuse(fields, dtype, findings)
        return Formats(dtype=dtype)
    formats = Formats(dtype=dtype, out_dtype=out_dtype or DType.BF16, scales=scales)
    _check_names(formats, declared, findings)
    return formats


def check_widths(fields: Fields, dtype: DType, widths: Iterable[int], findings: Findings) -> None:
    """Refuse 8-bit rows of other than whole 16 bytes: what copies and products read at a time."""
    field = fields.get("head_dim")
    wrong = [width for width in widths if width % STEP_8_BIT]
    if dtype is not DType.FP8_E4M3 or not wrong or field is None:
        return
    nearest = min(HEAD_DIMS_8_BIT, key=lambda width: (abs(width - wrong[0]), -width))
    findings.error(
        Code.HEAD_DIM,
        f"with `dtype = {dtype}`, `head_dim` comes in steps of {STEP_8_BIT}",
        Label(field.values_span, f"this is {wrong[0]}"),
        notes=("a row of 8-bit elements is then a multiple of 16 bytes, which copies need",),
        helps=(f"the nearest that works is {nearest}; pad with zeros to reach it",),
    )


def _dtype(fields: Fields, findings: Findings) -> DType | None:
    value = fields.single("dtype")
    if isinstance(value, ast.Name) and value.text in _ELSEWHERE:
        findings.error(
            Code.BAD_VALUE,
            f"`dtype` is {one_of([item.value for item in DType])}",
            value.span,
            helps=(f"write `dtype = {_ELSEWHERE[value.text]}`",),
        )
        return None
    return None if value is None else choose("dtype", value, DType, findings)


def _out_dtype(fields: Fields, findings: Findings) -> DType | None:
    value = fields.single("out_dtype")
    choice = None if value is None else choose("out_dtype", value, DType, findings)
    if value is None or choice is None or choice.bytes > 1:
        return choice
    findings.error(
        Code.BAD_VALUE,
        "an output of 8 bits would need a factor that is known before the output is",
        value.span,
        helps=("write `out_dtype = bf16` or `out_dtype = fp16`, and convert what comes out",),
    )
    return None


def _scales(fields: Fields, findings: Findings) -> Scales | None:
    value = fields.single("scales")
    return None if value is None else choose("scales", value, Scales, findings)


def _refuse(fields: Fields, dtype: DType, findings: Findings) -> None:
    """Refuse what only 8-bit elements have."""
    reasons = {
        "out_dtype": f"{dtype} in, {dtype} out: no precision is lost between the two",
        "scales": f"elements of {dtype} stand for themselves: they need no factor",
    }
    for name, why in reasons.items():
        field = fields.get(name)
        if field is not None:
            findings.error(
                Code.ONLY_8_BIT,
                f"`{name}` goes with 8-bit elements only",
                field.name.span,
                notes=(why,),
                helps=(f"remove `{name}`, or write `dtype = {DType.FP8_E4M3}`",),
            )


def _check_names(formats: Formats, declared: Iterable[ast.Input], findings: Findings) -> None:
    own = {tensor.name for tensor in formats.inputs}
    for item in declared:
        if item.name.text in own:
            findings.error(
                Code.RESERVED_NAME,
                f"`{item.name.text}` is a tensor that `scales = {formats.scales}` brings itself",
                item.name.span,
                helps=("remove the declaration, or give the input another name",),
            )
