"""Flattens the arguments of a Triton launch into the arguments of the compiled function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flash4gen.vgpu.launch import HostDescriptor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def flatten_arguments(
    signature: Mapping[str, Any], metadata: Any, arguments: Sequence[Any]
) -> list[Any]:
    """Return one value for every argument of the compiled function.

    Compile-time constants have no argument, tuples are spelt out, and a descriptor is followed by
    its shape and strides; where the target has no TMA it is a pointer with those instead.

    Args:
        signature: parameter name -> Triton's type string, or a tuple of them.
        metadata: of the compiled kernel.
        arguments: of the launch, in order, constants included.
    """
    has_tma = bool(getattr(metadata, "tensordesc_meta", None))
    return list(_flatten(tuple(signature.values()), arguments, has_tma=has_tma))


def _flatten(kinds: Sequence[Any], values: Sequence[Any], *, has_tma: bool) -> Iterator[Any]:
    for kind, value in zip(kinds, values, strict=True):
        if isinstance(kind, tuple):
            yield from _flatten(kind, value, has_tma=has_tma)
        elif kind == "constexpr":
            continue
        elif kind.startswith("tensordesc"):
            yield from _descriptor(value, has_tma=has_tma)
        else:
            # Wrappers such as triton.reinterpret's keep the tensor they stand for in `base`.
            yield getattr(value, "base", value) if not hasattr(value, "untyped_storage") else value


def _descriptor(value: Any, *, has_tma: bool) -> Iterator[Any]:
    shape, strides = tuple(value.shape), tuple(value.strides)
    nan_fill = value.padding == "nan"
    if has_tma:
        yield HostDescriptor(value.base, shape, strides, nan_fill=nan_fill)
    else:
        yield from (value.base, *shape, *strides, nan_fill, value.round_f32_to_tf32)
    yield from (*shape, *strides)
