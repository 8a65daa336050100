"""Input tensors and sinks of a ``blackwell`` module: who reads them, when, and under which names.

The softmax warps do: a thread has a row of its own. What does not depend on the key is read once
per work tile, other look-ups where a fragment of scores is masked and scored, and a sink's after
the last key tile, when the products of that tile are still on their way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flash4gen.ir.expr import Expr, Lookup, Var, lookups
from flash4gen.render import blackwell_formats, expressions
from flash4gen.render.block_reads import block_read, by_blocks, ends_read
from flash4gen.render.context_blackwell import Normalise
from flash4gen.render.context_inputs import Inputs
from flash4gen.render.inputs import in_loop, ordered, outside, read, tensor_text, value_names
from flash4gen.render.key_masks import is_word
from flash4gen.render.row_reads import by_rows, element_text, row_read, row_text, widened
from flash4gen.render.source_expr import TRITON, statements, variable_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flash4gen.ir.expr import Input
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context_inputs import InputText
    from flash4gen.schedule.blackwell.model import BlackwellSchedule

_OWNER = "inputs."
_INDENT = 8


@dataclass(frozen=True, slots=True)
class Reads:
    """All look-ups of an attention.

    Attributes:
        every: of them, those first that are an index of another one.
        once: those of score and mask that a work tile reads once.
        step: those that each key tile reads.
        rows: those of which whole rows of keys are read.
        words: those that have a bit for each key.
        sink: those of the sink and of the factor on the output, which no key tile can depend on.
        factor: those of the factor on the scores, read once like ``once``.
        names: of their values.
    """

    every: tuple[Lookup, ...]
    once: tuple[Lookup, ...]
    step: tuple[Lookup, ...]
    rows: frozenset[Lookup]
    words: frozenset[Lookup]
    sink: tuple[Lookup, ...]
    factor: tuple[Lookup, ...]
    names: Mapping[Expr, str]

    @property
    def step_variables(self) -> frozenset[Var]:
        """What the indices are computed from that each key tile reads at; rows begin at a tile."""
        read_at = (
            outside(index) - ({Var.K} if lookup in self.words else set())
            for lookup in self.step
            for index in (lookup.indices[:-1] if lookup in self.rows else lookup.indices)
        )
        return frozenset[Var]().union(*read_at)

    @property
    def needs_kv(self) -> bool:
        """Whether any of them is read at the number of a key/value head."""
        return any(Var.HKV in outside(index) for found in self.every for index in found.indices)

    @property
    def handed(self) -> tuple[str, ...]:
        """What a softmax step is handed for them."""
        return (*(("inputs",) if self.step else ()), *(self.names[found] for found in self.once))


def reads(attention: Attention) -> Reads:
    """Return the look-ups of an attention, sorted by when they are read."""
    every = ordered(*attention.expressions)
    own = lookups(attention.score, attention.mask)
    scored = [found for found in every if found in own]
    return Reads(
        every=every,
        once=tuple(found for found in scored if not in_loop(found)),
        step=tuple(found for found in scored if in_loop(found)),
        rows=frozenset(lookup for lookup in every if by_rows(lookup, attention)),
        words=frozenset(lookup for lookup in every if is_word(lookup, attention)),
        sink=ordered(*(it for it in (attention.sink, attention.value_factor) if it is not None)),
        factor=() if attention.score_factor is None else ordered(attention.score_factor),
        names=value_names(every),
    )


def element_names(schedule: BlackwellSchedule, holder: str) -> dict[Var, str]:
    """Return what variables are called in the softmax step: rows down, keys across.

    Args:
        schedule: says whether a tile has rows of several heads.
        holder: what has seq_q and seq_k.
    """
    return {
        Var.Q: "q[:, None]",
        Var.K: "k",
        Var.H: "h[:, None]" if schedule.pack > 1 else "h",
        Var.HKV: "hkv",
        Var.B: "b",
        Var.SEQ_Q: f"{holder}.seq_q",
        Var.SEQ_K: f"{holder}.seq_k",
    }


def blackwell_inputs(attention: Attention, found: Reads, names: Mapping[Var, str]) -> Inputs:
    """Return all that kernel, softmax warps and launcher do for the tensors."""
    texts = _texts(attention, found)
    return Inputs(
        tensors=tuple(texts.values()),
        program=_lines((*found.once, *found.factor), texts, found, names),
        step=_lines(found.step, texts, found, names),
        handed=found.handed,
        needs_seq_q=False,
        by_element=any(not text.group for text in texts.values()),
        by_rows=any(text.group for text in texts.values()),
    )


def normalise(
    attention: Attention,
    schedule: BlackwellSchedule,
    found: Reads,
    names: Mapping[Var, str],
    empty_factor: str,
) -> Normalise:
    """Return how a row's sum becomes a factor of its output, and its LSE."""
    log_max = blackwell_formats.log_max(attention)
    factor = blackwell_formats.value_factor(attention)
    if attention.sink is None and not factor:
        return Normalise(impl="plain", empty_factor=empty_factor, log_max=log_max)
    # A number for each row, where score and mask have a column.
    names = {**names, Var.Q: "q", Var.H: "h"}
    known = {**variable_names(names), **found.names}
    sink = () if attention.sink is None else (("", attention.sink),)
    logit = "".join(statements([*sink], TRITON, known, 10**6)) if sink else ""
    # Packed heads: score and mask have the values of their own as a column, here is a row.
    again = schedule.pack > 1
    left = tuple(lookup for lookup in found.sink if again or lookup not in found.once)
    handed = blackwell_formats.normaliser(attention)
    return Normalise(
        impl="sink" if logit else "scaled",
        empty_factor=empty_factor,
        log_max=log_max,
        value_factor=factor,
        unit="descale * " if factor else "",
        given="".join(f", {name}" for name, _ in handed),
        given_factors="".join(f", {value}" for _, value in handed),
        reads=_lines(left, _texts(attention, found), found, names),
        logit=logit,
    )


