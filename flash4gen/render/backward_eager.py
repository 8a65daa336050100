"""What host and CPU path of a backward pass do, as text for the templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.derivative import ONE
from flash4gen.ir.expr import SCORE, Literal, Var, lookups, variables
from flash4gen.render import expressions
from flash4gen.render.backward_packed import PACKED_SINK_AXES, sequences, starts_read
from flash4gen.render.context_backward import (
    BackwardLaunch,
    EagerTraining,
    GradientInterface,
)
from flash4gen.render.gradients import CANONICAL, Where, factor
from flash4gen.render.inputs import attention_names, eager_reads
from flash4gen.render.shared_expr import shared_statements
from flash4gen.render.source_expr import TORCH, variable_names
from flash4gen.render.spread import spread_sum, spreads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash4gen.ir.expr import Input
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context_backward import DistanceGradient, PairGradient
    from flash4gen.render.gradients import Gradients, Summed

_WIDTH = 88
_NAMES = {
    **{var: var.value for var in Var},
    Var.Q: "i",
    Var.K: "j",
    Var.HKV: "(h // GROUP.value)",
}
_SINK_AXES = {
    Var.SEQ_Q: "seq_q = torch.tensor(q.shape[1], device=q.device)",
    Var.SEQ_K: "seq_k = torch.tensor(k.shape[1], device=q.device)",
    Var.H: "h = torch.arange(HEADS.value, device=q.device)[:, None]",
    Var.B: "b = torch.arange(q.shape[0], device=q.device)[:, None, None]",
}
_AXES = {Where.ROWS: (Var.B, Var.H, Var.Q), Where.KEYS: (Var.B, Var.H, Var.K)}


def launch(
    attention: Attention,
    found: Gradients,
    pairs: tuple[PairGradient, ...] = (),
    distances: tuple[DistanceGradient, ...] = (),
    *,
    starts: str = "cu_seqlens_q",
) -> BackwardLaunch:
    """Return the launcher: what it is given, and how gradients of inputs leave it.

    Args:
        attention: the variant, simplified.
        found: its gradients.
        pairs: gradients with an element for each score.
        distances: the same for each distance.
        starts: where sequences start among the rows that sums have, but those of a sink.
    """
    second = "lse" if attention.normalised else "total"
    tensors = (*attention.length_tensors, *(tensor.name for tensor in attention.inputs))
    given = ("grad_out", f"grad_{second}", "q", "k", "v", *tensors, "out", second)
    wanted = ("q", "k", "v", *(tensor.name for tensor in found.inputs))
    return BackwardLaunch(
        signature=(*(f"{name}: Tensor" for name in given), "needs: list[bool]"),
        given=(*given, "needs"),
        wanted=f"{', '.join(wanted[:-1])} and {wanted[-1]}",
        second=second,
        query_sums=tuple(f"sum_{item.name}" for item in found.at(Where.ROWS)),
        key_sums=tuple(f"sum_{item.name}" for item in found.at(Where.KEYS)),
        pairs=pairs,
        distances=distances,
        spreads=spreads(attention, found),
        sinks=tuple(_sink_lines(attention, found)),
        placed=tuple(_placed(attention, found, starts if attention.packed else "")),
    )


def _sink_lines(attention: Attention, found: Gradients) -> list[str]:
    """Return the lines that give the gradient of the sink's logit, once per row and head."""
    sinks = found.at(Where.SINK)
    if not sinks:
        return []
    arguments = ", ".join(_sink_names(attention, "delta"))
    moving = [f"by_{item.name}" for item in sinks if not isinstance(item.by, Literal)]
    lines = [
        f"{', '.join(('sink', *moving))} = _eager_sink({arguments})"
        if moving
        else f"sink = _eager_sink({arguments})",
        "# The sink is a key whose value is 0: its weight times 0 − delta.",
        "d_sink = torch.where(lse.isneginf(), 0.0, -torch.exp(sink - lse) * delta)",
    ]
    return lines + [f"sum_{item.name} = d_sink{factor(item.by, item.name)}" for item in sinks]


def _sink_names(attention: Attention, rows: str) -> tuple[str, ...]:
    """Return the arguments of the function of the sink; ``rows``: a tensor with a number a row."""
    known: tuple[str, ...] = ("q", "k")
    if attention.packed:
        known = (rows, *([] if attention.sink is None else starts_read(attention.sink)))
    return (*known, *_sink_tensors(attention))


def _sink_tensors(attention: Attention) -> tuple[str, ...]:
    if attention.sink is None:
        return ()
    read = {lookup.tensor.name for lookup in lookups(attention.sink)}
    return tuple(tensor.name for tensor in attention.inputs if tensor.name in read)


