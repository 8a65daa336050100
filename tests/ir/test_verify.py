"""The verifier: a valid attention passes, every broken invariant has its sentence."""

from __future__ import annotations

import math

import pytest

from flash4gen.ir.expr import SIGNATURES, Literal, Op
from flash4gen.ir.nodes import FieldSource, Pass, Pin
from flash4gen.ir.verify import InvalidIRError, assert_valid, verify
from flash4gen.source import SourceFile
from tests.ir.notation import attention

FIELD = FieldSource("heads", "heads = 4", SourceFile("a.attn", "heads = 4").span(0, 9))


@pytest.mark.parametrize(
    "valid",
    [
        attention(),
        attention(heads=1, kv_heads=1),
        attention(head_dim=256, value_dim=24),
        attention(mask="k <= q_end and h // 2 < 1", score="s + float(k - q)"),
        attention(passes=(Pass.FORWARD, Pass.BACKWARD), targets=("b200", "h100")),
    ],
)
def test_valid(valid: object) -> None:
    assert verify(valid) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "violation"),
    [
        ({"name": "not a name"}, "name 'not a name' is not an identifier"),
        ({"doc": "two\nlines"}, "doc has more than one line"),
        ({"dtype": "fp16"}, "dtype is 'fp16', not of type DType"),
        ({"empty_row": None}, "empty_row is None, not of type EmptyRow"),
        ({"heads": 0}, "heads is 0, not a whole number above 0"),
        ({"kv_heads": True}, "kv_heads is True, not a whole number above 0"),
        ({"heads": 4, "kv_heads": 3}, "heads 4 is not a multiple of kv_heads 3"),
        ({"head_dim": 20}, "head_dim is 20, not one of 16, 24, ... 512"),
        ({"value_dim": 520}, "value_dim is 520, not one of 16, 24, ... 512"),
        ({"scale": 0.0}, "scale is 0.0, not a finite float above 0"),
        ({"scale": -1.0}, "scale is -1.0, not a finite float above 0"),
        ({"scale": math.nan}, "scale is nan, not a finite float above 0"),
        ({"scale": 1}, "scale is 1, not a finite float above 0"),
        ({"score": "q"}, "score is int, not float"),
        ({"mask": "q"}, "mask is int, not bool"),
        ({"mask": "s > 0.0"}, "mask reads the score"),
        ({"mask": "k // 0 < 4"}, "mask: '//' by the constant 0"),
        ({"mask": "k < 4294967296"}, "mask: 4294967296 does not fit 32 bits"),
        ({"score": Literal(math.inf)}, "score: inf is not a finite float32"),
        ({"score": "s + 1e39"}, "score: 1e+39 is not a finite float32"),
        ({"passes": ()}, "passes is empty"),
        ({"passes": ("forward",)}, "passes holds 'forward', not a Pass"),
        ({"passes": (Pass.FORWARD, Pass.FORWARD)}, "passes holds 'forward' twice"),
        ({"targets": ("b200", "b200")}, "targets holds 'b200' twice"),
        ({"pins": (Pin("stages", 2), Pin("stages", 3))}, "pins holds 'stages' twice"),
        ({"fields": (FIELD, FIELD)}, "fields holds 'heads' twice"),
    ],
)
def test_violations(changes: dict[str, object], violation: str) -> None:
    assert verify(attention(**changes)) == (violation,)


def test_all_violations_are_reported_at_once() -> None:
    broken = attention(heads=0, scale=-1.0, mask="s > 0.0")
    assert len(verify(broken)) == 3
    with pytest.raises(InvalidIRError, match=r"^ir: attention 'small' is invalid: heads .*; scale"):
        assert_valid(broken)


def test_a_valid_attention_raises_nothing() -> None:
    assert_valid(attention())


def test_an_operator_without_a_signature_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    causal = attention(mask="k <= q")
    monkeypatch.delitem(SIGNATURES, Op.LE)
    assert verify(causal) == ("mask: unknown operator '<='",)
