"""IR expression → source text, in Triton's or in PyTorch's words.

Takes an expression and a dialect, gives one line of source with only the parentheses it needs, and
the names of the helper functions that the line calls. Knows nothing about layout or templates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from flash4gen.ir.expr import WORD, Apply, Expr, Literal, Lookup, Op, Type, Var, Variable, walk

Names = Mapping[Expr, str]
"""What is already computed, and what it is called: at least every variable that is read."""


class Helper(StrEnum):
    """Functions that a printed expression may call and that the module must then define."""

    TANH = "_tanh"
    FLOOR_DIV = "_floor_div"
    FLOOR_MOD = "_floor_mod"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How one language writes the operators.

    Attributes:
        calls: operator → name of the function that does it.
        to_float: what is appended to an integer to make it a float.
        floors: whether the language's own ``//`` and ``%`` round down as ours do.
    """

    calls: Mapping[Op, str]
    to_float: str
    floors: bool


TRITON = Dialect(
    calls={
        Op.MIN: "tl.minimum",
        Op.MAX: "tl.maximum",
        Op.ABS: "tl.abs",
        Op.EXP: "tl.exp",
        Op.LOG: "tl.log",
        Op.TANH: Helper.TANH.value,
        Op.SIGMOID: "tl.sigmoid",
        Op.SQRT: "tl.sqrt",
        Op.RSQRT: "tl.rsqrt",
        Op.POW: "libdevice.pow",
        Op.WHERE: "tl.where",
    },
    to_float=".to(tl.float32)",
    floors=False,
)

TORCH = Dialect(
    calls={
        Op.MIN: "torch.minimum",
        Op.MAX: "torch.maximum",
        Op.ABS: "torch.abs",
        Op.EXP: "torch.exp",
        Op.LOG: "torch.log",
        Op.TANH: "torch.tanh",
        Op.SIGMOID: "torch.sigmoid",
        Op.SQRT: "torch.sqrt",
        Op.RSQRT: "torch.rsqrt",
        Op.POW: "torch.pow",
        Op.WHERE: "torch.where",
    },
    to_float=".float()",
    floors=True,
)

_PRECEDENCE: dict[Op, int] = {
    Op.LT: 3,
    Op.LE: 3,
    Op.GT: 3,
    Op.GE: 3,
    Op.EQ: 3,
    Op.NE: 3,
    Op.OR: 4,
    Op.BIT_OR: 4,
    Op.BIT_XOR: 5,
    Op.AND: 6,
    Op.BIT_AND: 6,
    Op.SHIFT_LEFT: 7,
    Op.SHIFT_RIGHT: 7,
    Op.ADD: 8,
    Op.SUB: 8,
    Op.MUL: 9,
    Op.DIV: 9,
    Op.FLOOR_DIV: 9,
    Op.MOD: 9,
    Op.NEG: 10,
    Op.NOT: 10,
}
"""Python's own binding strengths, with ``|`` and ``&`` for or and and."""

_SIGNS = {Op.OR: "|", Op.AND: "&", Op.NOT: "~", Op.NEG: "-"}
_ATOM = 12


def source(expr: Expr, dialect: Dialect, names: Names) -> str:
    """Return one line of source for an expression.

    Args:
        expr: the expression.
        dialect: whose words to use.
        names: what each variable is called there.
    """
    return _print(prepared(expr, dialect), dialect, names)[0]


