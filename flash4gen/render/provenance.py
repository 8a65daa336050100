"""Where a module comes from: digests of its inputs and of its text, and the header that says so.

No time, no user, no folder: the same inputs give the same bytes anywhere.
"""

from __future__ import annotations

import hashlib
import textwrap
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from flash4gen import __version__
from flash4gen.digest import digest
from flash4gen.ir.core import core, is_surrounded
from flash4gen.ir.derivative import ONE
from flash4gen.ir.expr import SCORE
from flash4gen.ir.masks import always_true
from flash4gen.ir.nodes import EmptyRow
from flash4gen.ir.printer import format_expr, format_norm
from flash4gen.render import inputs
from flash4gen.render.context import API, Header
from flash4gen.render.environment import LINE
from flash4gen.render.gradients import gradients, moved_inputs
from flash4gen.schedule.choose import BUILD
from flash4gen.schedule.model import Family, Schedule
from flash4gen.schedule.text import record_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flash4gen.ir.expr import Expr
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.model import AnySchedule, Choice


UNSEALED = "0" * 64
"""Stands for a module's own digest until there is a text to take it of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """SHA-256 digests of what a module follows from and of its text, and the version that made it.

    Shipped templates have no digest: what they print has. So a change of a template that leaves a
    module as it was leaves its certificate in force.

    Attributes:
        spec: of the variant's meaning and of the texts that the module quotes.
        templates: of the directories searched before the shipped one; empty without any.
        text: of the module, zeros standing where this digest itself stands.
    """

    version: str
    spec_name: str
    spec: str
    target: str
    schedule: str
    templates: str = ""
    text: str = UNSEALED

    def as_mapping(self) -> dict[str, str]:
        """Return all of it by name, as certificates store it."""
        return asdict(self)


def provenance(
    attention: Attention, hardware: Hardware, choice: Choice, overrides: Sequence[Path]
) -> Provenance:
    """Return the provenance of a module whose text is still to be made."""
    return Provenance(
        version=__version__,
        spec_name=_spec_name(attention),
        spec=digest(attention),
        target=digest(hardware),
        schedule=digest(_chosen(choice)),
        templates=_templates_digest(overrides) if overrides else "",
    )


def _chosen(choice: Choice) -> tuple[object, ...]:
    """Return what of a choice the module follows from."""
    backward = () if choice.backward is None else (choice.backward,)
    return (choice.schedule, choice.decisions, *backward)


def seal(text: str, origin: Provenance) -> tuple[str, Provenance]:
    """Put the digest of a text into it, in the header and in the op's name."""
    sealed = replace(origin, text=hashlib.sha256(text.encode()).hexdigest())
    text = text.replace(_short(UNSEALED), _short(sealed.text))
    return text.replace(f"_{op_digest(origin)}", f"_{op_digest(sealed)}"), sealed


def op_digest(origin: Provenance) -> str:
    """Return what keeps the ops of two versions of a module apart."""
    return origin.text[:8]


def header(attention: Attention, hardware: Hardware, choice: Choice, origin: Provenance) -> Header:
    """Return header comment and docstring."""
    first, *more = _what(choice.schedule)
    return Header(
        version=origin.version,
        spec_name=origin.spec_name,
        target=hardware.name,
        provenance=(
            f"spec       {_short(origin.spec)}",
            f"target     {_short(origin.target)}  {hardware.doc}",
            f"schedule   {_short(origin.schedule)}  {first}",
            *(f"{'':36}{line}" for line in more),
            *([f"templates  {_short(origin.templates)}  over shipped"] if origin.templates else []),
            f"text       {_short(origin.text)}  templates api {API}",
            *_searched(choice),
            *excluded_rows(choice),
        ),
        title=title(attention),
        meaning=meaning(attention, in_turn=_in_turn(choice)),
    )


def _in_turn(choice: Choice) -> bool:
    """Whether key tiles add to the gradient of queries in turn, where it is deterministic."""
    return choice.backward is not None and choice.backward.schedule.family is Family.BLACKWELL


def _what(schedule: AnySchedule) -> list[str]:
    """Return a schedule in short, on lines that fit beside its digest."""
    s = schedule
    if isinstance(s, Schedule):
        what = f"{s.family.value}, tiles {s.tile_q} × {s.tile_k}, {s.warps} warps, "
        return [what + f"{s.stages} stages, {s.load.value} loads"]
    return textwrap.wrap(f"{s.family.value}, {record_text(s)}", LINE - len("# ") - 36)


def title(attention: Attention) -> str:
    """Return what the variant is, in one line without a full stop."""
    return attention.doc.rstrip(". ") or f"Attention variant {attention.name}"


