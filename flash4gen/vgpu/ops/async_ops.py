"""cp.async, mbarriers and TMA: operations that hand work to an engine or wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flash4gen.vgpu.cta import Cta, TensorMap
from flash4gen.vgpu.descriptor import Descriptor
from flash4gen.vgpu.dtypes import torch_dtype
from flash4gen.vgpu.errors import FaultError, FindingKind
from flash4gen.vgpu.lowering import (
    Lowered,
    Nothing,
    Step,
    integer,
    operation,
    result_type,
    unsupported,
)
from flash4gen.vgpu.ops.memory_ops import arguments, memdesc
from flash4gen.vgpu.parse.tree import DescriptorType, Operation
from flash4gen.vgpu.transfer import Box, Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flash4gen.vgpu.onchip import View

_NO_PROGRAM = 0x0FFF_FFFF
_CACHE = ("cacheModifier", "evictionPolicy", "isVolatile", "cache", "evict", "contiguity")


# --- cp.async ---------------------------------------------------------------------------------


@operation("ttg.async_copy_global_to_local", attributes=_CACHE)
def _async_copy(op: Operation) -> Lowered:
    dtype = torch_dtype(memdesc(result_type(op)))
    mask, other = (op.labelled.get(word, (None,))[0] for word in ("mask", "other"))

    def copy(cta: Cta, address: Tensor, target: View, mask: Any, other: Any) -> None:
        cta.copy(target, lambda: cta.load(address, mask, other, dtype))

    # Its token orders operations for the compiler; here the order of execution is enough.
    return Step(copy, (*op.operands, mask, other), machine=True)


@operation("ttg.async_commit_group")
def _commit_group(_op: Operation) -> Lowered:
    return Step(lambda cta: cta.commit_copies(), (), machine=True)


@operation("ttg.async_wait", attributes=("num",))
def _async_wait(op: Operation) -> Lowered:
    pending = integer(op, "num")
    return Step(lambda cta: cta.wait_copies(pending), (), machine=True)


# --- mbarriers --------------------------------------------------------------------------------


@operation("ttng.init_barrier")
def _init_barrier(op: Operation) -> Lowered:
    return Step(
        lambda cta, view, count: cta.init_barrier(view, count),
        op.operands,
        machine=True,
        blocks=True,
    )


@operation("ttng.inval_barrier")
def _inval_barrier(op: Operation) -> Lowered:
    return Step(lambda cta, view: cta.inval_barrier(view), op.operands, machine=True)


def _route(op: Operation) -> tuple[int | None, int] | None:
    """Return from which CTAs of a cluster an arrival comes, and to which it goes as well."""
    kept = integer(op, "fromCTA") if "fromCTA" in op.attributes else None
    multicast = integer(op, "multicastCTA") if "multicastCTA" in op.attributes else 0
    return None if kept is None and not multicast else (kept, multicast)


@operation("ttng.barrier_expect", attributes=("fromCTA",))
def _barrier_expect(op: Operation) -> Lowered:
    route = _route(op)

    def expect(cta: Cta, view: View, size: int, predicate: Any) -> None:
        if predicate is None or predicate:
            cta.expect(view, size, route)

    return Step(expect, arguments(op, 3), machine=True)


@operation("ttng.arrive_barrier", attributes=("perThread", "fromCTA", "multicastCTA"))
def _arrive_barrier(op: Operation) -> Lowered:
    threads = bool(op.attributes.get("perThread", False))
    route = _route(op)

    def arrive(cta: Cta, view: View, count: int, predicate: Any) -> None:
        if predicate is None or predicate:
            cta.arrive(view, count, threads=threads, route=route)

    return Step(arrive, arguments(op, 3), machine=True)


@operation("ttng.wait_barrier")
def _wait_barrier(op: Operation) -> Lowered:
    def wait(cta: Cta, view: View, parity: int, predicate: Any) -> Iterable[None]:
        if predicate is None or predicate:
            return cta.wait_barrier(view, parity)
        return ()

    # Views behind the predicate are what the wait protects: hints for the compiler.
    count = len(op.operands) if len(op.operands) < 3 else 3
    operands = op.operands[:count] + (None,) * (3 - count)
    return Step(wait, operands, machine=True, blocks=True)


@operation("ttng.fence_async_shared", attributes=("bCluster",))
def _fence(_op: Operation) -> Lowered:
    return Step(lambda cta: cta.fence(), (), machine=True)


@operation("ttng.arrive_barrier_named")
def _arrive_named(op: Operation) -> Lowered:
    return Step(
        lambda cta, number, threads: cta.arrive_named(number, threads), op.operands, machine=True
    )


@operation("ttng.wait_barrier_named")
def _wait_named(op: Operation) -> Lowered:
    return Step(
        lambda cta, number, threads: cta.wait_named(number, threads),
        op.operands,
        machine=True,
        blocks=True,
    )


@operation("ttng.cluster_barrier", attributes=("relaxed",))
def _cluster_barrier(op: Operation) -> Lowered:
    relaxed = bool(op.attributes.get("relaxed", False))
    return Step(lambda cta: cta.cluster_barrier(relaxed=relaxed), (), machine=True, blocks=True)


@operation("ttng.async_shared_store")
def _async_shared_store(op: Operation) -> Lowered:
    # Only clusters have it; `spread` says how their CTAs hold the tensor.
    raise unsupported(f"{op.name} in a program of one CTA")


@operation(
    "ttng.fence_mbarrier_init_release_cluster",
    "tt.grid_dependency_wait",
    "tt.grid_dependency_launch_dependents",
)
def _order(_op: Operation) -> Lowered:
    # Programs and launches run one after the other.
    return Nothing()


@operation("ttng.async_copy_mbarrier_arrive", attributes=("noIncrement",))
def _copies_arrive(op: Operation) -> Lowered:
    counted = not op.attributes.get("noIncrement", False)
    return Step(
        lambda cta, view: cta.arrive_copies(view, counted=counted), op.operands, machine=True
    )


# --- cluster launch control -------------------------------------------------------------------


@operation("ttng.clc_try_cancel")
def _try_cancel(op: Operation) -> Lowered:
    return Step(lambda cta, answer, where: cta.try_cancel(answer, where), op.operands, machine=True)


@operation("ttng.clc_load_result")
def _load_result(op: Operation) -> Lowered:
    # The answer's 128 bits as a pair of words.
    return Step(lambda cta, view: tuple(cta.read(view).tolist()), op.operands, machine=True)


@operation("ttng.clc_is_canceled")
def _is_canceled(op: Operation) -> Lowered:
    return Step(lambda answer: answer[0] == 1, op.operands)


@operation("ttng.clc_get_program_id")
def _canceled_id(op: Operation) -> Lowered:
    shift = 21 * "xyz".index(op.words[0])

    def program_id(answer: tuple[int, int]) -> int:
        # Undefined where nothing was cancelled: a number that no grid has.
        return answer[1] >> shift & 0x1FFFFF if answer[0] == 1 else _NO_PROGRAM

    return Step(program_id, op.operands)


# --- TMA --------------------------------------------------------------------------------------


def _coordinates(op: Operation) -> tuple[Any, ...]:
    return op.subscripts[0]


def _box_type(op: Operation) -> DescriptorType:
    kind = op.operand_types[0]
    if not isinstance(kind, DescriptorType):
        raise unsupported(f"{op.name} on {kind}")
    return kind


@operation(
    "ttng.async_tma_copy_global_to_local", attributes=("cache", "evict", "isVolatile", "multicast")
)
def _tma_load(op: Operation) -> Lowered:
    multicast = bool(op.attributes.get("multicast", False))
    box = _box_type(op).shape
    rank = len(_coordinates(op))

    def load(cta: Cta, descriptor: Descriptor, *rest: Any) -> None:
        coordinates = rest[-rank:]
        target, barrier, *predicate = rest[:-rank]
        if predicate and not predicate[0]:
            cta.skip(target)
            return
        cta.tma_load(target, barrier, Box(descriptor, coordinates, box), multicast=multicast)

    return Step(load, op.operands + _coordinates(op), machine=True)


@operation("ttng.async_tma_copy_local_to_global")
def _tma_store(op: Operation) -> Lowered:
    box = _box_type(op).shape

    def store(cta: Cta, descriptor: Descriptor, source: View, *coordinates: int) -> None:
        cta.tma_store(source, Box(descriptor, coordinates, box))

    return Step(store, op.operands + _coordinates(op), machine=True)


_REDUCE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "min": torch.minimum,
    "max": torch.maximum,
    "and": torch.bitwise_and,
    "or": torch.bitwise_or,
    "xor": torch.bitwise_xor,
}


@operation("ttng.async_tma_reduce")
def _tma_reduce(op: Operation) -> Lowered:
    box = _box_type(op).shape
    if op.words[0] not in _REDUCE:
        raise unsupported(f"ttng.async_tma_reduce {op.words[0]} is not supported")
    if op.words[0] in ("min", "max") and str(_box_type(op).element).startswith("ui"):
        raise unsupported(f"ttng.async_tma_reduce {op.words[0]} of numbers without a sign")
    combine = _REDUCE[op.words[0]]

    def reduce(cta: Cta, descriptor: Descriptor, source: View, *coordinates: int) -> None:
        cta.tma_store(source, Box(descriptor, coordinates, box, combine))

    return Step(reduce, op.operands + _coordinates(op), machine=True)


@operation("ttng.async_tma_store_wait", attributes=("pendings", "read_only"))
def _store_wait(op: Operation) -> Lowered:
    pending = integer(op, "pendings")
    written = not op.attributes.get("read_only", False)
    return Step(lambda cta: cta.wait_stores(pending, written=written), (), machine=True)


@operation("ttng.async_tma_gather", attributes=("cache", "evict", "isVolatile", "multicast"))
def _tma_gather(op: Operation) -> Lowered:
    if op.attributes.get("multicast"):
        raise unsupported("TMA multicast is not supported")
    width = _box_type(op).shape[-1]
    where = op.subscripts[0]

    def gather(cta: Cta, descriptor: Descriptor, target: View, barrier: View, *rest: Any) -> None:
        predicate, rows, column = rest if len(rest) == 3 else (True, *rest)
        if not predicate:
            cta.skip(target)
            return
        cta.tma_load(target, barrier, Rows(descriptor, rows, column, width))

    return Step(gather, op.operands + where, machine=True)


@operation("ttng.async_tma_scatter", attributes=("cache", "evict", "isVolatile"))
def _tma_scatter(op: Operation) -> Lowered:
    width = _box_type(op).shape[-1]

    def scatter(cta: Cta, descriptor: Descriptor, source: View, rows: Tensor, column: int) -> None:
        cta.tma_store(source, Rows(descriptor, rows, column, width))

    return Step(scatter, op.operands + op.subscripts[0], machine=True)


@operation(
    "ttng.tensormap_create",
    attributes=("elem_type", "fill_mode", "interleave_layout", "swizzle_mode"),
)
def _tensormap_create(op: Operation) -> Lowered:
    box, shape, strides, element_strides = op.groups
    rank = len(box)
    name = f"%{op.operands[0]}"
    nan_fill = integer(op, "fill_mode") == 1

    def create(cta: Cta, where: int, base: int, *numbers: int) -> None:
        sizes = numbers[rank : 2 * rank]
        steps = numbers[2 * rank : 3 * rank - 1]
        if any(step != 1 for step in numbers[3 * rank - 1 :]):
            raise unsupported("TMA descriptors with element strides are not supported")
        cta.tensormaps[where] = TensorMap(
            base=base, shape=sizes[::-1], strides=steps[::-1], nan_fill=nan_fill, name=name
        )

    operands = op.operands + box + shape + strides + element_strides
    return Step(create, operands, machine=True)


@operation("ttng.tensormap_fenceproxy_acquire")
def _tensormap_fence(_op: Operation) -> Lowered:
    return Nothing()


@operation("ttng.reinterpret_tensor_descriptor")
def _reinterpret_descriptor(op: Operation) -> Lowered:
    dtype = torch_dtype(result_type(op))

    def reinterpret(cta: Cta, where: int) -> Descriptor:
        if where not in cta.tensormaps:
            raise FaultError(FindingKind.DESCRIPTOR, f"address {where:#x} holds no descriptor")
        made = cta.tensormaps[where]
        if any(stride % 16 for stride in made.strides):
            raise FaultError(
                FindingKind.DESCRIPTOR,
                f"descriptor {made.name}: strides of {made.strides} bytes are no multiples of 16",
            )
        descriptor = Descriptor(
            address=made.base,
            shape=made.shape,
            strides=(*(stride // dtype.itemsize for stride in made.strides), 1),
            dtype=dtype,
            nan_fill=made.nan_fill,
            name=made.name,
        )
        descriptor.check(cta.memory)
        return descriptor

    return Step(reinterpret, op.operands, machine=True)
