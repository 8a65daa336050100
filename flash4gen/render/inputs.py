"""Input tensors as text for the templates: how they are declared, checked, handed on and read.

A look-up that does not depend on the key is read once per program, before the loop over key tiles;
any other one in each step of it. Either way the score and the mask get a value with a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.expr import (
    Expr,
    Extent,
    Input,
    InputDType,
    Literal,
    Lookup,
    Type,
    Var,
    Variable,
    lookups,
    variables,
    walk,
)
from flash4gen.ir.nodes import DROPOUT_STATE, Lengths
from flash4gen.ir.printer import format_input
from flash4gen.render.context import Argument
from flash4gen.render.context_inputs import Inputs, InputText
from flash4gen.render.dropout import prepared
from flash4gen.render.environment import call
from flash4gen.render.source_expr import TORCH, TRITON, Names, non_negative, statements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flash4gen.ir.nodes import Attention

_WIDTH = 80
_TORCH_DTYPE = {
    InputDType.F32: "torch.float32",
    InputDType.BF16: "torch.bfloat16",
    InputDType.FP16: "torch.float16",
    InputDType.I32: "torch.int32",
    InputDType.I64: "torch.int64",
}

_TOLD = {
    "dropout_seed": ", or an int; without one it is drawn by torch's generator",
    "dropout_offset": ", or an int: other draws from the same seed",
}

HALF = (InputDType.BF16, InputDType.FP16)

_OWN_INDEX = {Extent.HEADS: Var.H, Extent.KV_HEADS: Var.HKV, Extent.BATCH: Var.B}
"""The variable that is below an extent by its meaning."""

_SIZE = {Extent.HEADS: "HEADS", Extent.KV_HEADS: "KV_HEADS"}
_HOST_SIZE = {
    Extent.HEADS: "HEADS.value",
    Extent.KV_HEADS: "KV_HEADS.value",
    Extent.BATCH: "q.shape[0]",
    Extent.SEQ_Q: "q.shape[1]",
    Extent.SEQ_K: "k.shape[1]",
}


def ordered(*exprs: Expr) -> tuple[Lookup, ...]:
    """Return every look-up once, those that are an index of another one first."""
    return tuple(sorted(lookups(*exprs), key=_nesting))


def value_names(found: Iterable[Lookup]) -> dict[Expr, str]:
    """Return what the value of each look-up is called, such as ``bias_h_q_k``."""
    names: dict[Expr, str] = {}
    found = tuple(found)
    tensors = {lookup.tensor.name for lookup in found}
    for lookup in found:
        plain = [index for index in lookup.indices if isinstance(index, Variable)]
        whole = len(plain) == len(lookup.indices)
        suffix = "_".join(index.var.value for index in plain) if whole else f"at_{len(names)}"
        suffix = "value" if lookup.tensor in DROPOUT_STATE else suffix
        name = f"{lookup.tensor.name}_{suffix}"
        taken = name in tensors or name in names.values()
        names[lookup] = f"{name}_{len(names)}" if taken else name
    return names


def attention_names(attention: Attention) -> dict[Expr, str]:
    """Return what the value of each look-up of a variant is called."""
    return value_names(ordered(*attention.expressions))


def in_loop(lookup: Lookup) -> bool:
    """Whether a look-up differs from key to key."""
    return Var.K in variables(lookup)


def of_rows(lookup: Lookup) -> bool:
    """Whether a look-up differs from element to element of a row of q, k or out."""
    return Var.D in variables(lookup)


def outside(expr: Expr) -> frozenset[Var]:
    """Return the variables that an expression reads once its look-ups have values."""
    if isinstance(expr, Lookup):
        return frozenset()
    if isinstance(expr, Variable):
        return frozenset({expr.var})
    args = () if isinstance(expr, Literal) else expr.args
    return frozenset().union(*(outside(arg) for arg in args))


def inputs(
    attention: Attention,
    names: Names,
    varies: Callable[[Lookup], bool] = in_loop,
    indents: tuple[int, int] = (4, 8),
    *,
    scored: bool = False,
) -> Inputs:
    """Return all that kernel and launcher do for the tensors that the expressions read.

    Args:
        attention: the variant, simplified.
        names: what variables are called in kernel and key loop.
        varies: whether a look-up differs from step to step of the loop.
        indents: columns to the left of what is read before the loop, and of what is read in it.
        scored: whether the sink is left out.
    """
    found = ordered(*attention.expressions)
    state = attention.dropout_state
    seen = ordered(attention.score, attention.mask, *state) if scored else found
    tensors = [tensor for tensor in attention.inputs if any(f.tensor == tensor for f in seen)]
    texts = {tensor: tensor_text(tensor, found) for tensor in tensors}
    known = {**names, **value_names(found)}
    step = [lookup for lookup in found if lookup in seen and varies(lookup)]
    program = [
        lookup for lookup in found if lookup in seen and not varies(lookup) and not of_rows(lookup)
    ]
    used = lookups(attention.score, attention.mask)
    owners = [t for t in tensors if any(x.tensor == t for x in step)]
    first = [read(lookup, texts[lookup.tensor], known, indents[0]) for lookup in program]
    then = [read(lookup, texts[lookup.tensor], known, indents[1]) for lookup in step]
    if state:
        (then if set(state) <= set(step) else first).extend(prepared(known, state))
    return Inputs(
        tensors=tuple(texts.values()),
        program="\n".join(first),
        step="\n".join(then),
        handed=(
            *(known[lookup] for lookup in program if lookup in used),
            *(part for owner in owners for part in texts[owner].handed),
        ),
        needs_seq_q=any("seq_q" in texts[lookup.tensor].sizes for lookup in step),
        by_element=bool(texts),
    )


def row_reads(attention: Attention, names: Names, *exprs: Expr) -> list[str]:
    """Return the lines that read the elements of rows in some expressions, in Triton."""
    found = [lookup for lookup in ordered(*exprs) if of_rows(lookup)]
    every = ordered(*attention.expressions)
    known = {**names, **attention_names(attention)}
    return [read(lookup, tensor_text(lookup.tensor, every), known, 4) for lookup in found]


def eager_reads(attention: Attention, names: Names, *exprs: Expr) -> list[str]:
    """Return the assignments that read every value in PyTorch; those of some expressions alone."""
    found = ordered(*(exprs or attention.expressions))
    known = {**names, **attention_names(attention)}
    lines: list[str] = []
    for lookup in found:
        texts = [_index(index, known, lines, torch=True) for index in lookup.indices]
        tensor = lookup.tensor
        inside = all(
            _within(index, axis, attention)
            for index, axis in zip(lookup.indices, tensor.axes, strict=True)
        )
        element = f"{tensor.name}[{', '.join(texts)}]"
        if not inside:
            element = f"_look_up({', '.join((tensor.name, *texts))})"
        half = tensor.dtype in HALF
        lines.append(f"{known[lookup]} = {element}{'.float()' if half else ''}")
    return lines


def needs_look_up(attention: Attention) -> bool:
    """Whether the CPU path reads at indices that may lie outside of a tensor."""
    return any(
        not _within(index, axis, attention)
        for lookup in lookups(*attention.expressions)
        for index, axis in zip(lookup.indices, lookup.tensor.axes, strict=True)
    )


def arguments(attention: Attention) -> tuple[Argument, ...]:
    """Return the declared tensors as parameters of the public function."""
    batch = "cu_seqlens_q.numel() - 1" if attention.packed else _HOST_SIZE[Extent.BATCH]
    table = f"({batch}, block_table.shape[-1] if block_table.dim() else 0)"
    own = {
        "cu_seqlens_q": ("(cu_seqlens_q.numel(),)", "[batch + 1]"),
        "cu_seqlens_k": ("(cu_seqlens_q.numel(),)", "[batch + 1]"),
        "block_table": (table, "[batch, max_blocks]"),
        "seqused_k": (f"({batch},)", "[batch]"),
    }
    starts = (
        Argument(name=name, dtype="torch.int32", shape=own[name][0], axes=own[name][1])
        for name in attention.length_tensors
    )
    tensors = (
        Argument(
            name=tensor.name,
            dtype=_TORCH_DTYPE[tensor.dtype],
            shape=_tuple(tensor, batch),
            axes=f"[{', '.join(map(str, tensor.axes))}]",
            told=_TOLD.get(tensor.name, "") if tensor in attention.own_inputs else "",
        )
        for tensor in attention.inputs
    )
    return (*starts, *tensors)


def meaning(attention: Attention) -> list[str]:
    """Return what a module's docstring says about the tensors."""
    inputs = [tensor for tensor in attention.inputs if tensor not in DROPOUT_STATE]
    if not inputs:
        return []
    declared = [f"    {format_input(tensor)}" for tensor in inputs]
    return ["", "Inputs besides Q, K and V, which are 0 outside:", "", *declared]


