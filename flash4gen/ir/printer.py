"""Text form of the IR: one line per expression or loop bound, one block per attention.

In: an expression, ``KeyBounds`` or an ``Attention``. Out: text in the language's own syntax, with
no more parentheses than needed, the same for the same input. One form is not the language's:
``float(x)``, the step from int to float, which a spec leaves to the compiler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.expr import Apply, Expr, Literal, Lookup, Op, Var, Variable
from flash4gen.ir.masks import Compute, RowPosition

if TYPE_CHECKING:
    from flash4gen.ir.expr import Input
    from flash4gen.ir.masks import KeyBounds, Scalar
    from flash4gen.ir.nodes import Attention, Norm

_BINARY: dict[Op, int] = {
    Op.OR: 1,
    Op.AND: 2,
    Op.LT: 4,
    Op.LE: 4,
    Op.GT: 4,
    Op.GE: 4,
    Op.EQ: 4,
    Op.NE: 4,
    Op.BIT_OR: 5,
    Op.BIT_XOR: 6,
    Op.BIT_AND: 7,
    Op.SHIFT_LEFT: 8,
    Op.SHIFT_RIGHT: 8,
    Op.ADD: 9,
    Op.SUB: 9,
    Op.MUL: 10,
    Op.DIV: 10,
    Op.FLOOR_DIV: 10,
    Op.MOD: 10,
}
_NOT, _NEG, _POW, _ATOM = 3, 11, 12, 13
_COMPARISON, _SUM = 4, 9

_Q, _SEQ_Q, _SEQ_K = Variable(Var.Q), Variable(Var.SEQ_Q), Variable(Var.SEQ_K)
Q_END = Apply(Op.ADD, (_Q, Apply(Op.SUB, (_SEQ_K, _SEQ_Q))))
"""How the IR writes the query position aligned to the end; printed as ``q_end``."""


def format_expr(expr: Expr) -> str:
    """Return an expression as the language writes it, such as ``k <= q_end and q_end - k < 4096``.

    Operands group as they do in the expression: read back, the text gives the same expression.
    """
    return _text(expr)[0]


def format_scalar(scalar: Scalar) -> str:
    """Return a loop bound in the same syntax, such as ``min(q_last + 1, seq_k)``."""
    return _text(scalar)[0]


def format_bounds(bounds: KeyBounds) -> str:
    """Return the key ranges of a query tile, a line per segment; ``no keys`` if there is none."""
    lines = []
    for segment in bounds.segments:
        live = f"[{format_scalar(segment.live_start)}, {format_scalar(segment.live_end)})"
        full = f"[{format_scalar(segment.full_start)}, {format_scalar(segment.full_end)})"
        lines.append(f"visit {live}, without mask {full if segment.has_full else 'nothing'}")
    return "\n".join(lines) or "no keys"


def format_attention(attention: Attention) -> str:
    """Return an attention as a block with every field filled in, in a fixed order."""
    fields = [
        ("doc", _quoted(attention.doc)),
        ("dtype", attention.dtype.value),
        ("out_dtype", "" if attention.out_dtype is None else attention.out_dtype.value),
        ("scales", "" if attention.scales is None else attention.scales.value),
        ("heads", str(attention.heads)),
        ("kv_heads", str(attention.kv_heads)),
        ("head_dim", _widths(attention)),
        ("scale", repr(attention.scale)),
        ("score", format_expr(attention.score)),
        ("mask", format_expr(attention.mask)),
        ("sink", "" if attention.sink is None else format_expr(attention.sink)),
        ("q_norm", format_norm(attention.q_norm)),
        ("k_norm", format_norm(attention.k_norm)),
        ("output", "" if attention.epilogue is None else format_expr(attention.epilogue)),
        ("weights", "" if attention.normalised else attention.weights.value),
        ("dropout", repr(attention.dropout) if attention.dropout else ""),
        ("empty_row", attention.empty_row.value),
        ("lengths", attention.lengths.value),
        ("block_size", "" if attention.block_size is None else str(attention.block_size)),
        ("passes", ", ".join(item.value for item in attention.passes)),
        ("deterministic", "true" if attention.deterministic else ""),
        ("target", ", ".join(attention.targets)),
    ]
    declared = (tensor for tensor in attention.inputs if tensor not in attention.own_inputs)
    lines = [f"    input {format_input(tensor)}" for tensor in declared]
    lines += [f"    {name:<9} = {text}" for name, text in fields if text]
    if attention.pins:
        pins = "".join(f"        {pin.name} = {pin.value}\n" for pin in attention.pins)
        lines.append(f"    schedule {{\n{pins}    }}")
    body = "\n".join(lines)
    return f"attention {attention.name} {{\n{body}\n}}\n"


def format_norm(norm: Norm | None) -> str:
    """Return a norm as the language writes it, ``rms_norm(eps = 1e-06)``; empty for none."""
    if norm is None:
        return ""
    weight = "" if norm.weight == Literal(1.0) else f", weight = {format_expr(norm.weight)}"
    return f"rms_norm(eps = {norm.eps!r}{weight})"


def format_input(tensor: Input) -> str:
    """Return a declaration as the language writes it, such as ``slopes : f32[heads]``."""
    axes = ", ".join(str(axis) for axis in tensor.axes)
    return f"{tensor.name} : {tensor.dtype.value}[{axes}]"


def _text(expr: Expr | Scalar) -> tuple[str, int]:
    """Return the text of an expression and how strongly it binds."""
    if expr == Q_END:
        return "q_end", _ATOM
    match expr:
        case Literal(value):
            return _literal(value)
        case Variable(var):
            return var.value, _ATOM
        case RowPosition(row):
            return row.value, _ATOM
        case Lookup(tensor, indices):
            return f"{tensor.name}[{', '.join(_text(index)[0] for index in indices)}]", _ATOM
        case Apply(op, args) | Compute(op, args):
            return _applied(op, args)


def _applied(op: Op, args: tuple[Expr | Scalar, ...]) -> tuple[str, int]:
    match op, args:
        case _, (a, b) if op in _BINARY:
            return _binary(op, a, b)
        case Op.NOT, (a,):
            return f"not {_inside(a, _NOT)}", _NOT
        case Op.NEG, (a,):
            return f"-{_inside(a, _POW)}", _NEG
        case Op.POW, (a, b):
            # Binds to the right: a ** b ** c is a ** (b ** c), and a minus may stand in b.
            return f"{_inside(a, _ATOM)} ** {_inside(b, _NEG)}", _POW
        case _:
            name = "float" if op is Op.TO_FLOAT else op.value
            return f"{name}({', '.join(_text(arg)[0] for arg in args)})", _ATOM


def _inside(expr: Expr | Scalar, at_least: int) -> str:
    """Return the text of an operand, in parentheses if it binds more loosely than it must."""
    text, strength = _text(expr)
    return text if strength >= at_least else f"({text})"


def _binary(op: Op, a: Expr | Scalar, b: Expr | Scalar) -> tuple[str, int]:
    strength = _BINARY[op]
    # Chained comparisons mean something else; everything else groups to the left.
    # Bits in a comparison stand in parentheses, which the language asks for.
    least = _SUM if strength == _COMPARISON else strength
    left = _inside(a, least)
    right = _inside(b, _ATOM if _is_negative(b) else max(least, strength + 1))
    return f"{left} {op.value} {right}", strength


def _is_negative(expr: Expr | Scalar) -> bool:
    """Whether an operand starts with a minus, which reads badly after an operator."""
    text, strength = _text(expr)
    return strength == _NEG and text.startswith("-")


def _literal(value: bool | int | float) -> tuple[str, int]:
    if isinstance(value, bool):
        return str(value).lower(), _ATOM
    text = repr(value)
    return text, _NEG if text.startswith("-") else _ATOM


def _widths(attention: Attention) -> str:
    if attention.head_dim == attention.value_dim:
        return str(attention.head_dim)
    return f"{attention.head_dim} / {attention.value_dim}"


def _quoted(text: str) -> str:
    return f'"{text}"' if text else ""
