"""What the CPU path of a backward pass does with packed sequences, as text for the templates.

Each sequence is computed by itself. What is known of its rows goes into tensors of all rows, from
which gradients of inputs are summed as the launcher of the kernels sums them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.expr import Var, variables
from flash4gen.render.context_backward import EagerSequences, Value
from flash4gen.render.gradients import Where

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context import Eager
    from flash4gen.render.gradients import Gradients

PACKED_SINK_AXES = {
    Var.H: "h = torch.arange(HEADS.value, device=rows.device)[:, None]",
    Var.B: "i = torch.arange(rows.shape[1], dtype=torch.int32, device=rows.device)\n"
    "b = torch.bucketize(i, cu_seqlens_q[1:].contiguous(), right=True)",
    Var.SEQ_Q: "seq_q = cu_seqlens_q.diff()[b]",
    Var.SEQ_K: "seq_k = cu_seqlens_k.diff()[b]",
}
"""What a sink reads, for each row of all sequences."""

_SLOTS = {Where.ROWS: "at", Where.KEYS: "seen", Where.DISTANCES: "places"}
"""What the sums of a sequence are among those of all, where they have as many rows, keys, both."""

_ZEROS = {
    "at": "torch.zeros_like({})",
    "seen": "{}.new_zeros(HEADS.value, k.shape[0])",
    "places": "{}.new_zeros(HEADS.value, q.shape[0] + k.shape[0])",
}


def starts_read(sink: Expr) -> list[str]:
    """Return which of the tensors that say where sequences start a sink needs."""
    read = variables(sink)
    needs = {"cu_seqlens_q": {Var.B, Var.SEQ_Q, Var.SEQ_K}, "cu_seqlens_k": {Var.SEQ_K}}
    return [name for name, of in needs.items() if read & of]


def sequences(attention: Attention, found: Gradients, plain: Eager) -> EagerSequences:
    """Return how sequences are computed one by one; of use where they are packed."""
    second = plain.second
    tensors = tuple(tensor.name for tensor in attention.inputs)
    sink = ("_sink",) if attention.sink is not None else ()
    stored = ("out", second)
    rows = [("delta", "at")] if found.at(Where.SINK) else []
    rows += [
        (f"sum_{item.name}", slot) for where, slot in _SLOTS.items() for item in found.at(where)
    ]
    given = ("grad_out", f"grad_{second}", "q", "k", "v")
    of_rows = {"lse": "lse[None, :, at]", "total": "total[None, :, at]"}
    return EagerSequences(
        signature=(*plain.sequence_signature, *(f"{name}: Tensor" for name in sink)),
        names=(*plain.sequence_names, *(f"{name}[:, at]" for name in sink)),
        lengths=plain.lengths,
        gradient_signature=(
            *(f"{name}: Tensor" for name in given),
            "entry: int",
            *(f"{name}: Tensor" for name in (*tensors, *stored)),
        ),
        gradient_names=(
            "grad_out[None, at]",
            f"grad_{of_rows[second]}",
            *plain.sequence_names,
            "out[None, at]",
            of_rows[second],
        ),
        gradient_results=("dq", "dk", "dv", *(name for name, _ in rows)),
        gradient_targets=(
            *("dq[at]", "dk[seen]", "dv[seen]"),
            *(f"{name}[:, {slot}]" for name, slot in rows),
        ),
        sums=tuple(Value(name, _ZEROS[slot].format(second)) for name, slot in rows),
        by_distance=bool(found.at(Where.DISTANCES)),
        by_sequence=any(Var.B in item.kept for item in found.summed),
    )