def _nesting(expr: Expr) -> int:
    """Return how many look-ups stand around the innermost one."""
    return sum(isinstance(node, Lookup) for node in walk(expr))


def _tuple(tensor: Input, batch: str) -> str:
    known = {**_HOST_SIZE, Extent.BATCH: batch}
    sizes = [str(a) if isinstance(a, int) else known[a] for a in tensor.axes]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


def tensor_text(tensor: Input, found: tuple[Lookup, ...]) -> InputText:
    """Return how a tensor is declared, checked, handed on and read at these look-ups."""
    own = [lookup for lookup in found if lookup.tensor == tensor]
    last = len(tensor.axes) - 1
    strides = tuple(f"stride_{axis}" for axis in range(last))
    checks: list[str] = []
    sizes: list[str] = []
    measured: list[int] = []
    for axis, extent in enumerate(tensor.axes):
        used = [lookup.indices[axis] for lookup in own]
        if not all(non_negative(index) for index in used):
            checks.append(f"(i{axis} >= 0)")
        if all(surely_below(index, extent) for index in used):
            continue
        size = str(extent) if isinstance(extent, int) else _SIZE.get(extent, extent.value)
        if extent is Extent.BATCH:
            size = f"size_{axis}"
            measured.append(axis)
        if not isinstance(extent, int) and extent not in _SIZE:
            sizes.append(size)
        checks.append(f"(i{axis} < {size})")
    address = " + ".join(["ptr", *(f"i{a} * {s}" for a, s in enumerate(strides)), f"i{last}"])
    name = tensor.name
    given = tuple(size for size in dict.fromkeys(sizes) if size.startswith("size_"))
    return InputText(
        name=name,
        declared=format_input(tensor),
        origin=_origin(tensor),
        function=f"_read_{name}",
        parameters=("ptr", *strides, *dict.fromkeys(sizes), *(f"i{a}" for a in range(last + 1))),
        sizes=tuple(dict.fromkeys(sizes)),
        inside=" & ".join(checks) if len(checks) > 1 else "".join(checks).strip("()"),
        address=address,
        zero="0" if tensor.dtype.type is Type.INT else "0.0",
        convert=".to(tl.float32)" if tensor.dtype in HALF else "",
        kernel=(
            f"{name}_ptr",
            *(f"{name}_{stride}: tl.int64" for stride in strides),
            *(f"{name}_{size}: tl.int32" for size in given),
        ),
        handed=(f"{name}_ptr", *(f"{name}_{part}" for part in (*strides, *given))),
        host=(
            name,
            *((f"*{name}.stride()[:-1]",) if strides else ()),
            *(f"{name}.shape[{axis}]" for axis in measured),
        ),
    )


