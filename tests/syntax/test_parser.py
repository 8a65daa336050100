"""From text to tree: what is written is what the tree holds, and errors do not hide each other."""

from __future__ import annotations

import pytest

from flash4gen.source import SourceFile
from flash4gen.syntax import ast, parse


def expression(text: str) -> ast.Value:
    result = parse(SourceFile("test.attn", f"attention a {{ score = {text} }}"))
    assert not result.diagnostics
    return result.file.attentions[0].fields[0].values[0]


def shape(node: ast.Value) -> str:
    """Spell a tree with all its parentheses."""
    match node:
        case ast.Name(text=text):
            return text
        case ast.Number(value=value) | ast.Boolean(value=value):
            return str(value)
        case ast.Unary():
            return f"({node.operator.text} {shape(node.operand)})"
        case ast.Binary():
            return f"({shape(node.left)} {node.operator.text} {shape(node.right)})"
        case ast.Compare():
            first, *rest = (shape(operand) for operand in node.operands)
            links = zip(node.operators, rest, strict=True)
            return f"({first}{''.join(f' {sign.text} {side}' for sign, side in links)})"
        case ast.Call():
            inner = (
                (f"{argument.name.text} = " if argument.name else "") + shape(argument.value)
                for argument in node.arguments
            )
            return f"{node.function.text}({', '.join(inner)})"
        case _:
            raise AssertionError(node)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1 + 2 * 3", "(1 + (2 * 3))"),
        ("a - b - c", "((a - b) - c)"),
        ("-a ** 2", "(- (a ** 2))"),
        ("2 ** -a ** b", "(2 ** (- (a ** b)))"),
        ("a // b % c", "((a // b) % c)"),
        ("not a and b or c", "(((not a) and b) or c)"),
        ("not a < b", "(not (a < b))"),
        ("0 <= q - k < 4", "(0 <= (q - k) < 4)"),
        ("(a or b) and c", "((a or b) and c)"),
        ("f(a, n = b + 1)", "f(a, n = (b + 1))"),
        ("+true", "(+ True)"),
        ("1_000 + 2.5e-3 + .5", "((1000 + 0.0025) + 0.5)"),
    ],
)
def test_operators_bind_as_in_python(written: str, meant: str) -> None:
    assert shape(expression(written)) == meant


def test_spans_cover_what_was_written() -> None:
    node = expression("(a + b) * f(c)")
    assert isinstance(node, ast.Binary)
    assert node.span.text == "(a + b) * f(c)"
    assert node.left.span.text == "(a + b)"
    assert node.operator.span.text == "*"
    assert node.right.span.text == "f(c)"


def test_fields_need_no_separator() -> None:
    text = "attention a { heads = 16 kv_heads = 8\nhead_dim\n= 64 target = x, y # end\n}"
    fields = parse(SourceFile("test.attn", text)).file.attentions[0].fields
    assert [(field.name.text, len(field.values)) for field in fields] == [
        ("heads", 1),
        ("kv_heads", 1),
        ("head_dim", 1),
        ("target", 2),
    ]


def test_all_kinds_of_items() -> None:
    text = """
        hardware g { sms = 148 from "a # book"  l2 = 126.5 MiB from "x"  features = [a, b] }
        def f(x, *, n = 2, to : left | right = left) requires n > 0 = x * n
        attention a { schedule { tile_q = 64 } }
    """
    result = parse(SourceFile("test.attn", text))
    assert not result.diagnostics
    (gpu,), (function,), (attention,) = (
        result.file.hardware,
        result.file.definitions,
        result.file.attentions,
    )
    assert gpu.fields[0].source is not None
    assert gpu.fields[0].source.value == "a # book"
    size = gpu.fields[1].values[0]
    assert isinstance(size, ast.Quantity)
    assert (size.value, size.unit) == (126.5, "MiB")
    assert [p.name.text for p in function.parameters] == ["x", "n", "to"]
    assert [p.keyword_only for p in function.parameters] == [False, True, True]
    assert [choice.text for choice in function.parameters[2].choices] == ["left", "right"]
    assert function.requires is not None
    assert attention.schedules[0].fields[0].name.text == "tile_q"


def test_what_is_around_an_error_is_still_read() -> None:
    text = "attention a {\n heads = \n head_dim = 64\n}\ndef f( = 1\nattention b { heads = 1 }"
    result = parse(SourceFile("test.attn", text))
    assert [found.primary.span.line for found in result.diagnostics if found.primary] == [2, 5]
    a, b = result.file.attentions
    assert [field.name.text for field in a.fields] == ["head_dim"]
    assert (a.damaged, b.damaged) == (True, False)
    assert result.file.lost == {"f"}


def test_a_lost_function_is_not_called_unknown() -> None:
    from flash4gen.ir.lower import analyse

    text = """def f( = 1
    attention b { dtype = bf16  heads = 1  head_dim = 64  score = f(s) }"""
    found = analyse(SourceFile("test.attn", text)).diagnostics
    assert [str(diagnostic.code) for diagnostic in found] == ["F4G101"]
