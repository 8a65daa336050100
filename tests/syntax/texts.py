"""Random texts that follow the grammar: every kind of item, any blanks, comments anywhere."""

from __future__ import annotations

from functools import cache
from itertools import cycle
from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

Words = list[str]
"""The tokens of a text, still without what stands between them."""

NAMES = st.sampled_from(
    ["a", "b", "s", "q", "k", "h", "heads", "head_dim", "softcap", "causal", "window", "keys"]
)
NUMBERS = st.sampled_from(["0", "1", "16", "4_096", "0.5", "1e-6", ".25", "2.5E3", "99999999999"])
STRINGS = st.sampled_from(['""', '"a # b"', '"x  y"', '"{ ( ["', '"é\t"'])
QUANTITIES = st.sampled_from(["228 KiB", "8TB/s", "1.965   GHz", "1_000 B"])


def flat(parts: Sequence[Words]) -> Words:
    """Return parts one after the other."""
    return [word for part in parts for word in part]


@cache
def expressions(depth: int = 3) -> st.SearchStrategy[Words]:
    """Expressions of every form."""
    leaves = st.one_of(NAMES, NUMBERS, st.sampled_from(["true", "false"])).map(lambda word: [word])
    if not depth:
        return leaves
    inner = expressions(depth - 1)
    binary = ["or", "and", "+", "-", "*", "**", "//", "/", "%", "<", "<=", "==", "!=", ">="]
    return st.one_of(
        leaves,
        st.tuples(inner, st.sampled_from(binary), inner).map(lambda x: [*x[0], x[1], *x[2]]),
        st.tuples(st.sampled_from(["-", "+"]), inner).map(lambda x: ["(", x[0], *x[1], ")"]),
        inner.map(lambda x: ["(", "not", *x, ")"]),
        inner.map(lambda x: ["(", *x, ")"]),
        st.tuples(NAMES, st.lists(arguments(depth - 1), max_size=3)).map(
            lambda x: [x[0], "(", *joined(x[1]), ")"]
        ),
    )


@cache
def arguments(depth: int) -> st.SearchStrategy[Words]:
    """Arguments of calls, some of them named."""
    value = expressions(depth)
    return value | st.tuples(NAMES, value).map(lambda x: [x[0], "=", *x[1]])


def joined(parts: Sequence[Words], sign: str = ",") -> Words:
    """Return parts with a sign between them."""
    return [word for i, part in enumerate(parts) for word in ([sign] * bool(i) + part)]


@cache
def values() -> st.SearchStrategy[Words]:
    """Everything that may stand on the right of a field."""
    plain = st.one_of(STRINGS, QUANTITIES).map(lambda word: [word])
    lists = st.lists(expressions(1), max_size=3).map(lambda x: ["[", *joined(x), "]"])
    return st.one_of(expressions(), plain, lists)


@cache
@st.composite
def fields(draw: st.DrawFn) -> Words:
    """Fields, with one or several values, some with a source."""
    made = [draw(NAMES), "=", *joined(draw(st.lists(values(), min_size=1, max_size=3)))]
    if draw(st.booleans()):
        made += ["from", draw(STRINGS)]
    return made


@cache
@st.composite
def runs(draw: st.DrawFn, depth: int = 2) -> Words:
    """Parts of the layers of a model."""
    block = [draw(NAMES)]
    if depth and draw(st.booleans()):
        inner = draw(st.lists(runs(depth - 1), min_size=1, max_size=3))
        block = ["[", *joined(inner), "]"]
    before = draw(st.sampled_from(["", "repeat", "3", "0"]))
    return [*([before] if before else []), *(["*"] if before.isdigit() else []), *block]


@cache
@st.composite
def layers(draw: st.DrawFn) -> Words:
    """`layers` of a model."""
    made = joined(draw(st.lists(runs(), min_size=1, max_size=3)))
    return ["layers", draw(NUMBERS), "=", *made]


@cache
@st.composite
def parameters(draw: st.DrawFn) -> Words:
    """One parameter of a `def`."""
    made = [draw(NAMES)]
    if draw(st.booleans()):
        choices = draw(st.lists(NAMES, min_size=1, max_size=3))
        made += [":", *joined([[one] for one in choices], "|")]
    if draw(st.booleans()):
        made += ["=", *draw(expressions(1))]
    return made


@cache
@st.composite
def items(draw: st.DrawFn) -> Words:
    """One item of any kind."""
    name = draw(NAMES)
    match draw(st.sampled_from(["use", "attention", "hardware", "def", "model"])):
        case "use":
            return ["use", draw(STRINGS)]
        case "attention":
            body = draw(st.lists(fields(), max_size=4))
            pins = draw(st.lists(fields(), max_size=3))
            schedule = ["schedule", "{", *flat(pins), "}"] if draw(st.booleans()) else []
            return ["attention", name, "{", *flat(body), *schedule, "}"]
        case "hardware":
            base = ["extends", draw(NAMES)] if draw(st.booleans()) else []
            body = draw(st.lists(fields(), max_size=4))
            return ["hardware", name, *base, "{", *flat(body), "}"]
        case "model":
            body = draw(st.lists(st.one_of(fields(), layers()), max_size=3))
            return ["model", name, "{", *flat(body), "}"]
        case _:
            taken = draw(st.lists(parameters(), max_size=3))
            starred: bool = draw(st.booleans())
            star = [["*"]] if taken and starred else []
            condition = ["requires", *draw(expressions(1))] if draw(st.booleans()) else []
            head = ["def", name, "(", *joined([*star, *taken]), ")", *condition]
            return [*head, "=", *draw(expressions())]


@st.composite
def texts(draw: st.DrawFn, max_items: int = 4) -> str:
    """Texts that follow the grammar."""
    words = flat(draw(st.lists(items(), max_size=max_items)))
    between = draw(st.lists(GAPS, min_size=1, max_size=16))
    parts = zip(words, cycle(between), strict=False)
    return draw(st.sampled_from(["", "\n", "# top\n"])) + "".join(map("".join, parts))


GAPS = st.sampled_from(
    [" ", " ", " ", " ", "\n", "\n\n", "\n\n\n", "\t", "  \n    ", " # one\n", "\n#two  \n\n",
     "\n\n  ## \"three\" { (\n  # é = 4\n", " #\n\t# use\n"]
)  # fmt: skip
"""What may stand between two tokens: blanks, line ends, comments; never nothing."""
