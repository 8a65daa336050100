"""``hardware`` items: fields to one ``Hardware``, every number with its unit and its source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.diagnostics.suggest import did_you_mean, one_of
from flash4gen.ir.hardware import FEATURES_OF, Arch, Backend, Feature, Hardware
from flash4gen.ir.lower_fields import Fields, check_item_name, gather
from flash4gen.syntax import ast

if TYPE_CHECKING:
    from flash4gen.diagnostics.collect import Findings

_BYTES = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
_BANDWIDTH = {"GB/s": 10**9, "TB/s": 10**12}
_CLOCK = {"MHz": 1, "GHz": 10**3}


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a number may be.

    Attributes:
        least: smallest value that makes sense.
        most: largest value that makes sense.
        units: unit → factor to the unit of ``Hardware``; empty for a plain count.
        needed: whether a number without a unit would be ambiguous.
    """

    least: int
    most: int
    units: dict[str, int]
    needed: bool = False


def _count(least: int, most: int) -> Quantity:
    return Quantity(least, most, {})


NUMBERS: dict[str, Quantity] = {
    "arch": _count(80, 199),
    "warp_size": _count(32, 64),
    "sms": _count(1, 1024),
    "clock_mhz": Quantity(100, 10_000, _CLOCK),
    "mma_flops": _count(64, 2**20),
    "exp2_rate": _count(1, 4096),
    "fma_rate": _count(1, 4096),
    "smem_read_rate": _count(1, 4096),
    "hbm_bandwidth": Quantity(10**9, 10**15, _BANDWIDTH, needed=True),
    "l2_bytes": Quantity(2**10, 2**40, _BYTES),
    "registers_per_sm": _count(2**10, 2**24),
    "registers_per_thread": _count(32, 1024),
    "threads_per_block": _count(32, 2**16),
    "warps_per_sm": _count(1, 1024),
    "smem_per_sm": Quantity(2**10, 2**30, _BYTES),
    "smem_per_block": Quantity(2**10, 2**30, _BYTES),
    "smem_reserved": Quantity(0, 2**20, _BYTES),
    "tmem_columns": _count(0, 2**16),
}
"""Every number of a hardware item and what it may be."""

FIELDS = ("doc", "backend", *NUMBERS, "features")
BACKENDS = tuple(backend.value for backend in Backend)
PROCESSORS = ("gfx942", "gfx950")
"""AMD's architectures, as LLVM names them: those whose waves have 64 lanes and matrix cores that
Triton's products use. The portable kernel is known to fit them."""


def lower_hardware(
    item: ast.Hardware, findings: Findings, base: Hardware | None = None
) -> Hardware | None:
    """Return the GPU that an item describes, or None after an error.

    Args:
        item: the item as written.
        findings: where to report.
        base: the GPU that it extends; what the item leaves out is as there, sources included.
    """
    before = findings.errors
    check_item_name(item.name, findings)
    fields = gather(item.name, item.fields, FIELDS, findings, {})
    numbers = {
        name: _number(name, field, findings)
        for name, field in fields.by_name.items()
        if name in NUMBERS
    }
    features = _features(fields, findings)
    backend = _backend(fields, findings)
    doc = fields.text("doc")
    _check_sources(fields, findings)
    if base is None:
        _check_complete(item, fields, findings)
    if findings.errors > before or item.damaged:
        return None
    sources = {name: field.source.value for name, field in fields.by_name.items() if field.source}
    written: dict[str, Any] = {"doc": doc, "backend": backend, "features": features, **numbers}
    written = {name: value for name, value in written.items() if name in fields.by_name}
    if base is None:
        result = Hardware(
            name=item.name.text, sources=tuple(sources.items()), span=item.name.span, **written
        )
    else:
        merged = tuple((dict(base.sources) | sources).items())
        result = replace(base, name=item.name.text, sources=merged, span=item.name.span, **written)
    _check_consistent(result, item, fields, findings)
    return None if findings.errors > before else result


def _check_sources(fields: Fields, findings: Findings) -> None:
    for name, field in fields.by_name.items():
        if field.source is None and name not in ("doc", "backend"):
            findings.error(
                Code.NO_SOURCE,
                f"`{name}` has no source",
                field.span,
                notes=("a number nobody can check is a guess",),
                helps=(f'write `{name} = {field.values_span.text} from "where it is written"`',),
            )
        elif field.source is not None and not field.source.value.strip():
            findings.error(Code.NO_SOURCE, f"the source of `{name}` is empty", field.source.span)


def _check_complete(item: ast.Hardware, fields: Fields, findings: Findings) -> None:
    missing = [name for name in FIELDS if fields.get(name) is None]
    if missing and not item.damaged:
        findings.error(
            Code.MISSING_NUMBER,
            f"hardware `{item.name.text}` lacks {', '.join(f'`{name}`' for name in missing)}",
            item.name.span,
            helps=(f"add `{missing[0]} = …{_EXAMPLES.get(missing[0], f' from {_QUOTE}')}`",),
        )


_QUOTE = '"where it is written"'
_EXAMPLES = {"doc": "", "backend": ""}


def _number(name: str, field: ast.Field, findings: Findings) -> Arch | None:
    kind = NUMBERS[name]
    value = field.values[0]
    if name == "arch" and isinstance(value, ast.Name) and len(field.values) == 1:
        return _processor(value, findings)
    if len(field.values) != 1 or not isinstance(value, ast.Number | ast.Quantity):
        findings.error(Code.BAD_HARDWARE, f"`{name}` is a number without a sign", field.values_span)
        return None
    factor = 1
    if isinstance(value, ast.Quantity):
        if value.unit not in kind.units:
            _wrong_unit(name, value, findings)
            return None
        factor = kind.units[value.unit]
    elif kind.needed:
        findings.error(
            Code.WRONG_UNIT,
            f"`{name}` needs a unit",
            value.span,
            helps=(f"write a number in {one_of(kind.units)}",),
        )
        return None
    return _in_range(name, value, value.value * factor, findings)