def _placed(attention: Attention, found: Gradients, starts: str) -> list[str]:
    """Return the lines that bring what was summed into the shapes of the inputs, and the return.

    starts: of packed sequences among the rows of sums; empty if they are not packed.
    """
    lines: list[str] = []
    for position, tensor in enumerate(found.inputs, 3):
        items = [item for item in found.summed if item.lookup.tensor == tensor]
        name = f"d_{tensor.name}"
        if any(item.computed for item in items):
            lines += _placed_by_index(attention, tensor, items, position, starts)
            continue
        if len(items) == 1 and not _fixed(items[0]):
            summed = _axes_summed(items[0], starts)
            lines.append(f"{name} = {summed}.to({tensor.name}.dtype).contiguous()")
            continue
        lines.append(f"{name} = torch.zeros_like({tensor.name})")
        sums = [(_index(item), _axes_summed(item, starts)) for item in items]
        lines += [f"{name}{index} += {summed}" for index, summed in sums]
    given = ", ".join(("dq", "dk", "dv", *(f"d_{tensor.name}" for tensor in found.inputs)))
    return [
        *lines,
        f"found = ({given})",
        "return [x if need else q.new_empty(0) for x, need in zip(found, needs, strict=True)]",
    ]


def _placed_by_index(
    attention: Attention, tensor: Input, items: list[Summed], position: int, starts: str
) -> list[str]:
    """Return the same for an input whose indices are computed: only if its gradient is needed."""
    name = f"d_{tensor.name}"
    plain = [item for item in items if not item.computed]
    first, *others = (item for item in items if item.computed)
    adding = [spread_sum(attention, item, f"{name} += ") for item in others]
    adding += [f"{name}{_index(item)} += {_axes_summed(item, starts)}" for item in plain]
    return [
        f"{name} = {tensor.name}.new_empty(0)",
        f"if needs[{position}]:",
        f"    {spread_sum(attention, first, f'{name} = ')}",
        *(f"    {line}" for line in adding),
        f"    {name} = {name}.to({tensor.name}.dtype)",
    ]


def _fixed(item: Summed) -> bool:
    """Whether a number indexes an axis: there is then more of the tensor than is read."""
    return any(isinstance(index, Literal) for index in item.lookup.indices)


def _index(item: Summed) -> str:
    parts = (
        repr(index.value) if isinstance(index, Literal) else ":" for index in item.lookup.indices
    )
    return f"[{', '.join(parts)}]"


def _axes_summed(item: Summed, starts: str) -> str:
    """Return a sum as an expression with the axes of the look-up, in its order."""
    text = f"sum_{item.name}"
    if item.where is not Where.PAIRS:
        axes = list(_AXES.get(item.where, _AXES[Where.ROWS]))
        if starts and Var.B in item.kept:
            own = "cu_seqlens_q" if item.where is Where.SINK else starts
            text, axes = f"_by_sequence({text}, {own})", [Var.B, Var.H]
        elif starts:
            axes = [Var.H, Var.Q]
        if Var.HKV in item.kept:
            head = axes.index(Var.H)
            text += f".unflatten({head}, (KV_HEADS.value, GROUP.value))"
            axes[head : head + 1] = [Var.HKV, Var.H]
        gone = [n for n, axis in enumerate(axes) if axis not in item.kept]
        if gone:
            text += f".sum({gone[0] if len(gone) == 1 else tuple(gone)})"
    wanted = [var for index in item.lookup.indices for var in sorted(variables(index))]
    order = [[var for var in CANONICAL if var in item.kept].index(var) for var in wanted]
    return text if order == sorted(order) else f"{text}.permute({', '.join(map(str, order))})"


def eager(
    attention: Attention, found: Gradients, host: BackwardLaunch, empty_value: str
) -> EagerTraining:
    """Return the formula and its derivative in PyTorch."""
    plain = expressions.eager(attention, empty_value)
    names = {**variable_names(_NAMES), **attention_names(attention)}
    scored = (attention.score, attention.mask)
    targets = [("x", attention.score), *found.moving]
    targets += [("visible", attention.mask)] if plain.masks else []
    results = ("queries", "keys", "x", *(name for name, _ in found.moving))
    tensors = _read_by(attention, scored)
    read = frozenset[Var]().union(*(variables(expr) for expr in scored))
    entry = ("entry",) if attention.packed and Var.B in read else ()
    score = shared_statements(targets, TORCH, names, _WIDTH)
    if attention.score == SCORE:
        score = ["x = s", *shared_statements(targets[1:], TORCH, names, _WIDTH)]
    return EagerTraining(
        signature=plain.signature,
        score_signature=(
            *("q: Tensor", "k: Tensor"),
            *(f"{name}: int" for name in entry),
            *(f"{name}: Tensor" for name in tensors),
        ),
        score_names=("q", "k", *entry, *tensors),
        score_results=results,
        returned=f"tuple[{', '.join(['Tensor'] * len(results))}]",
        reads=tuple(eager_reads(attention, variable_names(_NAMES), *scored)),
        score=tuple(score),
        masks=plain.masks,
        nothing=plain.nothing,
        look_up=plain.look_up,
        normalises=plain.normalises,
        empty_value=empty_value,
        second=plain.second,
        needs_seq_q=Var.SEQ_Q in read,
        needs_seq_k=Var.SEQ_K in read,
        needs_q=Var.Q in read,
        needs_k=Var.K in read,
        needs_h=bool({Var.H, Var.HKV} & read),
        needs_b=Var.B in read,
        sink=() if attention.sink is None else _sink_signature(attention),
        sink_names=_sink_names(attention, plain.second),
        sink_body=() if attention.sink is None else tuple(_sink_body(attention, found)),
        sink_returned=_sink_returned(found),
        sink_moves=_sink_returned(found) != "Tensor",
        sums=tuple(_sums(found)),
        launch=host,
        kept=plain.kept,
        dp="dp" if plain.kept else "do @ values.mT",
        ds="dx" if found.by_s == ONE else _guarded("dx" + factor(found.by_s, "s"), found.by_s),
        by_distance=bool(found.at(Where.DISTANCES)),
        apart=attention.packed,
        sequences=sequences(attention, found, plain),
    )


