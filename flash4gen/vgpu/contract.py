"""Fuses multiplications into the additions that use them, as the code of the GPU has it.

In: a parsed module. Out: the same, where `x * y + z` is one `math.fma` with one rounding. TTGIR has
two operations there; LLVM makes one instruction of them when fusion is allowed (Triton's option
`enable_fp_fusion`). Numbers differ in the last place, and not only at random: `m * c - round(m *
c)` is 0 with two roundings and the rounding of the product with one.

The rules are those of LLVM's `DAGCombiner` for a target that fuses aggressively, as NVPTX does
(`visitFADDForFMACombine`, `visitFSUBForFMACombine`): a product is fused however often it is used;
of two, the one with fewer uses; otherwise the first operand. A product reaches an addition through
operations that give every thread the same number again: `tt.expand_dims`, `tt.broadcast`,
`tt.splat`; not through `ttg.convert_layout`, nor from outside the block.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flash4gen.vgpu.parse.tree import Block, Module, Operation, Region, TensorType
from flash4gen.vgpu.reuse import Reuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.vgpu.parse.tree import Operand, Type

_SPREADING = frozenset({"tt.expand_dims", "tt.broadcast", "tt.splat"})
_SUMS = frozenset({"arith.addf", "arith.subf"})


def contract(module: Module, reuse: Reuse | None = None) -> Module:
    """Return the module with its float32 products fused into sums.

    Args:
        module: the parsed text.
        reuse: remembers regions, for other texts that have them in common.
    """
    contraction = _Contraction(reuse or Reuse())
    functions = (replace(f, body=contraction.region(f.body)) for f in module.functions)
    return replace(module, functions=tuple(functions))


@dataclass(frozen=True, slots=True)
class _Contraction:
    """Goes through the regions of a module."""

    reuse: Reuse

    def region(self, region: Region) -> Region:
        """Return a region with its products fused into sums."""
        return self.reuse(region, self._region, "contract")

    def _region(self, region: Region) -> Region:
        return Region(tuple(self._block(block) for block in region.blocks))

    def _block(self, block: Block) -> Block:
        uses = _Uses(block.operations)
        known: dict[str, Operation] = {}
        operations: list[Operation] = []
        for op in block.operations:
            operations += _fused(op, known, uses) if op.name in _SUMS and _is_f32(op) else [op]
            if op.regions:
                regions = tuple(self.region(region) for region in op.regions)
                operations[-1] = replace(op, regions=regions)
            known.update((result, op) for result in op.results)
        return replace(block, operations=tuple(operations))


@dataclass(slots=True)
class _Uses:
    """How often the operations of a block read each name; counted when somebody asks."""

    operations: tuple[Operation, ...]
    _counts: Counter[str] | None = None

    def __getitem__(self, name: str) -> int:
        if self._counts is None:
            self._counts = Counter(_used(self.operations))
        return self._counts[name]


def _used(operations: tuple[Operation, ...]) -> Iterator[str]:
    """Yield the names that operations read, once for each time; also those inside them."""
    for op in operations:
        values: list[Operand] = [*op.operands, *(value for _, value in op.bindings)]
        for listed in (*op.subscripts.values(), *op.groups, *op.labelled.values()):
            values += listed
        yield from (value for value in values if isinstance(value, str))
        for region in op.regions:
            for block in region.blocks:
                yield from _used(block.operations)


def _is_f32(op: Operation) -> bool:
    kind = op.result_types[0]
    return str(kind.element if isinstance(kind, TensorType) else kind) == "f32"


def _fused(op: Operation, known: dict[str, Operation], uses: _Uses) -> list[Operation]:
    """Return what takes the place of a sum: a fused one and what it needs, or the sum itself."""
    products = [_product(operand, known) for operand in op.operands]
    order = [0, 1]
    if all(products) and _count(products[0], uses) > _count(products[1], uses):
        order.reverse()
    for side in order:
        path = products[side]
        if path is not None:
            return _fma(op, side, path)
    return [op]


def _count(path: tuple[Operation, ...] | None, uses: _Uses) -> int:
    return uses[path[-1].results[0]] if path else 0


def _product(operand: Operand, known: dict[str, Operation]) -> tuple[Operation, ...] | None:
    """Return the product that an operand is, and before it what spreads it, the last one first."""
    path: list[Operation] = []
    while isinstance(operand, str) and operand in known:
        op = known[operand]
        path.append(op)
        if op.name == "arith.mulf":
            return tuple(path)
        if op.name not in _SPREADING:
            return None
        operand = op.operands[0]
    return None


def _fma(op: Operation, side: int, path: tuple[Operation, ...]) -> list[Operation]:
    """Return what computes ``product ± other``, or ``other ± product``, with one fma."""
    made: list[Operation] = []
    *spreading, product = path
    factors = []
    for n, factor in enumerate(product.operands):
        for step in reversed(spreading):
            name = f"{step.results[0]}.{op.results[0]}.{n}"
            made.append(replace(step, results=(name,), operands=(factor, *step.operands[1:])))
            factor = name
        factors.append(factor)
    other = op.operands[1 - side]
    kind = op.result_types[0]
    if op.name == "arith.subf":
        negated = factors[0] if side else other
        name = f"{op.results[0]}.minus"
        made.append(_operation(op, "arith.negf", (negated,), name, kind))
        if side:
            factors[0] = name
        else:
            other = name
    return [*made, _operation(op, "math.fma", (*factors, other), op.results[0], kind)]


def _operation(
    op: Operation, name: str, operands: tuple[Operand, ...], result: str, kind: Type
) -> Operation:
    """Return an operation in the place of another one."""
    return Operation(
        name=name,
        line=op.line,
        results=(result,),
        operands=operands,
        operand_types=(kind,),
        result_types=(kind,),
        location=op.location,
    )
