"""IR + hardware + schedule → the text of one Python module, with its provenance.

Chooses nothing: the skeleton and the concern files follow from fields of the schedule and from
what the expressions are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flash4gen.ir.core import core
from flash4gen.ir.expr import SCORE, Var
from flash4gen.ir.hardware import Backend, Feature
from flash4gen.ir.masks import minimal
from flash4gen.ir.nodes import EmptyRow
from flash4gen.ir.simplify import simplify
from flash4gen.render import dropout, expressions, formats, rows
from flash4gen.render.backward import training_context
from flash4gen.render.beside import beside_context
from flash4gen.render.blackwell import blackwell_context
from flash4gen.render.constants import TORCH_DTYPE, constants
from flash4gen.render.context import Header, Impl, Interface, Launch, RenderContext, Sequences
from flash4gen.render.context_pipeline import PipelineContext
from flash4gen.render.environment import NOTHING, environment
from flash4gen.render.faults import blamed
from flash4gen.render.inputs import arguments
from flash4gen.render.languages import in_its_languages
from flash4gen.render.mixed import mixed_context
from flash4gen.render.overrides import check_called
from flash4gen.render.pipeline import pipeline_context
from flash4gen.render.printed import check_printed
from flash4gen.render.provenance import Provenance, header, op_digest, provenance, seal, title
from flash4gen.render.surround import surround
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.schedule.model import Load, as_portable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention, Norm
    from flash4gen.render.context_blackwell import BlackwellContext
    from flash4gen.schedule.model import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedModule:
    """One generated module.

    Attributes:
        name: of the function, and of the file without ``.py``.
        target: of the hardware item, and of the folder.
        text: the whole file.
        provenance: digests of everything that the text follows from, and of the text.
        warnings: about templates of users.
    """

    name: str
    target: str
    text: str
    provenance: Provenance
    warnings: tuple[Diagnostic, ...] = ()


def render(
    attention: Attention, hardware: Hardware, choice: Choice, overrides: Sequence[Path] = ()
) -> RenderedModule:
    """Return the module of one variant for one target.

    Args:
        attention: the variant.
        hardware: the target.
        choice: its schedule, with the reasons that are printed beside the constants.
        overrides: template directories searched before the shipped one.

    Raises:
        DiagnosticError: a template of these directories cannot be rendered.
    """
    env = environment(overrides)
    origin = provenance(attention, hardware, choice, overrides)
    short, schedule = lean(attention), choice.schedule
    head, face = header(short, hardware, choice, origin), _interface(short, hardware, origin)
    short = core(short)
    context: RenderContext | BlackwellContext
    warnings: tuple[Diagnostic, ...] = ()
    if isinstance(schedule, BlackwellSchedule):
        context = blackwell_context(short, hardware, choice, head, face)
        warnings = check_called(context.score.impl, overrides)
        if choice.backward is not None:
            both = mixed_context if choice.mixed else pipeline_context
            context = both(short, choice.backward, context)
            if choice.backward.beside is not None and isinstance(context, PipelineContext):
                context = beside_context(short, choice.backward.beside, context)
    else:
        context = _context(short, hardware, choice, head, face)
        if choice.backward is not None:
            waves = hardware.backend == Backend.HIP
            context = training_context(short, choice.backward, context, waves=waves)
    with blamed(overrides):
        skeleton = env.get_template(f"skeleton/{schedule.family.value}_{_passes(choice)}.py.j2")
        text = skeleton.render(ctx=context)
    if isinstance(schedule, BlackwellSchedule):
        text = in_its_languages(text)
    text = tidied(text)
    check_printed(text, overrides)
    text, sealed = seal(text, origin)
    return RenderedModule(
        name=attention.name,
        target=hardware.name,
        text=text,
        provenance=sealed,
        warnings=warnings,
    )


def _passes(choice: Choice) -> str:
    """Return what the skeleton of a choice is called after its family."""
    if choice.backward is None:
        return "forward"
    if choice.backward.beside is not None:
        return "beside"
    return "mixed" if choice.mixed else "training"


def lean(attention: Attention) -> Attention:
    """Return the same meaning in the fewest operations."""
    return replace(
        attention,
        score=simplify(attention.score),
        mask=minimal(attention.mask),
        sink=None if attention.sink is None else simplify(attention.sink),
        q_norm=_lean_norm(attention.q_norm),
        k_norm=_lean_norm(attention.k_norm),
        epilogue=None if attention.epilogue is None else simplify(attention.epilogue),
    )


def _lean_norm(norm: Norm | None) -> Norm | None:
    return None if norm is None else replace(norm, weight=simplify(norm.weight))


def tidied(text: str) -> str:
    """Return text without trailing blanks and with the blank lines that ``ruff format`` leaves.

    Concerns that print nothing leave blank lines behind; templates need not count them.
    """
    text = re.sub(rf"^[ \t]*{NOTHING}\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\n{3,}(?=[ ])", "\n\n", text)
    text = re.sub(r"([(\[{,]\n)\n+(?=[ ])", r"\1", text)
    text = re.sub(r"\n{4,}", "\n\n\n", text)
    return text.strip("\n") + "\n"


def _context(
    attention: Attention, hardware: Hardware, choice: Choice, head: Header, face: Interface
) -> RenderContext:
    schedule = as_portable(choice.schedule)
    zero = attention.empty_row is EmptyRow.ZERO
    empty_value = "0.0" if zero else 'float("nan")'
    read = expressions.loop_reads(attention)
    inputs = expressions.input_tensors(attention)
    handed = read | expressions.box_place(attention) if schedule.load is Load.TMA else read
    handed = handed | {Var.SEQ_Q} if inputs.needs_seq_q else handed
    drawn = dropout.handed(attention, "q_first")
    names = (*expressions.loop_arguments(handed), *inputs.handed, *drawn)
    waves = hardware.backend == Backend.HIP
    # A capped score has its tanh in itself.
    printed = SCORE if schedule.capped else attention.score
    helpers = expressions.arithmetic(attention, printed, expressions.tanh_form(waves=waves))
    score = formats.score(attention, schedule, asm=not waves)
    epilogue = formats.epilogue(attention, schedule, empty_value)
    return RenderContext(
        header=head,
        constants=constants(attention, hardware, choice),
        imports=_imports(
            uses_tma=schedule.load is Load.TMA,
            uses_libdevice=helpers.libdevice
            or helpers.tanh_reciprocal
            or (waves and (schedule.capped or not attention.normalised)),
        ),
        arithmetic=helpers,
        order=Impl(schedule.order.value),
        sequences=_sequences(attention),
        load=formats.load(attention, schedule, _purpose(hardware)),
        inputs=inputs,
        factors=formats.factors(attention),
        norm=rows.norm(attention),
        score=score,
        mask=expressions.mask(attention),
        softmax=formats.softmax(attention, schedule, expressions.sigmoid_form(waves=waves)),
        attend=formats.attend(attention, schedule, names),
        output=rows.output(attention, epilogue.out),
        epilogue=replace(epilogue, out="acc") if attention.epilogue is not None else epilogue,
        eager=replace(
            expressions.eager(attention, empty_value),
            norms=rows.eager_norms(attention),
            output=rows.eager_output(attention),
        ),
        interface=face,
        dropout=dropout.dropout(attention),
        launch=Launch(any_size=waves),
    )


def _purpose(hardware: Hardware) -> str:
    """Return why tiles are loaded by an address per element, where they are."""
    if hardware.has(Feature.MFMA):
        way = " straight into the LDS" if hardware.has(Feature.LDS_DMA) else ""
        return f"an address per element, 16 bytes a lane{way}"
    return "an address per element, so that Triton can use cp.async"


def _sequences(attention: Attention) -> Sequences:
    if attention.packed:
        return Sequences(
            impl="packed_paged" if attention.paged else "packed",
            entry="0",
            first_query="q_start + q_first",
            first_key="k_start",
        )
    if attention.paged:
        return Sequences(impl="paged", entry="b", first_query="q_first", first_key="0")
    return Sequences(impl="batched", entry="b", first_query="q_first", first_key="0")


def _names(attention: Attention) -> tuple[str, ...]:
    return ("q", "k", "v", *(argument.name for argument in arguments(attention)))


def _tensor_names(attention: Attention) -> tuple[str, ...]:
    """Return the arguments that must be tensors: a seed may be a number."""
    seeds = [f"dropout_{word}" for word in ("seed", "offset")]
    names = (argument.name for argument in arguments(attention))
    return ("q", "k", "v", *(name for name in names if name not in seeds))


def _lse(attention: Attention) -> str:
    if not attention.normalised:
        return "the sum of the weights of each row"
    if attention.sink is None:
        return "natural logarithm; −inf where a query sees no key"
    return "natural logarithm, the sink included"


def _key_axes(attention: Attention) -> str:
    if attention.paged:
        return f"blocks, {attention.block_size}"
    return "total_k" if attention.packed else "batch, seq_k"


def _imports(*, uses_tma: bool, uses_libdevice: bool) -> tuple[str, ...]:
    lines = [
        "import triton.language as tl",
        "from torch import Tensor",
        "from triton.runtime import driver",
    ]
    if uses_tma:
        lines.append("from triton.tools.tensor_descriptor import TensorDescriptor")
    if uses_libdevice:
        lines.append("from triton.language.extra import libdevice")
    return (lines[0], *sorted(lines[1:]))


def _interface(attention: Attention, hardware: Hardware, origin: Provenance) -> Interface:
    return Interface(
        name=attention.name,
        digest=op_digest(origin),
        doc=title(attention),
        spec_name=origin.spec_name,
        target=hardware.name,
        title=hardware.doc,
        dtype=TORCH_DTYPE[attention.dtype].removeprefix("torch."),
        out_dtype=formats.out_dtype(attention),
        out_option=formats.out_option(attention),
        heads=attention.heads,
        kv_heads=attention.kv_heads,
        head_dim=attention.head_dim,
        value_dim=attention.value_dim,
        equal_lengths=attention.lengths.value == "equal",
        packed=attention.packed,
        paged=attention.paged,
        apart=attention.packed or attention.paged,
        key_words=f"{attention.block_size}, ",
        length_names=("q", "k", *attention.length_tensors),
        length_signature=tuple(f"{name}: Tensor" for name in ("q", "k", *attention.length_tensors)),
        length_words="block_table and the lengths"
        if attention.paged
        else "cu_seqlens_q and cu_seqlens_k",
        query_axes="total_q" if attention.packed else "batch, seq_q",
        key_axes=_key_axes(attention),
        second_axes=f"{attention.heads}, total_q"
        if attention.packed
        else f"batch, {attention.heads}, seq_q",
        second="lse" if attention.normalised else "total",
        lse=_lse(attention),
        inputs=arguments(attention),
        signature=expressions.signature(core(attention)),
        public=expressions.signature(attention, named=True),
        names=_names(core(attention)),
        checked=expressions.signature(attention),
        given=_names(attention),
        surround=surround(attention),
        drops=bool(attention.dropout),
        tensors=tuple(f"{name}={name}" for name in _tensor_names(attention)),
    )
