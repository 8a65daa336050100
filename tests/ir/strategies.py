"""Random well-typed expressions for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from flash4gen.ir.expr import Apply, Expr, Literal, Op, Var, Variable

_POSITIONS = (Var.Q, Var.Q, Var.K, Var.K, Var.K, Var.SEQ_Q, Var.SEQ_K, Var.H)
_COMPARISONS = (Op.LT, Op.LE, Op.GT, Op.GE, Op.EQ, Op.NE)
_DIVISORS = st.integers(-7, 7).filter(bool).map(Literal)


def ints(depth: int) -> st.SearchStrategy[Expr]:
    """INT expressions; divisors are never zero, but not always literals."""
    leaves = st.sampled_from(_POSITIONS).map(Variable) | st.integers(-9, 9).map(Literal)
    if depth == 0:
        return leaves
    inner = ints(depth - 1)
    head_plus_one = Apply(Op.ADD, (Variable(Var.H), Literal(1)))
    return st.one_of(
        leaves,
        _apply(st.sampled_from((Op.ADD, Op.SUB)), inner, inner),
        _apply(st.sampled_from((Op.ADD, Op.SUB)), inner, inner),
        _apply(st.just(Op.MUL), st.integers(-4, 4).map(Literal), inner),
        _apply(st.sampled_from((Op.FLOOR_DIV, Op.MOD)), inner, _DIVISORS),
        _apply(st.sampled_from((Op.FLOOR_DIV, Op.MOD)), inner, st.just(head_plus_one)),
        _apply(st.sampled_from((Op.MIN, Op.MAX)), inner, inner),
        _apply(st.sampled_from((Op.BIT_AND, Op.BIT_OR, Op.BIT_XOR)), inner, inner),
        _apply(st.just(Op.SHIFT_RIGHT), inner, inner),
        _apply(st.just(Op.MUL), inner, inner),
        _apply(st.just(Op.ABS), inner),
        _apply(st.just(Op.NEG), inner.filter(lambda e: not isinstance(e, Literal))),
        _apply(st.just(Op.WHERE), bools(depth - 1), inner, inner),
    )


def bools(depth: int) -> st.SearchStrategy[Expr]:
    """BOOL expressions."""
    comparison = _apply(st.sampled_from(_COMPARISONS), ints(min(depth, 2)), ints(min(depth, 2)))
    if depth == 0:
        return comparison
    inner = bools(depth - 1)
    return st.one_of(
        comparison,
        _apply(st.sampled_from((Op.AND, Op.OR)), inner, inner),
        _apply(st.sampled_from((Op.AND, Op.OR)), inner, inner),
        _apply(st.just(Op.NOT), inner),
        _apply(st.just(Op.WHERE), inner, inner, inner),
        st.booleans().map(Literal),
    )


def floats(depth: int) -> st.SearchStrategy[Expr]:
    """FLOAT expressions over the score."""
    values = st.sampled_from((0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 50.0, 1e-3)).map(Literal)
    leaves = st.just(Variable(Var.S)) | values
    if depth == 0:
        return leaves
    inner = floats(depth - 1)
    unary = st.sampled_from((Op.EXP, Op.TANH, Op.SIGMOID, Op.ABS, Op.LOG, Op.SQRT, Op.RSQRT))
    binary = st.sampled_from((Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.MIN, Op.MAX, Op.POW))
    return st.one_of(
        leaves,
        _apply(binary, inner, inner),
        _apply(binary, inner, inner),
        _apply(unary, inner),
        _apply(st.just(Op.NEG), inner.filter(lambda e: not isinstance(e, Literal))),
        _apply(st.just(Op.TO_FLOAT), ints(1)),
        _apply(
            st.just(Op.WHERE), _apply(st.sampled_from(_COMPARISONS), inner, inner), inner, inner
        ),
    )


def _apply(op: st.SearchStrategy[Op], *args: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.builds(lambda o, a: Apply(o, a), op, st.tuples(*args))