def statements(
    targets: Sequence[tuple[str, Expr]], dialect: Dialect, names: Names, width: int
) -> list[str]:
    """Return one line per target, after assignments of subexpressions where it would be too long.

    Args:
        targets: what stands before the expression (``"return "``, ``"x = "``), and the expression.
        dialect: whose words to use.
        names: what is already computed.
        width: characters that a line may have.
    """
    lines: list[str] = []
    known = dict(names)

    def fitted(node: Expr, room: int) -> str:
        text = _print(node, dialect, known)[0]
        while len(text) > room and isinstance(node, Apply):
            unnamed = [arg for arg in node.args if isinstance(arg, Apply) and arg not in known]
            if not unnamed:
                break
            longest = max(unnamed, key=lambda arg: len(_print(arg, dialect, known)[0]))
            name = f"t{len(known) - len(names)}"
            value = fitted(longest, width - len(name) - 3)
            name = f"t{len(known) - len(names)}"
            lines.append(f"{name} = {value}")
            known[longest] = name
            text = _print(node, dialect, known)[0]
        return text

    for prefix, expr in targets:
        lines.append(prefix + fitted(prepared(expr, dialect), width - len(prefix)))
    return lines


def variable_names(names: Mapping[Var, str]) -> dict[Expr, str]:
    """Return names for variables in the form that printing takes."""
    return {Variable(var): name for var, name in names.items()}


def helpers(expr: Expr, dialect: Dialect) -> frozenset[Helper]:
    """Return the helper functions that the printed expression calls."""
    if dialect is not TRITON:
        return frozenset()
    found: set[Helper] = set()
    for node in walk(prepared(expr, dialect)):
        if not isinstance(node, Apply):
            continue
        if node.op is Op.TANH:
            found.add(Helper.TANH)
        elif node.op in (Op.FLOOR_DIV, Op.MOD) and not _rounds_down(node):
            found.add(Helper.FLOOR_DIV if node.op is Op.FLOOR_DIV else Helper.FLOOR_MOD)
    return frozenset(found)


def uses_libdevice(expr: Expr) -> bool:
    """Whether the Triton text calls ``libdevice``."""
    return any(isinstance(n, Apply) and n.op is Op.POW for n in walk(prepared(expr, TRITON)))


def non_negative(expr: Expr) -> bool:
    """Whether an integer expression is provably ≥ 0: all variables count from 0."""
    match expr:
        case Literal(value=value):
            return value >= 0
        case Variable():
            return expr.type is Type.INT
        case Apply(op=Op.ADD | Op.MUL | Op.MIN | Op.FLOOR_DIV, args=args):
            return all(non_negative(arg) for arg in args)
        case Apply(op=Op.MAX, args=args):
            return any(non_negative(arg) for arg in args)
        case Apply(op=Op.MOD, args=(_, divisor)):
            return isinstance(divisor, Literal) and divisor.value > 0
        case Apply(op=Op.ABS):
            return True
        case Apply(op=Op.BIT_AND, args=args):
            return any(non_negative(arg) for arg in args)
        case Apply(op=Op.SHIFT_RIGHT, args=(a, _)):
            return non_negative(a)
        case Apply(op=Op.WHERE, args=(_, a, b)):
            return non_negative(a) and non_negative(b)
    return False


def _rounds_down(node: Apply) -> bool:
    return all(non_negative(arg) for arg in node.args)


def prepared(expr: Expr, dialect: Dialect) -> Expr:
    """Rewrite what the GPU does faster in other words; PyTorch's text stays as the spec has it."""
    if not isinstance(expr, Apply):
        return expr
    if dialect is TORCH:
        return _literal_last(expr)
    args = _in_word(expr.op, tuple(prepared(arg, dialect) for arg in expr.args))
    match expr.op, args:
        case Op.DIV, (a, Literal(value=value)) if value:
            # an IEEE division costs ten instructions, a product one
            return Apply(Op.MUL, (a, Literal(1.0 / value)), expr.span)
        case Op.POW, (a, Literal(value=value)) if value in (1.0, 2.0, 3.0, 4.0):
            product = a
            for _ in range(int(value) - 1):
                product = Apply(Op.MUL, (product, a), expr.span)
            return product
        case Op.POW, (a, Literal(value=0.5)):
            return Apply(Op.SQRT, (a,), expr.span)
    return Apply(expr.op, args, expr.span)


