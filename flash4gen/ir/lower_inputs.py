"""Input tensors: declarations to typed ``Input``s, and the checks on every look-up."""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.diagnostics.suggest import did_you_mean, one_of
from flash4gen.ir.expr import Expr, Extent, Input, InputDType, Lookup, Type, Var, lookups, variables
from flash4gen.ir.input_names import is_taken
from flash4gen.ir.lower_functions import BUILTINS, CONSTANTS, VARIABLES
from flash4gen.ir.nodes import Lengths
from flash4gen.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash4gen.diagnostics.collect import Findings
    from flash4gen.ir.lower_expr import Expressions
    from flash4gen.ir.lower_scope import Scope
    from flash4gen.source import Span

SEQ = "seq"
"""The one length where both are equal; kernels know it as that of the keys."""

MOST_AXES = 4

_DECLARED = re.compile(r"\binput\s+([A-Za-z_]\w*)")


def lower_inputs(
    inputs: Iterable[ast.Input], expressions: Expressions, scope: Scope, findings: Findings
) -> dict[str, Input | None]:
    """Return the declared tensors by name, None in the place of one with an error.

    Args:
        inputs: as written.
        expressions: for the lengths of axes.
        scope: knows the item's numbers.
        findings: where to report.
    """
    found: dict[str, Input | None] = {}
    places: dict[str, ast.Name] = {}
    for item in inputs:
        name = item.name.text
        if first := places.get(name):
            findings.error(
                Code.DUPLICATE,
                f"`{name}` is declared twice",
                item.name.span,
                also=(Label(first.span, "first here"),),
            )
            continue
        places[name] = item.name
        found[name] = _declared(item, expressions, scope, findings)
    return found


def declared(inputs: dict[str, Input | None]) -> tuple[Input, ...]:
    """Return the declared tensors that are as they can be."""
    return tuple(tensor for tensor in inputs.values() if tensor is not None)


def check_read(inputs: dict[str, Input | None], exprs: Iterable[Expr], findings: Findings) -> None:
    """Refuse a tensor that a caller would have to bring for nothing."""
    read = {lookup.tensor.name for lookup in lookups(*exprs)}
    for tensor in inputs.values():
        if tensor is not None and tensor.name not in read and tensor.span is not None:
            findings.error(
                Code.BAD_INPUT,
                f"nothing reads `{tensor.name}`",
                tensor.span,
                helps=("remove the declaration, or read it in `score` or `mask`",),
            )


def _declared(
    item: ast.Input, expressions: Expressions, scope: Scope, findings: Findings
) -> Input | None:
    before = findings.errors
    _check_name(item.name, scope, findings)
    kinds = [kind.value for kind in InputDType if kind is not InputDType.I64]
    if item.dtype.text not in kinds:
        findings.error(
            Code.BAD_INPUT,
            f"an input's elements are {one_of(kinds)}",
            item.dtype.span,
            helps=did_you_mean(item.dtype.text, kinds),
        )
    if len(item.axes) > MOST_AXES:
        findings.error(
            Code.BAD_INPUT,
            f"an input has at most {MOST_AXES} axes, not {len(item.axes)}",
            item.axes[MOST_AXES].span,
        )
    axes = [_axis(axis, expressions, scope, findings) for axis in item.axes]
    if findings.errors > before:
        return None
    known = tuple(axis for axis in axes if axis is not None)
    return Input(item.name.text, InputDType(item.dtype.text), known, item.name.span)


def _check_name(name: ast.Name, scope: Scope, findings: Findings) -> None:
    text = name.text
    if text in {*VARIABLES, *CONSTANTS, *BUILTINS}:
        why = "is part of the language"
    elif text in scope.functions.table:
        why = "is a function"
    elif is_taken(text, trains=scope.trains, paged=scope.paged):
        why = "has a meaning of its own in generated code"
    elif keyword.iskeyword(text) or keyword.issoftkeyword(text):
        why = "is a word of Python, in which kernels are written"
    else:
        return
    findings.error(
        Code.RESERVED_NAME, f"`{text}` {why}", name.span, helps=("give the input another name",)
    )