def read(lookup: Lookup, text: InputText, known: Names, indent: int, owner: str = "") -> str:
    """Return the lines that read one value.

    Args:
        lookup: the value.
        text: its tensor.
        known: what variables, lengths and other values are called there.
        indent: columns to the left of the lines, which are not printed.
        owner: what stands before the names that were handed on, such as ``inputs.``.
    """
    lines: list[str] = []
    indices = [_index(index, known, lines) for index in lookup.indices]
    lengths = {var.value: known[Variable(var)] for var in (Var.SEQ_Q, Var.SEQ_K)}
    sizes = [lengths.get(size, f"{owner}{text.name}_{size}") for size in text.sizes]
    handed = [part for part in text.handed if "_size_" not in part.removeprefix(text.name)]
    prefix = f"{known[lookup]} = {text.function}("
    arguments = [*(owner + part for part in handed), *sizes, *indices]
    lines.append(call(arguments, prefix, indent=indent).replace("\n" + " " * indent, "\n"))
    return "\n".join(lines)


def _index(index: Expr, known: Names, lines: list[str], *, torch: bool = False) -> str:
    """Return the text of an index; what makes it too long goes before it."""
    *before, text = statements([("", index)], TORCH if torch else TRITON, known, _WIDTH)
    lines += before
    return text


def _within(index: Expr, extent: Extent | int, attention: Attention) -> bool:
    """Whether an index lies inside for every element that exists."""
    if isinstance(index, Variable) and index.var is Var.D:
        return isinstance(extent, int) and extent >= max(attention.head_dim, attention.value_dim)
    if isinstance(index, Variable) and extent in (Extent.SEQ_Q, Extent.SEQ_K):
        if attention.lengths is Lengths.EQUAL:
            return index.var in (Var.Q, Var.K)
        return index.var is (Var.Q if extent is Extent.SEQ_Q else Var.K)
    return non_negative(index) and surely_below(index, extent)


def surely_below(index: Expr, extent: Extent | int) -> bool:
    """Whether an index is below an extent in each program of a launch, for all rows and keys."""
    if isinstance(extent, int):
        return isinstance(index, Literal) and index.value < extent
    return isinstance(index, Variable) and _OWN_INDEX.get(extent) is index.var


def _origin(tensor: Input) -> str:
    if tensor.span is None:
        return ""
    return f"{tensor.span.source.name.rpartition('/')[2]}:{tensor.span.line}"