def score_arguments(attention: Attention, body: Expr, names: Mapping[Var, str]) -> tuple[str, ...]:
    """Return what ``_score`` or ``_visible`` is given beside the score, in their order."""
    read_here = outside(body) - {Var.S}
    given = (names[var] for var in expressions.ORDER if var in read_here)
    return (*given, *expressions.values(body, attention))


def _texts(attention: Attention, found: Reads) -> dict[Input, InputText]:
    """Return how each tensor is read: by rows where a look-up can be, by element otherwise."""
    texts: dict[Input, InputText] = {}
    for tensor in attention.inputs:
        own = tuple(lookup for lookup in found.every if lookup.tensor == tensor)
        rows = tuple(lookup for lookup in own if lookup in found.rows)
        single = tuple(lookup for lookup in own if lookup not in found.rows)
        if own:
            text = tensor_text(tensor, single or own)
            texts[tensor] = (
                row_text(text, tensor, rows, attention) if rows else widened(text, tensor)
            )
            if rows and single:
                element = element_text(text, tensor)
                texts[tensor] = replace(texts[tensor], element=element)
    return texts


def _lines(
    some: tuple[Lookup, ...],
    texts: Mapping[Input, InputText],
    found: Reads,
    names: Mapping[Var, str],
) -> str:
    known = {**variable_names(names), **found.names}
    lines = []
    for lookup in some:
        text = texts[lookup.tensor]
        if lookup in found.rows:
            lines.append(row_read(lookup, text, known, _INDENT))
        elif lookup in found.words:
            lines.append(ends_read(lookup, text.element or text, known, _INDENT, _OWNER))
        elif by_blocks(lookup):
            lines.append(block_read(lookup, text.element or text, known, _INDENT, _OWNER))
        else:
            lines.append(read(lookup, text.element or text, known, _INDENT, _OWNER))
    return "\n".join(lines)