def _processor(value: ast.Name, findings: Findings) -> str | None:
    if value.text in PROCESSORS:
        return value.text
    findings.error(
        Code.BAD_HARDWARE,
        f"`arch` is a compute capability such as 90, or {one_of(PROCESSORS)}",
        value.span,
        helps=did_you_mean(value.text, PROCESSORS),
    )
    return None


def _wrong_unit(name: str, value: ast.Quantity, findings: Findings) -> None:
    units = NUMBERS[name].units
    findings.error(
        Code.WRONG_UNIT,
        f"`{name}` is not measured in {value.unit}",
        value.span,
        helps=(f"write a number in {one_of(units)}" if units else "write the number alone",),
    )


def _in_range(
    name: str, value: ast.Number | ast.Quantity, number: int | float, findings: Findings
) -> int | None:
    kind = NUMBERS[name]
    if not kind.least <= number <= kind.most:
        findings.error(
            Code.BAD_HARDWARE, f"`{name}` must be between {kind.least} and {kind.most}", value.span
        )
        return None
    whole = round(number)
    # 3.35 TB/s has no exact float; what is off by more than rounding is a fraction.
    if abs(number - whole) > 1e-9 * whole:
        findings.error(Code.BAD_HARDWARE, f"`{name}` is a whole number", value.span)
        return None
    return whole


def _features(fields: Fields, findings: Findings) -> frozenset[Feature]:
    value = fields.single("features")
    if value is None:
        return frozenset()
    if not isinstance(value, ast.Sequence):
        findings.error(
            Code.BAD_HARDWARE,
            "`features` is a list",
            value.span,
            helps=("write `features = [cp_async, tma]`",),
        )
        return frozenset()
    known = [feature.value for feature in Feature]
    found: set[Feature] = set()
    for item in value.items:
        if isinstance(item, ast.Name) and item.text in known:
            found.add(Feature(item.text))
            continue
        findings.error(
            Code.UNKNOWN_FEATURE,
            f"unknown feature `{item.span.text}`",
            item.span,
            notes=(f"known features: {', '.join(known)}",),
            helps=did_you_mean(item.span.text, known),
        )
    return frozenset(found)


def _backend(fields: Fields, findings: Findings) -> str:
    value = fields.single("backend")
    if isinstance(value, ast.Name) and value.text in BACKENDS:
        return value.text
    if value is not None:
        findings.error(
            Code.BAD_HARDWARE,
            f"`backend` is {one_of(BACKENDS)}",
            value.span,
            notes=("`cuda` is for GPUs of NVIDIA, `hip` for those of AMD",),
            helps=did_you_mean(value.span.text, BACKENDS),
        )
    return ""


_ARCHES = {Backend.CUDA: "compute capabilities such as 90", Backend.HIP: one_of(PROCESSORS)}
_LANES = {Backend.CUDA: 32, Backend.HIP: 64}


Check: TypeAlias = tuple[str, str, bool, str]
"""Two fields, whether they agree, and what is wrong if they do not."""


def _backend_checks(hardware: Hardware) -> tuple[Check, ...]:
    """Return what must hold of a GPU of one vendor; where the vendor is unclear, that alone."""
    backend = Backend(hardware.backend)
    agree = isinstance(hardware.arch, str) == (backend is Backend.HIP)
    if not agree:
        return (("arch", "backend", False, f"`{backend}` has {_ARCHES[backend]}"),)
    foreign = sorted(hardware.features - FEATURES_OF[backend])
    lanes = _LANES[backend]
    return (
        ("features", "backend", not foreign, f"`{backend}` has no {one_of(foreign)}"),
        (
            "features",
            "backend",
            hardware.has(Feature.MFMA) == (backend is Backend.HIP),
            "`hip` and `mfma` go together: kernels have no other products there",
        ),
        (
            "warp_size",
            "backend",
            hardware.warp_size == lanes,
            f"kernels for `{backend}` have warps of {lanes} lanes",
        ),
    )


def _check_consistent(
    hardware: Hardware, item: ast.Hardware, fields: Fields, findings: Findings
) -> None:
    """Report numbers that cannot hold of one GPU."""
    has_tmem = hardware.tmem_columns > 0
    checks = (
        *_backend_checks(hardware),
        (
            "smem_per_block",
            "smem_per_sm",
            hardware.smem_per_block + hardware.smem_reserved <= hardware.smem_per_sm,
            "a block with its reserve is larger than an SM",
        ),
        (
            "threads_per_block",
            "warps_per_sm",
            hardware.threads_per_block <= hardware.warps_per_sm * hardware.warp_size,
            "a block has more threads than an SM",
        ),
        (
            "tmem_columns",
            "features",
            has_tmem == hardware.has(Feature.TCGEN05),
            "tensor memory and `tcgen05` go together",
        ),
    )
    for name, other, holds, message in checks:
        if holds:
            continue
        written = [field for field in (fields.get(name), fields.get(other)) if field is not None]
        first, *second = [field.values_span for field in written] or [item.name.span]
        findings.error(
            Code.INCONSISTENT,
            f"`{name}` and `{other}` contradict each other",
            Label(first, message),
            also=[Label(span) for span in second],
            notes=[] if second or item.base is None else [f"the other is {item.base.text}'s"],
        )
