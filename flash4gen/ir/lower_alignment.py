"""Warns where one mask counts queries from the start in one place and from the end in another.

Both are right alone. Together they agree only while both lengths are equal, which is how such a
mask passes its tests and fails in decoding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.ir.lower_functions import ALIGNMENTS, Q_END
from flash4gen.ir.nodes import Lengths
from flash4gen.syntax import ast

if TYPE_CHECKING:
    from flash4gen.diagnostics.collect import Findings
    from flash4gen.ir.lower_scope import Scope
    from flash4gen.source import Span


def check_alignment(mask: ast.Expression, scope: Scope, findings: Findings) -> None:
    """Warn about a mask, as written in the spec, that mixes both alignments.

    A mask that spells the lengths out does its own arithmetic and is left alone.
    """
    if scope.lengths is Lengths.EQUAL:
        return
    places: dict[str, Span] = {}
    nodes = [mask]
    while nodes:
        node = nodes.pop()
        # A position that is an index says where a tensor is read, not how far it is to the key.
        place = isinstance(node, ast.Index)
        nodes.extend(c for c in ast.children(node) if not (place and isinstance(c, ast.Name)))
        match node:
            case ast.Name(text="seq_q" | "seq_k"):
                return
            case ast.Name(text="q"):
                places.setdefault("start", node.span)
            case ast.Name(text=text) if text == Q_END:
                places.setdefault("end", node.span)
            case ast.Call():
                alignment = _of_call(node, scope)
                if alignment is not None:
                    places.setdefault(alignment, node.span)
    if set(places) != ALIGNMENTS:
        return
    first, second = (
        Label(span, f"aligned at the {name}")
        for name, span in sorted(places.items(), key=lambda item: item[1].start)
    )
    findings.warning(
        Code.MIXED_ALIGNMENT,
        "this mask counts queries from the start and from the end",
        second,
        also=(first,),
        notes=("the two differ as soon as seq_q and seq_k do",),
        helps=("use one alignment throughout, or add `lengths = equal`",),
    )


def _of_call(call: ast.Call, scope: Scope) -> str | None:
    """Return the alignment that a call is given, or falls back to."""
    forms = scope.functions.table.get(call.function.text, ())
    named = {argument.name.text for argument in call.arguments if argument.name}
    for form in forms:
        if not named <= {parameter.name.text for parameter in form.parameters}:
            continue
        for i, parameter in enumerate(form.parameters):
            if {choice.text for choice in parameter.choices} == ALIGNMENTS:
                return _given(call, i, parameter)
    return None


def _given(call: ast.Call, place: int, parameter: ast.Parameter) -> str | None:
    value = parameter.default
    for i, argument in enumerate(call.arguments):
        positional = argument.name is None and i == place
        if positional or (argument.name and argument.name.text == parameter.name.text):
            value = argument.value
    return value.text if isinstance(value, ast.Name) and value.text in ALIGNMENTS else None
