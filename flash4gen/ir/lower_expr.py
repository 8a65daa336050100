"""Expressions: syntax tree to typed IR, with functions expanded and every type checked.

An expression with an error gives None; the error has then been reported, and nothing that contains
it is reported again. Nodes that come out of a function carry the place of the call in the spec, so
that banners and messages point at the user's own line.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.diagnostics.suggest import nearest, one_of
from flash4gen.ir.expr import (
    BITWISE,
    Apply,
    Expr,
    Input,
    Literal,
    Lookup,
    Op,
    Type,
    Var,
    Variable,
)
from flash4gen.ir.lower_calls import Binding, choose_form
from flash4gen.ir.lower_constants import out_of_range
from flash4gen.ir.lower_functions import (
    ALIGNMENTS,
    BUILTINS,
    CONSTANTS,
    Q_END,
    VARIABLES,
    unknown_function,
    unknown_name,
)
from flash4gen.ir.lower_inputs import bare_input, checked_lookup, handed_on, named_input
from flash4gen.ir.lower_operators import Operators
from flash4gen.ir.lower_scope import Scope, Symbol, Value
from flash4gen.ir.nodes import Lengths
from flash4gen.syntax import ast

if TYPE_CHECKING:
    from flash4gen.diagnostics.collect import Findings
    from flash4gen.source import Span

MAX_NESTING = 96
"""Levels of syntax that are followed at once, through calls. Guards the Python stack."""

MAX_STEPS = 20_000
"""Nodes of syntax that one expression may visit, through calls. Functions that call others twice
would otherwise take time that doubles with each of them."""

_BITS = frozenset(op.value for op in BITWISE)
_BINARY = {op.value: op for op in Op if op not in (Op.NEG, Op.NOT)}


class Expressions:
    """Lowers expressions, reporting to one list of findings."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._operators = Operators(findings)
        self._steps = 0

    def lower(self, node: ast.Expression, scope: Scope) -> Expr | None:
        """Return the typed expression, or None after an error has been reported."""
        value = self._value(node, scope)
        if isinstance(value, Symbol):
            at, also = scope.place(node.span, f"this is the symbol `{value.text}`")
            self._findings.error(
                Code.WRONG_SYMBOL,
                "a symbol is no value",
                at,
                also=also,
                helps=("symbols can only be compared, with `==` and `!=`",),
            )
            return None
        if isinstance(value, Input):
            bare_input(value, node.span, scope, self._findings)
            return None
        return value

    def constant(self, node: ast.Expression, scope: Scope) -> bool | int | float | None:
        """Return the value of an expression that must be constant, or None after an error."""
        expr = self.lower(node, scope)
        if expr is None:
            return None
        value = self._operators.constant(expr)
        if value is None:
            self._findings.error(
                Code.NOT_CONSTANT,
                "a constant is needed here",
                Label(node.span, "this depends on positions or scores"),
            )
        return value

    def to_float(self, expr: Expr) -> Expr:
        """Return an int expression as a float one; any other as it is."""
        return self._operators.to_float(expr)

    def _value(self, node: ast.Expression, scope: Scope) -> Value:
        if self._exhausted(node, scope):
            return None
        if scope.depth >= MAX_NESTING:
            self._findings.error(
                Code.TOO_DEEP,
                "the expression is nested too deeply",
                scope.place(node.span)[0],
                notes=(f"at most {MAX_NESTING} levels are followed, through calls",),
            )
            return None
        inner = replace(scope, depth=scope.depth + 1)
        match node:
            case ast.Number() | ast.Boolean():
                return self._number(node, scope)
            case ast.Name():
                return self._name(node, inner)
            case ast.Unary():
                return self._unary(node, inner)
            case ast.Binary():
                return self._binary(node, inner)
            case ast.Compare():
                return self._compare(node, inner)
            case ast.Call():
                return self._call(node, inner)
            case ast.Index():
                return self._index(node, inner)

    def _exhausted(self, node: ast.Expression, scope: Scope) -> bool:
        """Whether an expression has outgrown what is followed; said once, where it happens."""
        self._steps = self._steps + 1 if scope.depth else 1
        if self._steps == MAX_STEPS + 1:
            self._operators.too_large(node.span, scope)
        return self._steps > MAX_STEPS

    def _number(self, node: ast.Number | ast.Boolean, scope: Scope) -> Literal | None:
        if out_of_range(node.value):
            limit = "32-bit integers" if isinstance(node.value, int) else "float32"
            at, also = scope.place(node.span)
            self._findings.error(
                Code.BAD_NUMBER,
                "the number is too large",
                at,
                also=also,
                notes=(f"kernels compute with {limit}",),
            )
            return None
        return Literal(node.value, scope.site or node.span)

    def _name(self, node: ast.Name, scope: Scope) -> Value:
        span = scope.site or node.span
        if node.text in scope.parameters:
            return scope.parameters[node.text]
        if node.text in scope.inputs:
            return scope.inputs[node.text]
        if node.text in scope.constants:
            known = scope.constants[node.text]
            return known and replace(known, span=span)
        if node.text == Q_END:
            return self._q_end(span, scope)
        if node.text in VARIABLES:
            return Variable(Var(node.text), span)
        if node.text in scope.functions.table or node.text in scope.functions.broken:
            return self._call(ast.Call(node, (), node.span), scope)
        if node.text in CONSTANTS:
            self._findings.error(
                Code.UNKNOWN_NAME,
                f"`{node.text}` is not known yet here",
                node.span,
                notes=(
                    "fields are read in this order: heads, kv_heads, head_dim, scale, score, mask",
                ),
            )
            return None
        names = {*scope.parameters, *scope.constants, *scope.inputs, *VARIABLES}
        names |= {*scope.functions.table}
        unknown_name(node, names, self._findings)
        return None

    def _q_end(self, span: Span, scope: Scope) -> Expr:
        """The query's position counted so that the last query meets the last key."""
        query = Variable(Var.Q, span)
        if scope.lengths is Lengths.EQUAL:
            return query
        offset = Apply(Op.SUB, (Variable(Var.SEQ_K, span), Variable(Var.SEQ_Q, span)), span)
        return Apply(Op.ADD, (query, offset), span)

    def _unary(self, node: ast.Unary, scope: Scope) -> Expr | None:
        operand = self.lower(node.operand, scope)
        if operand is None:
            return None
        if node.operator.text == "+":
            return self._operators.plus(operand, node.operator.span, scope)
        op = Op.NOT if node.operator.text == "not" else Op.NEG
        return self._operators.apply(op, (operand,), node.operator.span, node.span, scope)

    def _binary(self, node: ast.Binary, scope: Scope) -> Expr | None:
        left, right = self.lower(node.left, scope), self.lower(node.right, scope)
        if left is None or right is None:
            return None
        op = _BINARY[node.operator.text]
        return self._operators.apply(op, (left, right), node.operator.span, node.span, scope)

    def _compare(self, node: ast.Compare, scope: Scope) -> Expr | None:
        names = [item.text for item in node.operands if isinstance(item, ast.Name)]
        if any(scope.parameters.get(name, ...) is None for name in names):
            return None  # an argument with an error; its symbols would now look like unknown names
        symbol = self._compare_symbols(node, scope)
        if symbol is not None:
            return symbol
        operands = [self.lower(operand, scope) for operand in node.operands]
        if not self._bits_in_parentheses(node, scope):
            return None
        result: Expr | None = None
        for i, operator in enumerate(node.operators):
            left, right = operands[i], operands[i + 1]
            if left is None or right is None:
                return None
            op = _BINARY[operator.text]
            link = self._operators.apply(op, (left, right), operator.span, node.span, scope)
            if link is None:
                return None
            result = (
                link
                if result is None
                else self._operators.apply(Op.AND, (result, link), operator.span, node.span, scope)
            )
            if result is None:
                return None
        return result

    def _bits_in_parentheses(self, node: ast.Compare, scope: Scope) -> bool:
        """Refuse `k & 1 == 0`, which C and Python read in different ways."""
        for operand in node.operands:
            if not isinstance(operand, ast.Binary) or operand.operator.text not in _BITS:
                continue
            if operand.span.start < operand.left.span.start:
                continue  # it stands in parentheses
            at, also = scope.place(operand.span)
            self._findings.error(
                Code.BITS,
                "bits in a comparison stand in parentheses",
                at,
                also=also,
                notes=(
                    f"languages disagree which binds tighter, `{operand.operator.text}` or "
                    f"`{node.operators[0].text}`",
                ),
                helps=(f"write `({operand.span.text})`", "conditions are joined with `and`"),
            )
            return False
        return True

    def _compare_symbols(self, node: ast.Compare, scope: Scope) -> Literal | None:
        """Fold ``align == end``; None where no operand is a parameter that holds a symbol."""
        values = [
            scope.parameters.get(item.text) if isinstance(item, ast.Name) else None
            for item in node.operands
        ]
        known = next((value for value in values if isinstance(value, Symbol)), None)
        operator = node.operators[0].text
        if known is None or len(node.operands) != 2 or operator not in ("==", "!="):
            return None
        texts = []
        for item, value in zip(node.operands, values, strict=True):
            if isinstance(value, Symbol):
                texts.append(value.text)
            elif isinstance(item, ast.Name) and item.text in known.choices:
                texts.append(item.text)
            else:
                return None
        equal = texts[0] == texts[1]
        return Literal(equal == (operator == "=="), scope.site or node.span)

    def _index(self, node: ast.Index, scope: Scope) -> Lookup | None:
        tensor = named_input(node, scope, self._findings)
        indices = tuple(self.lower(index, scope) for index in node.indices)
        if tensor is None or None in indices:
            return None
        present = tuple(index for index in indices if index is not None)
        return checked_lookup(node, tensor, present, scope, self._findings)

    def _call(self, node: ast.Call, scope: Scope) -> Expr | None:
        name = node.function.text
        if name in scope.functions.broken:
            return None
        if name in scope.functions.table:
            return self._expand(node, scope)
        if name in BUILTINS:
            return self._builtin(node, scope)
        unknown_function(node.function, scope.functions.table, self._findings)
        return None

    def _builtin(self, node: ast.Call, scope: Scope) -> Expr | None:
        op, arity = BUILTINS[node.function.text]
        many = op in (Op.MIN, Op.MAX)
        count = len(node.arguments)
        named = next((argument for argument in node.arguments if argument.name), None)
        if named is not None or count < arity or (count > arity and not many):
            wanted = f"{'at least ' if many else ''}{arity} argument{'s' if arity > 1 else ''}"
            at, also = scope.place(named.span if named else node.span)
            self._findings.error(
                Code.WRONG_ARGUMENTS,
                f"`{node.function.text}` takes {wanted}, without names",
                at,
                also=also,
            )
            return None
        args = [self.lower(argument.value, scope) for argument in node.arguments]
        if any(arg is None for arg in args):
            return None
        present = [arg for arg in args if arg is not None]
        result: Expr | None = None
        first, rest = (present[:1], present[1:]) if many else (present, [None])
        for arg in rest:
            operands = tuple(first) if arg is None else (result or first[0], arg)
            result = self._operators.apply(op, operands, node.function.span, node.span, scope)
            if result is None:
                return None
        return result

    def _expand(self, node: ast.Call, scope: Scope) -> Expr | None:
        forms = scope.functions.table[node.function.text]
        binding = choose_form(node, forms, scope, self._findings)
        if binding is None:
            return None
        values = {
            parameter.name.text: self._argument(node, parameter, binding, scope)
            for parameter in binding.form.parameters
        }
        inner = replace(
            scope,
            functions=scope.functions.owner(node.function.text),
            parameters=values,
            site=scope.site or node.span,
        )
        if not self._requirement(node, binding, inner, scope):
            return None
        return self.lower(binding.form.body, inner)

    def _argument(
        self, call: ast.Call, parameter: ast.Parameter, binding: Binding, scope: Scope
    ) -> Value:
        given = binding.given.get(parameter.name.text)
        if parameter.choices:
            return self._symbol(call, parameter, given, scope)
        if given is not None:
            tensor = handed_on(given.value, scope)
            return tensor if tensor is not None else self.lower(given.value, scope)
        assert parameter.default is not None  # choose_form
        outside = replace(
            scope,
            functions=scope.functions.owner(call.function.text),
            parameters={},
            site=scope.site or call.span,
        )
        return self.lower(parameter.default, outside)

    def _symbol(
        self,
        call: ast.Call,
        parameter: ast.Parameter,
        given: ast.Argument | None,
        scope: Scope,
    ) -> Value:
        choices = frozenset(choice.text for choice in parameter.choices)
        if given is None:
            default = parameter.default
            if isinstance(default, ast.Name) and default.text in choices:
                return Symbol(default.text, choices)
            assert choices == ALIGNMENTS  # choose_form lets nothing else be left out
            return Symbol("start", choices)
        value = given.value
        passed = scope.parameters.get(value.text) if isinstance(value, ast.Name) else None
        if isinstance(passed, Symbol) and passed.text in choices:
            return Symbol(passed.text, choices)
        if isinstance(value, ast.Name) and value.text in choices:
            return Symbol(value.text, choices)
        known = [choice.text for choice in parameter.choices]
        spelt = one_of(known)
        meant = nearest(value.span.text, known) or known[-1]
        at, also = scope.place(value.span)
        self._findings.error(
            Code.WRONG_SYMBOL,
            f"`{parameter.name.text}` of `{call.function.text}` is {spelt}",
            at,
            also=(*also, Label(parameter.span, "declared here")),
            helps=(f"write `{parameter.name.text} = {meant}`",),
        )
        return None

    def _requirement(self, call: ast.Call, binding: Binding, inner: Scope, scope: Scope) -> bool:
        """Check a `requires` clause, as far as it is constant; false where it is broken."""
        requires = binding.form.requires
        if requires is None:
            return True
        if None in inner.parameters.values():
            return False
        condition = self.lower(requires, inner)
        if condition is None:
            return False
        if condition.type is not Type.BOOL:
            self._findings.error(Code.WRONG_TYPE, "a requirement is a condition", requires.span)
            return False
        if self._operators.constant(condition) is not False:
            return True
        blamed = _only_argument(requires, binding)
        at, also = scope.place(blamed.span if blamed else call.span)
        self._findings.error(
            Code.REQUIREMENT,
            f"`{call.function.text}` requires `{requires.span.text}`",
            at,
            also=(*also, Label(requires.span, "required here")),
        )
        return False


def _only_argument(requires: ast.Expression, binding: Binding) -> ast.Argument | None:
    """Return the argument to blame, where a requirement reads only one that was given."""
    read: set[str] = set()
    nodes = [requires]
    while nodes:
        node = nodes.pop()
        nodes.extend(ast.children(node))
        if isinstance(node, ast.Name) and node.text in binding.given:
            read.add(node.text)
    return binding.given[read.pop()] if len(read) == 1 else None
