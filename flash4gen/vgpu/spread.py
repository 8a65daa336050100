"""How an operation on tensors of a whole cluster becomes one on what a single CTA holds.

Every CTA runs the kernel by itself, with types cut down to its blocks. Most operations need no
more. Those that mix blocks of several CTAs let all CTAs meet, hand each the whole tensors, and
keep its own block of the result; those that reach into memory of another CTA where Gluon has no
operation for that are refused.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flash4gen.vgpu.dtypes import torch_dtype
from flash4gen.vgpu.lowering import Alias, Constant, Lowered, Step, lower, unsupported
from flash4gen.vgpu.parse.tree import MemDescType, Operation, TensorType
from flash4gen.vgpu.split import Split, localised, split_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from flash4gen.vgpu.concurrent.cluster import Member
    from flash4gen.vgpu.lowering import RegionCompiler
    from flash4gen.vgpu.onchip import View
    from flash4gen.vgpu.parse.tree import Type

_ALONG_AXIS = ("tt.reduce", "tt.scan", "tt.gather")
_SAME_BLOCKS = ("ttg.convert_layout", "tt.reshape")
# Operations between registers and memory: what a CTA moves must be its own on both sides.
_MOVES = (
    "ttg.local_alloc",
    "ttg.local_load",
    "ttg.local_store",
    "ttg.async_copy_global_to_local",
    "ttng.tmem_alloc",
    "ttng.tmem_load",
    "ttng.tmem_store",
)
_SLICES = ("ttg.memdesc_subslice", "ttng.tmem_subslice")
_RELEASES = frozenset({"release", "acq_rel"})
_PRODUCTS = ("ttng.warp_group_dot", "ttng.tc_gen5_mma", "ttng.tc_gen5_mma_scaled", "tt.dot")


def spread(op: Operation, compiler: RegionCompiler, ctas: int) -> Lowered:
    """Lower an operation of a cluster for one of its CTAs.

    Raises:
        FaultError: the operation, or the way it is split among the CTAs, is not known.
    """
    if op.name in ("tt.make_range", "arith.constant"):
        return _parts_of_constant(op, compiler, ctas)
    if op.name == "ttng.async_shared_store":
        return _send(op, ctas)
    if _mixes(op, ctas):
        return _together(op, lower(op, compiler), ctas)
    if op.name in ("ttg.local_load", "ttg.local_store") and (across := _across(op, ctas)):
        return across
    _check(op, ctas)
    local = replace(
        op,
        operand_types=tuple(localised(kind, ctas) for kind in op.operand_types),
        result_types=tuple(localised(kind, ctas) for kind in op.result_types),
    )
    lowered = lower(local, compiler)
    if op.name == "tt.store":
        return _by_the_first(lowered, split_of(op.operand_types[0], ctas))
    if op.name in ("tt.atomic_rmw", "tt.atomic_cas", "tt.atomic_poll"):
        return _once(op, lowered, split_of(op.operand_types[0], ctas))
    return lowered


def _parts_of_constant(op: Operation, compiler: RegionCompiler, ctas: int) -> Lowered:
    lowered = lower(op, compiler)
    split = split_of(op.result_types[-1], ctas) if op.result_types else None
    if not isinstance(lowered, Constant) or split is None or split.whole:
        return lowered
    parts = [_part(lowered.value, split, cta) for cta in range(ctas)]
    return Step(lambda member: parts[member.rank], (), machine=True)


def _part(value: Tensor, split: Split, cta: int) -> Tensor:
    return value[split.window(cta, split.local(tuple(value.shape)))]


# --- operations that need all CTAs ------------------------------------------------------------


def _mixes(op: Operation, ctas: int) -> bool:
    """Whether elements of several CTAs meet in one operation."""
    if not op.operand_types or not isinstance(op.operand_types[0], TensorType):
        return False
    split = split_of(op.operand_types[0], ctas)
    if op.name in _ALONG_AXIS:
        axis = op.attributes.get("axis", 0)
        return split.counts[axis] > 1 if isinstance(axis, int) else True
    if op.name in _SAME_BLOCKS:
        before, after = op.operand_types[0], op.result_types[0]
        return any(
            not torch.equal(_elements(before, cta, ctas), _elements(after, cta, ctas))
            for cta in range(ctas)
        )
    if op.name == "tt.split":
        return split.counts[-1] > 1
    return op.name == "tt.cat" and not split.whole


def _elements(kind: Type, cta: int, ctas: int) -> Tensor:
    """Return the numbers of the elements that a CTA holds, in their order."""
    if not isinstance(kind, TensorType | MemDescType):
        raise unsupported(f"expected a tensor or a memory, not {kind}")
    numbers = torch.arange(torch.Size(kind.shape).numel()).view(kind.shape)
    return _part(numbers, split_of(kind, ctas), cta).reshape(-1)


def _together(op: Operation, lowered: Lowered, ctas: int) -> Lowered:
    call, operands, machine = _as_call(op, lowered)
    given = [split_of(kind, ctas) for kind in op.operand_types]
    # Operands of one type share a printed one.
    given = [*given, *[given[-1]] * len(operands)][: len(operands)]
    made = [split_of(kind, ctas) for kind in op.result_types]

    def run(member: Member, *values: Any) -> Generator[None, None, Any]:
        left = yield from member.meet(values)
        operands = zip(*left, strict=True)
        whole = [_joined(parts, split) for parts, split in zip(operands, given, strict=True)]
        result = call(member, *whole) if machine else call(*whole)
        results = result if isinstance(result, tuple) else (result,)
        own = tuple(
            _part(value, split, member.rank) if isinstance(value, Tensor) else value
            for value, split in zip(results, made, strict=True)
        )
        return own if isinstance(result, tuple) else own[0]

    return Step(run, operands, machine=True, blocks=True)


def _as_call(op: Operation, lowered: Lowered) -> tuple[Callable[..., Any], tuple[Any, ...], bool]:
    if isinstance(lowered, Alias):
        return (lambda value: value), lowered.operands, False
    if not isinstance(lowered, Step) or lowered.blocks:
        raise unsupported(f"{op.name} across the CTAs of a cluster is not supported")
    return lowered.call, lowered.operands, lowered.machine


def _joined(parts: Sequence[Any], split: Split) -> Any:
    """Return the whole tensor made of what the CTAs hold."""
    if not isinstance(parts[0], Tensor) or split.whole:
        return parts[0]
    return join(parts, split.counts, split.places)


def join(
    parts: Sequence[Tensor], counts: tuple[int, ...], places: Sequence[tuple[int, ...]]
) -> Tensor:
    """Return the tensor whose blocks at these places are these; `counts` blocks per dimension."""
    local = tuple(parts[0].shape)
    lead = len(local) - len(counts)
    whole = local[:lead] + tuple(n * k for n, k in zip(local[lead:], counts, strict=True))
    full = torch.empty(whole, dtype=parts[0].dtype)
    split = Split(counts, tuple(places))
    for number, part in enumerate(parts):
        full[split.window(number, local)] = part
    return full


# --- global memory ----------------------------------------------------------------------------


def _by_the_first(lowered: Lowered, split: Split) -> Lowered:
    """Let the first of the CTAs that hold the same elements store them."""
    if not isinstance(lowered, Step) or len(set(split.places)) == len(split.places):
        return lowered
    call = lowered.call

    def run(member: Member, *values: Any) -> None:
        if split.first(member.rank) == member.rank:
            call(member, *values)

    return replace(lowered, call=run)


def _once(op: Operation, lowered: Lowered, split: Split) -> Lowered:
    """Let the first of the CTAs with the same elements change or await them, and tell the others.

    Triton has all CTAs of a program meet before what they release, and after what they acquire or
    poll. After a mere release they learn nothing of each other.
    """
    if not isinstance(lowered, Step) or len(set(split.places)) == len(split.places):
        return lowered
    call, blocks = lowered.call, lowered.blocks
    releases, merely = not _RELEASES.isdisjoint(op.words), "release" in op.words

    def run(member: Member, *values: Any) -> Generator[None, None, Any]:
        first, own = split.first(member.rank), None
        if releases:
            member.publish()
            yield from member.meet()
        if first == member.rank:
            own = (yield from call(member, *values)) if blocks else call(member, *values)
        left = yield from member.meet((own,), ordered=not merely)
        return left[first][0]

    return replace(lowered, call=run, blocks=True)


def _across(op: Operation, ctas: int) -> Lowered | None:
    """Lower a load or store of shared memory that other CTAs hold; None if none does."""
    kinds = (*op.operand_types, *op.result_types)
    tensor = next(kind for kind in kinds if isinstance(kind, TensorType))
    memory = next(kind for kind in kinds if isinstance(kind, MemDescType))
    split, held = split_of(tensor, ctas), split_of(memory, ctas)
    if split.places == held.places or len(tensor.shape) != len(held.counts):
        return None
    if not all(len(set(one.places)) == ctas for one in (split, held)):
        raise unsupported(f"{op.name} of elements that several CTAs hold, or their memory")
    shape = split.local(tensor.shape)
    if op.name == "ttg.local_load":
        return Step(
            lambda member, view: member.read_across(view, split, shape), op.operands, machine=True
        )

    def store(member: Member, value: Tensor, view: View) -> None:
        member.write_across(view, split, value)

    return Step(store, op.operands, machine=True)


def _send(op: Operation, ctas: int) -> Lowered:
    split = split_of(op.operand_types[0], ctas)

    def store(member: Member, value: Tensor, target: View, where: View) -> None:
        member.store_async(value, split, target, where)

    return Step(store, op.operands, machine=True)


# --- what is refused --------------------------------------------------------------------------


def _check(op: Operation, ctas: int) -> None:
    """Refuse operations that would reach into the memory of another CTA."""
    kinds = (*op.operand_types, *op.result_types)
    if op.name in _MOVES:
        _same_blocks(op, [kind for kind in kinds if _has_blocks(kind)], ctas)
    elif op.name in _SLICES:
        source, target = op.operand_types[0], op.result_types[-1]
        if not isinstance(source, MemDescType) or not isinstance(target, MemDescType):
            return
        split = split_of(source, ctas)
        lead = len(source.shape) - len(split.counts)
        for axis, count in enumerate(split.counts):
            if count > 1 and source.shape[lead + axis] != target.shape[lead + axis]:
                raise unsupported(f"{op.name} along a dimension that is split among CTAs")
    elif op.name in ("ttg.memdesc_reinterpret", "ttg.memdesc_reshape"):
        _check_view(op, ctas)
    elif op.name in _PRODUCTS and not op.attributes.get("two_ctas"):
        _check_product(op, ctas)


def _check_view(op: Operation, ctas: int) -> None:
    """Refuse views in which a CTA would hold something else than it does.

    Shared memory that is reinterpreted is the bytes that this CTA has, whatever the other one's are
    called: that is how a CTA looks at its own part alone.
    """
    source, target = op.operand_types[0], op.result_types[-1]
    if op.name == "ttg.memdesc_reshape":
        parts = ((_elements(kind, cta, ctas) for kind in (source, target)) for cta in range(ctas))
        same = all(torch.equal(*pair) for pair in parts)
    elif isinstance(source, MemDescType) and source.space == "smem":
        same = _local_bytes(source, ctas) == _local_bytes(target, ctas)
    else:
        same = split_of(source, ctas).places == split_of(target, ctas).places
    if not same:
        raise unsupported(f"{op.name} that splits memory among CTAs in another way")


def _local_bytes(kind: Type, ctas: int) -> int:
    if not isinstance(kind, MemDescType):
        raise unsupported(f"expected a memory, not {kind}")
    return math.prod(split_of(kind, ctas).local(kind.shape)) * torch_dtype(kind).itemsize


def _has_blocks(kind: Type) -> bool:
    return isinstance(kind, TensorType | MemDescType)


def _same_blocks(op: Operation, kinds: list[Type], ctas: int) -> None:
    splits = [split_of(kind, ctas) for kind in kinds]
    matrices = [split for split in splits if len(split.counts) == len(splits[0].counts)]
    if any(split.places != matrices[0].places for split in matrices):
        raise unsupported(f"{op.name} between a tensor and memory that other CTAs hold")


def _check_product(op: Operation, ctas: int) -> None:
    shapes = [split_of(kind, ctas) for kind in op.operand_types[:2]]
    target = split_of(op.operand_types[2] if "gen5" in op.name else op.result_types[-1], ctas)
    a, b = (tuple((*split.counts, 1, 1)[:2]) for split in shapes)
    d = tuple((*target.counts, 1, 1)[:2])
    if (a[0], a[1], b[0], b[1]) != (d[0], 1, 1, d[1]):
        raise unsupported(f"{op.name} whose operands other CTAs hold")
