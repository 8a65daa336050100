"""Times generated modules on the GPU that is here, beside PyTorch's own.

Every module that was made for this GPU runs its spec at a few lengths, in turn with FlexAttention
(score and mask translated from the same spec, compiled by Inductor) and, where PyTorch has a fused
kernel for the variant, with `scaled_dot_product_attention`. All numbers are measured; results are
compared first, since fast and wrong would not count.
"""

from __future__ import annotations

import json
import operator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from triton.testing import do_bench

from flash4gen.build.load import load_module
from flash4gen.driver import check_spec
from flash4gen.ir.expr import Apply, Expr, Literal, Op, Type, Var, Variable
from flash4gen.ir.nodes import Lengths, Weights
from flash4gen.validate.oracle import TORCH_DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from flash4gen.ir.nodes import Attention

ROOT = Path(__file__).parent.parent
TOKENS = 32768
LENGTHS = (2048, 8192, 32768)

_PLAIN: dict[Op, Callable[..., Any]] = {
    Op.ADD: operator.add,
    Op.SUB: operator.sub,
    Op.MUL: operator.mul,
    Op.DIV: operator.truediv,
    Op.FLOOR_DIV: operator.floordiv,
    Op.MOD: operator.mod,
    Op.NEG: operator.neg,
    Op.POW: operator.pow,
    Op.LT: operator.lt,
    Op.LE: operator.le,
    Op.GT: operator.gt,
    Op.GE: operator.ge,
    Op.EQ: operator.eq,
    Op.NE: operator.ne,
    Op.AND: operator.and_,
    Op.OR: operator.or_,
    Op.NOT: operator.invert,
    Op.MIN: torch.minimum,
    Op.MAX: torch.maximum,
    Op.ABS: torch.abs,
    Op.EXP: torch.exp,
    Op.LOG: torch.log,
    Op.TANH: torch.tanh,
    Op.SIGMOID: torch.sigmoid,
    Op.SQRT: torch.sqrt,
    Op.RSQRT: torch.rsqrt,
    Op.WHERE: torch.where,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One attention at one length; times in milliseconds, None where PyTorch has no kernel for it.

    Attributes:
        name: of the attention.
        batch, seq: the shape; seq_q = seq_k.
        flops: of both products, over visible pairs alone.
        ours, flex, fused: medians of time; `fused` is `scaled_dot_product_attention`.
        error, flex_error: largest difference to float32 attention on a sample of rows.
    """

    name: str
    batch: int
    seq: int
    flops: float
    ours: float
    flex: float | None
    fused: float | None
    error: float
    flex_error: float | None

    def tflops(self, milliseconds: float | None) -> str:
        """Return the rate, as text; "" for no time."""
        return f"{self.flops / milliseconds / 1e9:.0f}" if milliseconds else ""


def plain(expr: Expr, env: Mapping[Var, Any]) -> Any:
    """Return an expression's value by Python's operators, for tensors that Inductor traces."""
    match expr:
        case Literal(value):
            return value
        case Variable(var):
            return env[var]
        case Apply(op, args):
            values = [plain(arg, env) for arg in args]
            if op is Op.TO_FLOAT:
                first = values[0]
                return first.float() if isinstance(first, torch.Tensor) else float(first)
            if op in (Op.MIN, Op.MAX, Op.WHERE):
                like = next(v for v in values if isinstance(v, torch.Tensor))
                dtype = torch.float32 if expr.type is Type.FLOAT else torch.int64
                chosen = values[1:] if op is Op.WHERE else values
                full = [
                    v if isinstance(v, torch.Tensor) else torch.full_like(like, v, dtype=dtype)
                    for v in chosen
                ]
                values = [*values[: len(values) - len(full)], *full]
            return _PLAIN[op](*values)


def comparable(attention: Attention) -> bool:
    """Whether FlexAttention computes this from q, k, v and positions alone."""
    plain_rows = attention.sink is None and attention.weights is Weights.SOFTMAX
    return plain_rows and not attention.inputs and attention.lengths is not Lengths.PACKED


def flexible(attention: Attention, seq: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return FlexAttention for this spec, on [batch, heads, seq, dim] tensors of one length."""

    def env(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> dict[Var, Any]:
        lengths = {Var.SEQ_Q: seq, Var.SEQ_K: seq, Var.HKV: h // attention.group}
        return {Var.B: b, Var.H: h, Var.Q: q, Var.K: k, **lengths}

    def mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        visible: Tensor = plain(attention.mask, env(b, h, q, k))
        return visible

    def score(s: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        changed: Tensor = plain(attention.score, env(b, h, q, k) | {Var.S: s})
        return changed

    blocks = None
    if not isinstance(attention.mask, Literal):
        blocks = create_block_mask(mask, None, None, seq, seq, device="cuda", _compile=True)
    changes = None if attention.score == Variable(Var.S) else score
    compiled = torch.compile(flex_attention, dynamic=False)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        grouped = attention.group > 1
        out: Tensor = compiled(q, k, v, changes, blocks, attention.scale, grouped)
        return out

    return attend


def fused(attention: Attention) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
    """Return PyTorch's fused attention, or None where it has none for this variant."""
    full = isinstance(attention.mask, Literal)
    env = {Var.Q: 5, Var.K: 3, Var.SEQ_Q: 9, Var.SEQ_K: 9, Var.B: 0, Var.H: 0, Var.HKV: 0}
    causal = not full and all(
        bool(plain(attention.mask, env | {Var.Q: q, Var.K: k})) == (k <= q)
        for q in (0, 5, 40_000)
        for k in (0, 4, 5, 6, 39_000, 40_000, 40_001)
    )
    if attention.score != Variable(Var.S) or not (full or causal):
        return None
    if attention.head_dim != attention.value_dim:
        return None

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=causal, scale=attention.scale, enable_gqa=attention.group > 1
        )

    return attend


def tensors(attention: Attention, batch: int, seq: int) -> list[Tensor]:
    """Return random q, k and v, [batch, seq, heads, dim]."""
    shapes = (
        (batch, seq, attention.heads, attention.head_dim),
        (batch, seq, attention.kv_heads, attention.head_dim),
        (batch, seq, attention.kv_heads, attention.value_dim),
    )
    dtype = TORCH_DTYPES[attention.dtype]
    return [torch.randn(shape, device="cuda").to(dtype) for shape in shapes]


def sample(attention: Attention, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return some rows of the last head, what they should be in float32, and visible pairs."""
    seq, h = q.shape[1], attention.heads - 1
    keys, values = (x[0, :, -1].float() for x in (k, v))
    rows = torch.arange(0, seq, max(1, seq // 512), device="cuda")
    columns = torch.arange(seq, device="cuda")
    last = attention.kv_heads - 1
    env: dict[Var, Any] = {Var.B: 0, Var.H: h, Var.HKV: last, Var.SEQ_Q: seq, Var.SEQ_K: seq}
    pairs = 0
    for first in range(0, seq, 2048):
        some = torch.arange(first, min(first + 2048, seq), device="cuda")
        seen = plain(attention.mask, env | {Var.Q: some[:, None], Var.K: columns})
        pairs += int(seen.sum()) if isinstance(seen, torch.Tensor) else len(some) * seq
    s = q[0, rows, h].float() @ keys.T * attention.scale
    env |= {Var.Q: rows[:, None], Var.K: columns, Var.S: s}
    seen = torch.as_tensor(plain(attention.mask, env), device="cuda")
    x = torch.where(seen, plain(attention.score, env), float("-inf"))
    return rows, torch.softmax(x, -1) @ values, pairs


def measure(attention: Attention, module: Path, seq: int, *, with_flex: bool) -> Row:
    """Time one attention at one length."""
    batch = max(1, TOKENS // seq)
    q, k, v = tensors(attention, batch, seq)
    ours = getattr(load_module(module), attention.name)
    rows, expected, pairs = sample(attention, q, k, v)
    heads_first = [x.transpose(1, 2).contiguous() for x in (q, k, v)]
    error = (ours(q, k, v)[0][0, rows, -1].float() - expected).abs().max().item()
    peers: dict[str, float | None] = {"flex": None, "fused": None}
    flex_error = None
    if with_flex:
        try:
            flex = flexible(attention, seq)
            got = flex(*heads_first)[0, -1, rows].float()
            flex_error = (got - expected).abs().max().item()
            peers["flex"] = do_bench(lambda: flex(*heads_first), return_mode="median")
        except Exception as failed:
            told = str(failed)[:300]  # Inductor refuses in many ways
            Console(stderr=True).print(f"{attention.name} {seq}: FlexAttention: {told}")
    attend = fused(attention)
    if attend:
        peers["fused"] = do_bench(lambda: attend(*heads_first), return_mode="median")
    time = do_bench(lambda: ours(q, k, v), return_mode="median")
    flops = 2.0 * pairs * (attention.head_dim + attention.value_dim) * attention.heads * batch
    return Row(
        attention.name, batch, seq, flops, time, peers["flex"], peers["fused"], error, flex_error
    )


def table(rows: Sequence[Row], device: str) -> Table:
    """Lay the rows out."""
    made = Table(title=f"Measured on {device}, TFLOPS over visible pairs")
    for heading in ("attention", "batch × seq", "ours", "flex", "sdpa", "ours / flex", "error"):
        made.add_column(heading, justify="left" if heading == "attention" else "right")
    for row in rows:
        ratio = f"{row.flex / row.ours:.2f}" if row.flex else ""
        made.add_row(
            row.name,
            f"{row.batch} × {row.seq}",
            row.tflops(row.ours),
            row.tflops(row.flex),
            row.tflops(row.fused),
            ratio,
            f"{row.error:.1e}",
        )
    return made


def main(
    folder: Annotated[Path, typer.Argument(help="modules for this GPU, one per attention")],
    lengths: Annotated[
        list[int] | None, typer.Option("--length", help="of queries and keys; repeatable")
    ] = None,
    with_flex: Annotated[
        bool, typer.Option("--flex/--no-flex", help="FlexAttention too; it compiles long")
    ] = True,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the rows here")] = None,
) -> None:
    """Time every module in FOLDER whose spec is shipped and reads q, k and v alone."""
    device = torch.cuda.get_device_name()
    rows = []
    for spec in sorted((ROOT / "specs").glob("*.attn")):
        for attention in check_spec(spec).attentions:
            module = folder / f"{attention.name}.py"
            if module.exists() and comparable(attention):
                for seq in lengths or LENGTHS:
                    rows.append(measure(attention, module, seq, with_flex=with_flex))
                    torch.compiler.reset()
    Console(width=120).print(table(rows, device))
    if json_file:
        json_file.write_text(json.dumps({"device": device, "rows": [asdict(r) for r in rows]}))


if __name__ == "__main__":
    typer.run(main)
