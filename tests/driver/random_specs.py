"""Random specs: masks, scores, groups, widths, dtypes, lengths; the same for the same seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.test_matrix import TARGETS

FAMILIES = ("b200", "b300", "rubin")
"""Targets of the warp-specialised family; their kernels take long to compile."""


@dataclass(frozen=True, slots=True)
class RandomSpec:
    """A spec's text, and two targets to compile it for."""

    text: str
    targets: tuple[str, str]


@dataclass
class _Maker:
    """Draws parts of a spec; ``end`` says from which end its masks count positions."""

    random: random.Random
    end: bool
    inputs: dict[str, str] = field(default_factory=dict)

    def number(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def mask(self, depth: int) -> str:
        if depth and self.random.random() < 0.6:
            kind = self.random.choice(("and", "and", "or", "or", "not", "where"))
            one, other = self.mask(depth - 1), self.mask(depth - 1)
            if kind == "not":
                return f"not ({one})"
            if kind == "where":
                return f"where(h % 2 == 0, {one}, {other})"
            return f"({one}) {kind} ({other})"
        return self.random.choice(self._bounds() + self._patterns())

    def _bounds(self) -> list[str]:
        q, n = ("q_end", self.number(1, 90)) if self.end else ("q", self.number(1, 90))
        align = "end" if self.end else "start"
        made = [
            f"causal(align = {align})",
            f"{q} - k < {n}",
            f"k <= {q} + {n}",
            f"abs({q} - k) <= {n}",
            f"{q} - k < {self.number(2, 20)} * (h + 1) and k <= {q}",
            f"k >= {n}",
            f"k < {n}",
            f"2 * k < 3 * {q} + {n}",
        ]
        return made + ([f"window(keys = {n})"] if self.end else [f"prefix(length = {n})"])

    def _patterns(self) -> list[str]:
        q, n = "q_end" if self.end else "q", self.number(2, 40)
        self.inputs.setdefault("ids", "i32[batch, seq_k]")
        return [
            f"({q} - k) % {n} < {self.number(1, n)}",
            f"k // {n} == {q} // {n}",
            f"k // {n} <= {q} // {n} + 1",
            f"k % {n} != {self.number(0, n - 1)}",
            f"min(k, {n}) < max({q}, {self.number(1, 30)})",
            f"ids[b, k] % 3 != {self.number(0, 2)}",
        ]

    def score(self, depth: int) -> str:
        inner = self.score(depth - 1) if depth and self.random.random() < 0.5 else "s"
        c = self.random.choice((0.25, 0.5, 1.5, 3, 8, 20))
        distance = "abs(q_end - k)" if self.end else "abs(q - k)"
        self.inputs.setdefault("slopes", "f32[heads]")
        self.inputs.setdefault(
            "bias", self.random.choice(("f32", "bf16")) + "[heads, seq_q, seq_k]"
        )
        return self.random.choice(
            (
                inner,
                f"softcap({inner}, {c})",
                f"{c} * tanh({inner} / {c})",
                f"({inner}) * {c} - 1",
                f"({inner}) - {c} * (h + 1) * {distance} / 64",
                f"where(k % 5 < 2, {inner}, ({inner}) * 0.5)",
                f"sigmoid({inner}) * {c}",
                f"max({inner}, -{c})",
                f"min(abs({inner}), {c})",
                f"log(1 + ({inner}) ** 2)",
                f"exp(min({inner}, 2))",
                f"({inner}) - slopes[h] * {distance}",
                f"({inner}) + bias[h, q, k]",
            )
        )


def random_spec(seed: int) -> RandomSpec:
    """Return a spec that may still be refused, as its masks are drawn without looking."""
    draw = random.Random(seed)
    lengths = draw.choice(("any", "any", "any", "equal", "packed"))
    maker = _Maker(draw, end=draw.random() < 0.6)
    kv_heads, group = draw.choice((1, 2, 3)), draw.choice((1, 2, 3, 4))
    width = draw.choice((16, 24, 32, 40, 64, 72, 80, 96, 128))
    values = draw.choice((width, width, width, 32, 64))
    sigmoid = draw.random() < 0.15
    fields = {
        "dtype": draw.choice(("fp16", "bf16")),
        "heads": str(kv_heads * group),
        "kv_heads": str(kv_heads),
        "head_dim": str(width) if values == width else f"{width} / {values}",
        "scale": draw.choice((f"rsqrt({width})", f"rsqrt({width})", "1.0 / 16")),
    }
    if lengths != "any":
        fields["lengths"] = lengths
    if draw.random() < 0.85:
        fields["mask"] = maker.mask(2)
    if draw.random() < 0.6:
        fields["score"] = maker.score(2)
    if sigmoid:
        fields["weights"] = "sigmoid"
    elif draw.random() < 0.2:
        fields["sink"] = draw.choice(("0", "slopes[h]", "0.5 * (h + 1)"))
        maker.inputs.setdefault("slopes", "f32[heads]")
    elif draw.random() < 0.2:
        fields["empty_row"] = "nan"
    said = " ".join(fields.values())
    read = [f"input {name} : {kind}" for name, kind in maker.inputs.items() if f"{name}[" in said]
    lines = [*read, *(f"{name} = {value}" for name, value in fields.items())]
    text = "attention tiny {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"
    return RandomSpec(text, _targets(draw))


def _targets(draw: random.Random) -> tuple[str, str]:
    """Return two targets; one spec in six has one of the warp-specialised family."""
    portable = [name for name in TARGETS if name not in FAMILIES]
    first, second = draw.sample(portable, 2)
    return (first, draw.choice(FAMILIES)) if draw.random() < 0.17 else (first, second)