def _axis(
    axis: ast.Expression, expressions: Expressions, scope: Scope, findings: Findings
) -> Extent | int | None:
    names = [extent.value for extent in Extent]
    if isinstance(axis, ast.Name) and axis.text in names:
        extent = Extent(axis.text)
        if scope.lengths is Lengths.PACKED and extent in (Extent.SEQ_Q, Extent.SEQ_K):
            findings.error(
                Code.NOT_YET,
                "inputs along packed sequences are not available yet",
                axis.span,
                helps=("write `lengths = any`, and pad the sequences",),
            )
        elif scope.paged and extent is Extent.SEQ_K:
            findings.error(
                Code.NOT_YET,
                "inputs along keys in blocks are not available yet",
                axis.span,
                helps=(
                    "read a table by distance: `input y : f32[heads, 257]`, `y[h, q_end - k]`",
                    "or leave `block_size` out, and gather keys and values first",
                ),
            )
        return extent
    if isinstance(axis, ast.Name) and axis.text == SEQ:
        if scope.lengths is Lengths.EQUAL:
            return Extent.SEQ_K
        findings.error(
            Code.BAD_INPUT,
            "`seq` is a length where both are equal",
            axis.span,
            helps=("write `seq_q` or `seq_k`, or add the field `lengths = equal`",),
        )
        return None
    if isinstance(axis, ast.Name) and axis.text not in scope.constants:
        findings.error(
            Code.BAD_INPUT,
            f"`{axis.text}` is no axis",
            axis.span,
            notes=(f"the axes are {one_of([*names, SEQ])}, or a whole number",),
            helps=did_you_mean(axis.text, names),
        )
        return None
    size = expressions.constant(axis, scope)
    if size is None:
        return None
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        findings.error(Code.BAD_INPUT, "an axis has a whole number above 0", axis.span)
        return None
    return size


def lost_inputs(item: ast.Attention) -> dict[str, None]:
    """Return the tensors of an item whose declarations may be left out for a syntax error."""
    return dict.fromkeys(_DECLARED.findall(item.span.text) if item.damaged else ())


def named_input(node: ast.Index, scope: Scope, findings: Findings) -> Input | None:
    """Return the tensor that a look-up names, or None after an error."""
    name = node.tensor.text
    known = {**scope.inputs, **scope.parameters}
    tensor = known.get(name)
    if isinstance(tensor, Input) or (name in known and tensor is None):
        return tensor if isinstance(tensor, Input) else None
    at, also = scope.place(node.tensor.span)
    declared = [other for other, value in known.items() if isinstance(value, Input)]
    helps = did_you_mean(name, declared) or (f"declare it: `input {name} : f32[heads]`",)
    if name in (*VARIABLES, *CONSTANTS):
        helps = (f"it is one value: write `{name}`",)
    if name in scope.parameters:
        helps = ("hand over the name of an input, without indices",)
    findings.error(Code.LOOKUP, f"`{name}` is no input", at, also=also, helps=helps)
    return None


def handed_on(node: ast.Expression, scope: Scope) -> Input | None:
    """Return the tensor that an argument of a function is, None if it is something else."""
    if not isinstance(node, ast.Name):
        return None
    value = {**scope.inputs, **scope.parameters}.get(node.text)
    return value if isinstance(value, Input) else None


def bare_input(tensor: Input, span: Span, scope: Scope, findings: Findings) -> None:
    """Report a tensor in the place of a value."""
    findings.error(
        Code.LOOKUP,
        f"`{tensor.name}` is a tensor: say which element",
        scope.place(span)[0],
        helps=(f"write `{_example(tensor)}`",),
    )


def checked_lookup(
    node: ast.Index,
    tensor: Input,
    indices: tuple[Expr, ...],
    scope: Scope,
    findings: Findings,
) -> Lookup | None:
    """Return a look-up at one whole number per axis, or None after an error."""
    at, also = scope.place(node.span)
    if tensor.span is not None:
        also = (*also, Label(tensor.span, "declared here"))
    if len(indices) != len(tensor.axes):
        findings.error(
            Code.LOOKUP,
            f"`{tensor.name}` has {len(tensor.axes)} ax{_ending(len(tensor.axes))}, "
            f"this reads it at {len(indices)} ind{_index_ending(len(indices))}",
            at,
            also=also,
            helps=(f"write `{_example(tensor)}`",),
        )
        return None
    for written, index in zip(node.indices, indices, strict=True):
        if index.type is not Type.INT:
            findings.error(
                Code.LOOKUP,
                f"an index is a whole number, this is a {index.type.value}",
                scope.place(written.span)[0],
                also=also,
            )
            return None
        if late := {Var.S, Var.OUT} & variables(index):
            findings.error(
                Code.LOOKUP,
                f"an index cannot read `{min(late).value}`, which look-ups are made before",
                scope.place(written.span)[0],
                also=also,
                helps=("choose between two look-ups: `where(s > 0, y[h, 1], y[h, 0])`",),
            )
            return None
    return Lookup(tensor, indices, scope.site or node.span)


_INDEX = {
    Extent.HEADS: "h",
    Extent.KV_HEADS: "hkv",
    Extent.BATCH: "b",
    Extent.SEQ_Q: "q",
    Extent.SEQ_K: "k",
}


def _example(tensor: Input) -> str:
    """Return the look-up that the tensor's axes suggest."""
    indices = ("0" if isinstance(axis, int) else _INDEX[axis] for axis in tensor.axes)
    return f"{tensor.name}[{', '.join(indices)}]"


def _ending(count: int) -> str:
    return "is" if count == 1 else "es"


def _index_ending(count: int) -> str:
    return "ex" if count == 1 else "ices"