def meaning(attention: Attention, *, in_turn: bool = False) -> tuple[str, ...]:
    """Return the variant as a formula, in the spec's own expression language."""
    kv = "h" if attention.group == 1 else f"h // {attention.group}"
    score = "s" if attention.score == SCORE else format_expr(attention.score)
    where = "" if always_true(attention.mask) else "    where the mask is true, else −∞"
    empty = "0" if attention.empty_row is EmptyRow.ZERO else "NaN"
    alone = f"out = {empty}, lse = −∞" if attention.sink is None else "out = 0, lse = the sink"
    alone = alone if attention.normalised else "out = 0, total = 0"
    lines = [
        f"{_passes(attention)}. For query q of head h and the keys k of key/value head {kv}:",
        "",
        *_rows(attention),
        f"    s      = (Q[q] · K[k]) · {attention.scale!r}{_times(attention.score_factor)}",
        f"    x      = {score}{where}",
    ]
    if where:
        lines.append(f"    mask   = {format_expr(attention.mask)}")
    lines += [
        *_result(attention),
        *_changed(attention),
        "",
    ]
    if where:
        lines.append(f"q and k are positions. A query without keys gets {alone}.")
    if any("q_end" in line for line in lines):
        lines.append("q_end = q + (seq_k − seq_q): the last query stands at the last key.")
    if attention.packed:
        lines.append("Sequences lie packed, one behind the other; q and k count from 0 in each.")
    if attention.paged:
        lines += [
            f"Key k of entry b is row k % {attention.block_size} of block "
            f"block_table[b, k // {attention.block_size}]; seq_k is seqused_k[b].",
        ]
    if attention.norm_weights:
        lines.append("rms_norm(x)[d] = x[d] · weight[d] / sqrt(mean(x²) + eps).")
    lines += _dropped(attention)
    lines += _differentiated(attention, in_turn=in_turn)
    lines += inputs.meaning(attention)
    return tuple(part for line in _trimmed(lines) for part in _wrapped(line))


def _passes(attention: Attention) -> str:
    return "Attention, forward and backward" if attention.differentiable else "Forward attention"


def _differentiated(attention: Attention, *, in_turn: bool) -> list[str]:
    """Return what a module's docstring says about gradients."""
    if not attention.differentiable:
        return []
    found = gradients(core(attention))
    names = ("q", "k", "v", *(tensor.name for tensor in moved_inputs(attention)))
    lines = [f"It is differentiable in {', '.join(names[:-1])} and {names[-1]}, once."]
    if found.by_s != ONE:
        lines.append(f"    dx / ds = {format_expr(found.by_s)}")
    if is_surrounded(attention):
        lines.append("What is done to Q and K, and to out last, PyTorch does around the kernels.")
    if attention.deterministic:
        why = "key tiles add to that of q in turn" if in_turn else "no kernel adds atomically"
        lines.append(f"Its gradients are the same bits in every run: {why}.")
    return lines


def _wrapped(line: str) -> list[str]:
    """Break a line of the formula that is too long; what goes on stands under its right side."""
    return textwrap.wrap(line, LINE, subsequent_indent=" " * 13) if len(line) > LINE else [line]


def _result(attention: Attention) -> tuple[str, str]:
    value = f"{_stays(attention)} · V[k]{_times(attention.value_factor)}"
    if not attention.normalised:
        return "    total[q] = Σ_k sigmoid(x)", f"    out[q] = Σ_k sigmoid(x){value}"
    sink = attention.sink
    total = "Σ_k exp(x)" if sink is None else f"(exp({format_expr(sink)}) + Σ_k exp(x))"
    return f"    lse[q] = log {total}", f"    out[q] = Σ_k exp(x − lse[q]){value}"


def _stays(attention: Attention) -> str:
    return f" · stays / (1 − {attention.dropout!r})" if attention.dropout else ""


def _dropped(attention: Attention) -> list[str]:
    """Return what a module's docstring says about weights that are dropped."""
    if not attention.dropout:
        return []
    return [
        f"stays is 0 for {attention.dropout!r} of the weights, else 1: by dropout_seed and",
        "dropout_offset, and by where a weight stands, whatever computes it.",
    ]


def _times(factor: Expr | None) -> str:
    return "" if factor is None else f" · {format_expr(factor)}"


def _changed(attention: Attention) -> list[str]:
    """Return what becomes of the output, last."""
    made = attention.epilogue
    return [] if made is None else [f"    out[q] = {format_expr(made)}"]


def _rows(attention: Attention) -> list[str]:
    """Return what becomes of rows of q and k before anything else."""
    norms = (("Q[q] ", attention.q_norm), ("K[k] ", attention.k_norm))
    return [f"    {name}  = {format_norm(norm)}" for name, norm in norms if norm is not None]


def _searched(choice: Choice) -> list[str]:
    """Return what a search on the clock has found: no compile looks for it again."""
    if choice.searched is None:
        return []
    found = choice.searched
    pins = ", ".join(f"{name} = {value}" for name, value in found.pins)
    return [
        f"searched   by --search, {found.gain:.2f} times as fast as by the rules, modelled",
        f"found      {pins}",
    ]


def excluded_rows(choice: Choice) -> list[str]:
    """Return a row per schedule that was compiled and found wanting: the spec cannot tell those."""
    backward = choice.backward
    loops = backward if backward is None else backward.beside or backward
    shapes = () if loops is None else loops.excluded
    return [
        *(
            f"excluded   {record_text(item.schedule)}: {item.reason}"
            for item in choice.rejected
            if item.constraint == BUILD
        ),
        *(f"excluded   {item.text}: {why}" for item, why in shapes),
    ]


def _trimmed(lines: list[str]) -> list[str]:
    return lines if lines[-1] else lines[:-1]


def _spec_name(attention: Attention) -> str:
    if attention.span is None:
        return f"{attention.name}.attn"
    return attention.span.source.name.rpartition("/")[2]


def _short(value: str) -> str:
    return f"sha256:{value[:16]}"


def _templates_digest(folders: Sequence[Path]) -> str:
    state = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.rglob("*.j2")):
            state.update(file.relative_to(folder).as_posix().encode() + b"\0")
            state.update(file.read_bytes() + b"\0")
    return state.hexdigest()
