"""Did you mean: near names are found, far ones are not guessed."""

from __future__ import annotations

import pytest

from flash4gen.diagnostics.suggest import did_you_mean, nearest, one_of

KNOWN = ("heads", "kv_heads", "head_dim", "scale", "score", "mask", "k", "q")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("haeds", "heads"),
        ("Heads", "heads"),
        ("kvheads", "kv_heads"),
        ("headdim", "head_dim"),
        ("scal", "scale"),
        ("kk", "k"),
        ("x", None),
        ("window", None),
    ],
)
def test_nearest(written: str, meant: str | None) -> None:
    assert nearest(written, KNOWN) == meant


def test_spelling() -> None:
    assert did_you_mean("maks", KNOWN) == ("did you mean `mask`?",)
    assert did_you_mean("window", KNOWN) == ()
    assert one_of(["a"]) == "`a`"
    assert one_of(["a", "b", "c"]) == "`a`, `b` or `c`"