def _read_by(attention: Attention, exprs: Sequence[object]) -> tuple[str, ...]:
    read = {lookup.tensor for lookup in lookups(*exprs)}  # type: ignore[arg-type]
    return tuple(tensor.name for tensor in attention.inputs if tensor in read)


def _sink_signature(attention: Attention) -> tuple[str, ...]:
    return tuple(f"{name}: Tensor" for name in _sink_names(attention, "rows"))


def _sink_returned(found: Gradients) -> str:
    moving = [item for item in found.at(Where.SINK) if not isinstance(item.by, Literal)]
    return f"tuple[{', '.join(['Tensor'] * (1 + len(moving)))}]" if moving else "Tensor"


def _sink_body(attention: Attention, found: Gradients) -> list[str]:
    """Return the lines of the function that gives the sink's logit and its derivatives."""
    assert attention.sink is not None
    names = {**variable_names(_NAMES), **attention_names(attention)}
    moving = [
        (f"by_{item.name}", item.by)
        for item in found.at(Where.SINK)
        if not isinstance(item.by, Literal)
    ]
    read = variables(attention.sink)
    axes = PACKED_SINK_AXES if attention.packed else _SINK_AXES
    needed = read | ({Var.H} if Var.HKV in read else frozenset())
    needed |= {Var.B} if attention.packed and read & {Var.SEQ_Q, Var.SEQ_K} else frozenset()
    targets = [("sink", attention.sink), *moving]
    lines = [line for var, text in axes.items() if var in needed for line in text.splitlines()]
    lines += eager_reads(attention, variable_names(_NAMES), attention.sink)
    lines += shared_statements(targets, TORCH, names, _WIDTH)
    zeros = "q.new_zeros(1, HEADS.value, 1, dtype=torch.float32)"
    if attention.packed:
        zeros = "torch.zeros_like(rows, dtype=torch.float32)"
    return [*lines, f"return {', '.join([f'{zeros} + sink', *(name for name, _ in moving)])}"]


def _sums(found: Gradients) -> list[str]:
    """Return the lines that sum gradients of inputs along what the kernels sum them along."""
    lines = []
    for item in found.summed:
        if item.where is Where.SINK:
            continue
        term = "dx" + factor(item.by, item.name)
        term = _guarded(term, item.by)
        name = f"sum_{item.name}"
        if item.where is Where.DISTANCES:
            lines.append(f"{name} = _by_distance({term})")
            continue
        if item.where is not Where.PAIRS:
            axis = -1 if item.where is Where.ROWS else -2
            whole = term if term.isidentifier() or term.startswith("torch.") else f"({term})"
            lines.append(f"{name} = {whole}.sum({axis})")
            continue
        lines.append(f"{name} = {term}")
        axes = [Var.B, Var.H, Var.Q, Var.K]
        if Var.HKV in item.kept:
            lines.append(f"{name} = {name}.unflatten(1, (KV_HEADS.value, GROUP.value))")
            axes[1:2] = [Var.HKV, Var.H]
        gone = [n for n, axis in enumerate(axes) if axis not in item.kept]
        if gone:
            lines.append(f"{name} = {name}.sum({gone[0] if len(gone) == 1 else tuple(gone)})")
    return lines


def _guarded(term: str, by: object) -> str:
    """Return a term that is 0 where a key weighs nothing: its derivative may be infinite there."""
    return term if isinstance(by, Literal) else f"torch.where(dx == 0.0, 0.0, {term})"


def interface(
    attention: Attention, found: Gradients, host: BackwardLaunch, name: str, digest: str
) -> GradientInterface:
    """Return what makes the public function differentiable."""
    tensors = (*attention.length_tensors, *(tensor.name for tensor in attention.inputs))
    arguments = ("q", "k", "v", *tensors)
    wanted = ("q", "k", "v", *(tensor.name for tensor in found.inputs))
    return GradientInterface(
        name=name,
        digest=digest,
        signature=host.signature,
        given=host.given,
        wanted=host.wanted,
        second=host.second,
        tensors=wanted,
        saved=(*arguments, "out", host.second),
        needs=tuple(f"need[{arguments.index(one)}]" for one in wanted),
        returned=tuple(
            f"given[{wanted.index(one)}]" if one in wanted else "None" for one in arguments
        ),
        differentiable=wanted,
        refused=_names(found.refused),
    )


def _names(tensors: tuple[Input, ...]) -> tuple[str, ...]:
    return tuple(tensor.name for tensor in tensors)
