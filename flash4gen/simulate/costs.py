"""TTGIR operation → instructions of one warp, from its types and layout.

Used where no loop of the SASS says better: before and after the loops over key tiles. What ptxas
fuses or removes it cannot know.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from flash4gen.clock.program import Work
from flash4gen.vgpu.parse.tree import MemDescType, PointerType, ScalarType, TensorType

if TYPE_CHECKING:
    from flash4gen.vgpu.parse.tree import Operation, Type

THREADS = 32
_LANES = re.compile(r"threadsPerWarp = \[([\d, ]+)\]")
_DIM = re.compile(r"dim = (\d+)")
_QUAD = 4
"""Lanes that share a row of an accumulator of mma.sync and wgmma (PTX ISA, fragments of mma)."""

_DIVISION = 8
"""Instructions of an integer division by a number known at run time, about, and of a float one."""

_MUFU = frozenset(
    {"math.exp2", "math.log2", "math.rsqrt", "math.sqrt", "math.sin", "math.cos", "math.tanh"}
)
_MUFU_FMA = frozenset({"math.exp", "math.log"})
_FMA = frozenset({"arith.addf", "arith.subf", "arith.mulf", "math.fma", "arith.muli"})
_ALU = frozenset(
    {
        *("arith.maxnumf", "arith.minnumf", "arith.maximumf", "arith.minimumf", "arith.cmpf"),
        *("arith.cmpi", "arith.select", "arith.andi", "arith.ori", "arith.xori", "arith.shli"),
        *("arith.shrui", "arith.shrsi", "arith.addi", "arith.subi", "arith.maxsi", "arith.minsi"),
        *("arith.maxui", "arith.minui", "arith.negf", "math.absf", "tt.addptr", "tt.clampf"),
    }
)
_TO_FLOAT = frozenset({"arith.sitofp", "arith.uitofp"})
"""I2FP in the ALU; sm_80 alone has them in the special function unit (``ways.work_of``)."""
_TO_INTEGER = frozenset({"arith.fptosi", "arith.fptoui"})
_DIVIDE = frozenset({"arith.divf", "arith.divsi", "arith.remsi", "arith.divui", "arith.remui"})


_SIMPLE: tuple[tuple[frozenset[str], Work], ...] = (
    (_MUFU | _TO_INTEGER, Work(mufu=1)),
    (_MUFU_FMA, Work(mufu=1, fma=1)),
    (_FMA, Work(fma=1)),
    (_ALU | _TO_FLOAT | {"arith.extf"}, Work(alu=1)),
    (_DIVIDE, Work(other=_DIVISION)),
    (frozenset({"ttng.packed_arith"}), Work(fma2=0.5)),
)


def bytes_of(kind: Type) -> int:
    """Return the bytes of a tensor, or of the memory that a view or pointers show."""
    if isinstance(kind, TensorType | MemDescType):
        return math.prod(kind.shape) * bits_of(kind.element) // 8
    return 0


def bits_of(element: Type) -> int:
    """Return the bits of an element; of a pointer, those of what it points at."""
    if isinstance(element, PointerType):
        return bits_of(element.element)
    found = re.search(r"\d+", str(element)) if isinstance(element, ScalarType) else None
    return int(found[0]) if found else 64


def elements(kind: Type, warps: int) -> float:
    """Return how many elements of a tensor one thread holds; 1 for a scalar.

    Rows of an accumulator are held by several lanes alike once their columns have been reduced.
    """
    if not isinstance(kind, TensorType):
        return 1.0
    copies = lanes_along(kind.layout, None) if "slice" in kind.layout else 1
    return max(1.0, math.prod(kind.shape) * copies / (THREADS * warps))


def lanes_along(layout: str, axis: int | None) -> int:
    """Return the lanes that share a line of a tensor along an axis.

    Args:
        layout: text of an encoding.
        axis: of the tensor; None means the dimension that a slice has lost.
    """
    if "mma" in layout:
        return _QUAD
    lanes = _LANES.search(layout)
    if lanes is None:
        return 1
    if axis is None:
        dim = _DIM.search(layout)
        axis = int(dim[1]) if dim else 0
    counts = [int(n) for n in lanes[1].split(",")]
    return counts[axis] if axis < len(counts) else 1


def work(op: Operation, warps: int, *, packed: bool) -> Work:
    """Return the instructions of one warp for an operation between registers.

    Args:
        op: the operation.
        warps: of the role.
        packed: whether the target has packed arithmetic and three-input maxima.
    """
    kind = op.result_types[-1] if op.result_types else (op.operand_types or (None,))[0]
    count = elements(kind, warps) if kind is not None else 1.0
    for names, one in _SIMPLE:
        if op.name in names:
            return one * count
    match op.name:
        case "arith.truncf":
            narrow = kind is not None and bits_of(getattr(kind, "element", kind)) <= 8
            return Work(cvt8=count / 2) if narrow else Work(cvt=count / 2)
        case "tt.reduce":
            return _reduction(op, warps, packed=packed)
        case "tt.elementwise_inline_asm":
            return _assembly(op, count)
    return Work()


def _reduction(op: Operation, warps: int, *, packed: bool) -> Work:
    source = op.operand_types[0]
    axis = op.attributes.get("axis", 0)
    lanes = (
        lanes_along(source.layout, axis if isinstance(axis, int) else 0)
        if isinstance(source, TensorType)
        else 1
    )
    inside = elements(source, warps)
    rows = max(1.0, elements(op.result_types[0], warps))
    body = op.regions[0].blocks[0].operations[0].name if op.regions else ""
    across = rows * math.log2(lanes) if lanes > 1 else 0.0
    inner = max(0.0, inside - rows)
    if body in _FMA:
        own = Work(fma2=inner / 2) if packed else Work(fma=inner)
        return own + Work(fma=across, shuffle=across)
    return Work(alu=(inner / 2 if packed else inner) + across, shuffle=across)


_ASSEMBLY: tuple[tuple[str, Work], ...] = (
    (r"\b(fma|add|sub|mul)\.\S*f32x2", Work(fma2=1)),
    (r"\b(fma|add|sub|mul)\.\S*f32\b", Work(fma=1)),
    (r"\b(ex2|lg2|rcp|rsqrt|tanh)\.", Work(mufu=1)),
    (r"\b(max|min|shl|shr|and|or|xor|setp|selp|add\.s32|sub\.s32)\b", Work(alu=1)),
)


def _assembly(op: Operation, count: float) -> Work:
    """Count the PTX instructions of a block of inline assembly."""
    text = op.strings[0] if op.strings else ""
    at_once = op.attributes.get("packed_element", 1)
    times = count / at_once if isinstance(at_once, int) else count
    total = Work()
    for pattern, one in _ASSEMBLY:
        total += one * len(re.findall(pattern, text))
    return total * times