def _in_word(op: Op, args: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """Keep a shift inside of the word, where nothing says that it is: languages differ outside."""
    if op not in (Op.SHIFT_LEFT, Op.SHIFT_RIGHT) or _is_inside_word(args[1]):
        return args
    return args[0], Apply(Op.BIT_AND, (args[1], Literal(WORD - 1)))


def _is_inside_word(amount: Expr) -> bool:
    match amount:
        case Literal(value=value):
            return 0 <= value < WORD
        case Apply(op=Op.MOD, args=(_, Literal(value=value))):
            return 0 < value <= WORD
        case Apply(op=Op.BIT_AND, args=(_, Literal(value=value)) | (Literal(value=value), _)):
            return 0 <= value < WORD
    return False


def _literal_last(expr: Expr) -> Expr:
    """Give min and max their literal as the second operand, where ``torch.clamp`` wants it."""
    if not isinstance(expr, Apply):
        return expr
    args = _in_word(expr.op, tuple(_literal_last(arg) for arg in expr.args))
    if expr.op in (Op.MIN, Op.MAX) and isinstance(args[0], Literal):
        args = args[::-1]
    return Apply(expr.op, args, expr.span)


def _print(expr: Expr, dialect: Dialect, names: Names) -> tuple[str, int]:
    """Return the text and how strongly its outermost operator binds."""
    if expr in names:
        return names[expr], _ATOM
    match expr:
        case Literal(value=value):
            text = repr(value)
            return text, _ATOM if not text.startswith("-") else _PRECEDENCE[Op.NEG]
        case Variable(var=var):
            raise KeyError(f"no name for {var.value}")
        case Lookup(tensor=tensor):
            raise KeyError(f"no name for the value of {tensor.name}")
        case Apply():
            return _print_apply(expr, dialect, names)


def _print_apply(expr: Apply, dialect: Dialect, names: Names) -> tuple[str, int]:
    op, args = expr.op, expr.args
    if op is Op.TO_FLOAT:
        text, strength = _print(args[0], dialect, names)
        return (text if strength == _ATOM else f"({text})") + dialect.to_float, _ATOM
    if op in (Op.FLOOR_DIV, Op.MOD) and not dialect.floors and not _rounds_down(expr):
        helper = Helper.FLOOR_DIV if op is Op.FLOOR_DIV else Helper.FLOOR_MOD
        return _call(helper.value, args, dialect, names), _ATOM
    if dialect is TORCH and op in (Op.MIN, Op.MAX) and isinstance(args[1], Literal):
        # torch.minimum takes tensors only
        bound = "max" if op is Op.MIN else "min"
        text = _print(args[0], dialect, names)[0]
        return f"torch.clamp({text}, {bound}={args[1].value!r})", _ATOM
    if dialect is TORCH and op is Op.SHIFT_LEFT:
        # positions have 64 bits in PyTorch: what leaves the word of 32 is dropped
        left, right = (_wrapped(arg, _PRECEDENCE[op] + 1, dialect, names) for arg in args)
        return f"({left} << {right}).to(torch.int32)", _ATOM
    if op in dialect.calls:
        return _call(dialect.calls[op], args, dialect, names), _ATOM
    strength = _PRECEDENCE[op]
    sign = _SIGNS.get(op, op.value)
    if len(args) == 1:
        return sign + _wrapped(args[0], strength, dialect, names), strength
    left = _wrapped(args[0], strength + (strength == _PRECEDENCE[Op.LT]), dialect, names)
    right = _wrapped(args[1], strength + 1, dialect, names)
    return f"{left} {sign} {right}", strength


def _call(name: str, args: tuple[Expr, ...], dialect: Dialect, names: Names) -> str:
    return f"{name}({', '.join(_print(arg, dialect, names)[0] for arg in args)})"


def _wrapped(expr: Expr, least: int, dialect: Dialect, names: Names) -> str:
    text, strength = _print(expr, dialect, names)
    return text if strength >= least else f"({text})"
