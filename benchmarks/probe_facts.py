"""Compile one configuration of the portable kernel and read what it costs.

In: a ``Point``. Out: its ``Facts``. What is compiled is a rendered module, by the way that
``flash4gen compile`` takes; needs Triton, no GPU; one to three seconds a point.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flash4gen.build.compile import compile_module
from flash4gen.ir import library
from flash4gen.ir.expr import ALWAYS, SCORE, Apply, Expr, Literal, Op, Var, Variable
from flash4gen.ir.nodes import Attention, DType, EmptyRow, Lengths, Pass
from flash4gen.render.module import render
from flash4gen.schedule.model import Choice, Load, TileOrder
from flash4gen.schedule.search import estimate
from flash4gen.schedule.space import Shape
from flash4gen.schedule.workload import workload_of

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Arch

_K = Variable(Var.K)
_END = Apply(Op.ADD, (Variable(Var.Q), Apply(Op.SUB, (Variable(Var.SEQ_K), Variable(Var.SEQ_Q)))))
CAUSAL = Apply(Op.LE, (_K, _END))

_SOFTCAP = Apply(Op.MUL, (Literal(50.0), Apply(Op.TANH, (Apply(Op.DIV, (SCORE, Literal(50.0))),))))

SCORES: dict[str, Expr] = {"identity": SCORE, "softcap": _SOFTCAP, "capped": _SOFTCAP}
"""The scores that are measured: the softcap with a running maximum, as any score that is not the
product itself, and without."""

CAPPED = "capped"
"""The one that is measured without."""

MASKS: dict[str, Expr] = {
    "full": ALWAYS,
    "causal": CAUSAL,
    "window": Apply(Op.AND, (CAUSAL, Apply(Op.GT, (_K, Apply(Op.SUB, (_END, Literal(4096))))))),
}
"""The masks that are measured; the window is causal too, and masks at both ends."""


@dataclass(frozen=True, slots=True)
class Point:
    """One configuration to compile; the field names are the CSV's columns."""

    arch: Arch
    load: str
    head_pad: int
    value_pad: int
    tile_q: int
    tile_k: int
    warps: int
    stages: int
    score: str
    mask: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What came out: registers per thread, stack and shared memory in bytes, TMEM columns."""

    registers: int
    stack: int
    smem: int
    tmem: int


def compile_facts(point: Point) -> Facts:
    """Compile one configuration for its target and read the cubin's resource usage."""
    hardware = next(item for item in library.targets() if item.arch == point.arch)
    attention = _attention(point)
    widths = point.head_pad, point.value_pad
    work = workload_of(attention.score, attention.mask, *widths)
    work = replace(work, capped=point.score == CAPPED)
    shape = Shape(point.tile_q, point.tile_k, point.warps, point.stages, Load(point.load))
    schedule = estimate(work, hardware, shape, TileOrder.LONGEST_FIRST)
    choice = Choice(schedule=schedule, decisions=(), ranked=(), rejected=())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{attention.name}.py"
        file.write_text(render(attention, hardware, choice).text, encoding="utf-8")
        facts = compile_module(file, attention, hardware).facts
    return Facts(facts.registers, facts.spill_bytes, facts.smem_bytes, facts.tmem_columns)


def _attention(point: Point) -> Attention:
    return Attention(
        name="probe",
        doc="a configuration of the register sweep",
        dtype=DType(point.dtype),
        heads=16,
        kv_heads=8,
        head_dim=point.head_pad,
        value_dim=point.value_pad,
        scale=0.0625,
        score=SCORES[point.score],
        mask=MASKS[point.mask],
        empty_row=EmptyRow.ZERO,
        lengths=Lengths.ANY,
        passes=(Pass.FORWARD,),
        targets=(),
        pins=(),
        fields=(),
    )
