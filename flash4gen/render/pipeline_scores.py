"""What a step of the backward pipeline reads of tensors for each score, as text.

A tensor with an element for each score is read a fragment at a time: a thread adds whole rows to
the address of its own key. Anything else that differs from score to score, such as a table of
distances, is read element by element, as the forward pass does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.ir.elements import is_plain
from flash4gen.ir.expr import Extent, Literal, Var, lookups
from flash4gen.render.context_pipeline import ScoreReads, ScoreTensor
from flash4gen.render.environment import call
from flash4gen.render.inputs import attention_names, ordered, outside, read, tensor_text
from flash4gen.render.source_expr import variable_names
from flash4gen.schedule.backward.pipeline.inputs import per_score, row_lookups

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flash4gen.ir.expr import Expr, Input, Lookup
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context_blackwell import BlackwellContext
    from flash4gen.render.context_inputs import InputText

OWNER = "inputs."
_LAST = ("q_first", "k", "problem", "zero", "queries: gl.constexpr", "MASKED: gl.constexpr")
_GIVEN = ("q_first + first", "k", "problem", "step >> 30", "queries", "MASKED")


def element_texts(attention: Attention, forward: BlackwellContext) -> dict[Input, InputText]:
    """Return how single elements of each tensor are read.

    Where the forward pass reads whole rows, its functions count in groups of elements: these have
    other names.
    """
    every = ordered(*attention.expressions)
    own = {lookup.tensor for lookup in ordered(attention.score, attention.mask)}
    there = {text.name: text for text in forward.inputs.tensors}
    texts = {}
    for tensor in attention.inputs:
        if tensor not in own:
            continue
        text = tensor_text(tensor, every)
        same = there.get(tensor.name) == text
        texts[tensor] = text if same else replace(text, function=f"{text.function}_alone")
    return texts


def read_by_element(attention: Attention) -> set[Input]:
    """Return the tensors of which single elements are read."""
    some = lookups(attention.score, attention.mask)
    return {lookup.tensor for lookup in some if not _has_scores(lookup)}


def score_tensors(
    attention: Attention, texts: Mapping[Input, InputText]
) -> tuple[ScoreTensor, ...]:
    """Return the tensors of which fragments of scores are read.

    Args:
        attention: the variant, simplified.
        texts: how single elements are read.
    """
    found = {it.tensor: None for it in lookups(attention.score, attention.mask) if _has_scores(it)}
    return tuple(_tensor(tensor, texts[tensor]) for tensor in texts if tensor in found)


def _has_scores(lookup: Lookup) -> bool:
    """Whether a look-up reads an element for each score, at its own position."""
    return is_plain(lookup) and per_score(lookup)


def _tensor(tensor: Input, text: InputText) -> ScoreTensor:
    last = len(tensor.axes) - 1
    strides = [f"stride_{axis}" for axis in range(last)]
    terms, stride = ["ptr"], ""
    for axis, extent in enumerate(tensor.axes):
        by = "" if axis == last else f"{strides[axis]}.to(tl.int64) * "
        at = {Extent.SEQ_Q: "q_first", Extent.SEQ_K: "k"}.get(extent, f"i{axis}")  # type: ignore[arg-type]
        terms.append(by + at)
        if extent is Extent.SEQ_Q:
            stride = "1" if axis == last else f"{strides[axis]}.to(tl.int32)"
    positions = (Extent.SEQ_Q, Extent.SEQ_K)
    others = [f"i{axis}" for axis, it in enumerate(tensor.axes) if it not in positions]
    return ScoreTensor(
        declared=text.declared,
        origin=text.origin,
        function=_function(tensor),
        parameters=("ptr", *strides, *others, *_LAST),
        own=" + ".join(terms),
        stride=stride,
        convert=text.convert,
    )


def _function(tensor: Input) -> str:
    return f"_read_{tensor.name}_scores"


def score_reads(
    attention: Attention,
    forward: BlackwellContext,
    some: Sequence[Lookup],
    names: Mapping[Var, str],
    indent: int,
) -> ScoreReads | None:
    """Return what is read before the scores are there; None where nothing is.

    Args:
        attention: the variant, simplified.
        forward: the context of its forward pass.
        some: look-ups that differ from score to score, an index of another one first.
        names: what variables are called in a step.
        indent: columns to the left of the lines, which are not printed.
    """
    if not some:
        return None
    known = attention_names(attention)
    given = {known[it]: None for it in row_lookups(attention) if it in indices(some)}
    values = ", ".join(known[lookup] for lookup in some)
    return ScoreReads(
        rows=tuple(row_line(name) for name in given),
        columns=any(
            Var.Q in outside(at) for it in some if not _has_scores(it) for at in it.indices
        ),
        lines=step_lines(attention, forward, some, {**names, Var.K: "key[:, None]"}, indent),
        names=f"({values},)" if len(some) == 1 else f"({values})",
    )


def indices(some: Iterable[Lookup]) -> frozenset[Lookup]:
    """Return the look-ups that some are read at."""
    return frozenset(lookups(*(at for lookup in some for at in lookup.indices)))


def step_lines(
    attention: Attention,
    forward: BlackwellContext,
    some: Iterable[Lookup],
    names: Mapping[Var, str],
    indent: int,
) -> str:
    """Return the lines of a step that read what differs from score to score, of some look-ups.

    Args:
        attention: the variant, simplified.
        forward: the context of its forward pass.
        some: look-ups, those that are an index of another one first.
        names: what variables are called in a step.
        indent: columns to the left of the lines, which are not printed.
    """
    known = {**variable_names(names), **attention_names(attention)}
    texts = element_texts(attention, forward)
    return "\n".join(
        _fragment(lookup, texts[lookup.tensor], known, indent)
        if _has_scores(lookup)
        else read(lookup, texts[lookup.tensor], known, indent, OWNER)
        for lookup in some
        if per_score(lookup)
    )


def _fragment(lookup: Lookup, text: InputText, known: Mapping[Expr, str], indent: int) -> str:
    handed = [OWNER + part for part in text.handed if "_size_" not in part.removeprefix(text.name)]
    positions = (Extent.SEQ_Q, Extent.SEQ_K)
    others = [
        f"{at.value}" if isinstance(at, Literal) else known[at]
        for at, extent in zip(lookup.indices, lookup.tensor.axes, strict=True)
        if extent not in positions
    ]
    prefix = f"{known[lookup]} = {_function(lookup.tensor)}("
    line = call((*handed, *others, *_GIVEN), prefix, indent=indent)
    return line.replace("\n" + " " * indent, "\n")


def row_line(name: str) -> str:
    """Return the line of a step that reads what a tensor holds for the queries of a fragment."""
    given = (f"memory.{name}", "slot", "first", "queries", "PART")
    line = call(given, f"{name} = _of_queries(", indent=8)
    return line.replace("\n" + " " * 8, "\n")
