"""The rungs ``schedule`` and ``compile``: the plan keeps its limits, the binary keeps the plan.

In: a subject. Out: a ``Rung`` each. Neither runs the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.build.limits import limit_findings
from flash4gen.ir.masks import never_true
from flash4gen.schedule.backward.pipeline.model import PipelineSchedule
from flash4gen.schedule.backward.pipeline.plan import pipeline_faults, pipeline_plan
from flash4gen.schedule.blackwell.memory import GROUP
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.schedule.blackwell.registers import FIELDS
from flash4gen.schedule.blackwell.short import one_tile
from flash4gen.schedule.model import Schedule
from flash4gen.schedule.units import MFMA_ROWS, Unit, matrix_unit
from flash4gen.schedule.verify import constraint_names, verify
from flash4gen.validate.blame import Failure
from flash4gen.validate.certificate import Json, Rung, Status
from flash4gen.validate.order import broken_promise, kept_order, unordered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from flash4gen.build.artefact import Artefact, Facts
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import DType
    from flash4gen.schedule.model import AnySchedule
    from flash4gen.validate.subject import Subject

MATRIX_INSTRUCTIONS = {
    2: {Unit.MMA_SYNC: "HMMA", Unit.WGMMA: "HGMMA", Unit.TCGEN05: "UTCHMMA"},
    1: {Unit.MMA_SYNC: "QMMA", Unit.WGMMA: "QGMMA", Unit.TCGEN05: "UTCQMMA"},
}
"""The SASS mnemonics, up to the first dot, of 16-bit products with 32-bit accumulation."""

WAVE_INSTRUCTION = f"v_mfma_f32_{MFMA_ROWS}x{MFMA_ROWS}"
"""How AMD's mnemonic of such a product begins; its depth and the type of its operands follow."""

PTX_INSTRUCTIONS = {
    Unit.MMA_SYNC: "mma.sync",
    Unit.WGMMA: "wgmma.mma_async",
    Unit.TCGEN05: "tcgen05.mma",
}
"""The same in PTX."""

LEAST_PRODUCTS = 2
"""Matrix products of a forward kernel: q · k and p · v."""


def schedule_rung(subject: Subject, module: ModuleType) -> Rung:
    """Check the schedule against the target, and module and binary against the schedule.

    Args:
        subject: what is validated.
        module: its module, imported: the constants are what its launcher uses.
    """
    schedule = subject.choice.schedule
    failures = [
        Failure(reason=f"{violation.constraint}: {violation.reason}")
        for violation in verify(schedule, subject.hardware, subject.core)
    ]
    failures += [Failure(reason=reason) for reason in _backward_faults(subject)]
    failures += [Failure(reason=reason) for reason in _departures(subject, module)]
    failures += [
        Failure(reason=reason)
        for planned, kernel in _kernels(subject)
        for reason in _excess(planned, kernel.facts)
    ]
    planned, actual = len(_planned(schedule)), len(subject.artefact.kernels)
    if planned != actual:
        reason = f"{planned} kernels were planned, the module launches {actual}"
        failures.append(Failure(reason=reason))
    constraints = constraint_names(schedule)
    first, *others = (_use(planned, kernel.facts) for planned, kernel in _kernels(subject))
    details: dict[str, Json] = {"constraints": list(constraints), **first}
    if others:
        details["short_queries"] = others[0]
    summary = f"{len(constraints)} constraints hold, memory stays within the plan"
    return _rung("schedule", summary, details, failures)


def _backward_faults(subject: Subject) -> Iterator[str]:
    """Yield what is wrong with the plan of a backward pipeline, and what exceeds it."""
    choice = subject.choice.backward
    if choice is None or not isinstance(choice.schedule, PipelineSchedule):
        return
    for violation in pipeline_faults(choice.schedule, subject.hardware):
        yield f"backward: {violation.constraint}: {violation.reason}"
    plan = pipeline_plan(choice.schedule)
    for kernel in subject.artefact.backward:
        if choice.schedule_of(kernel.kernel) != choice.schedule:
            continue
        for what, unit, planned, actual in (
            ("shared memory", "bytes", plan.smem_bytes, kernel.facts.smem_bytes),
            ("tensor memory", "columns", plan.tmem_columns, kernel.facts.tmem_columns),
        ):
            if actual > planned:
                yield f"{kernel.kernel}: {actual:,} {unit} of {what}, {planned:,} were planned"


def compile_rung(subject: Subject) -> Rung:
    """Check the binary against the limits of the target, and that it uses the matrix unit."""
    unit = _unit(subject.choice.schedule, subject.hardware)
    failures = [
        Failure(reason=reason)
        for kernel in subject.artefact.kernels
        for reason in _binary_faults(subject, kernel, unit)
    ]
    facts = subject.artefact.facts
    wanted, found = _products(subject.artefact, unit, subject.attention.dtype)
    spills = f"{facts.spill_bytes} bytes spilled" if facts.spill_bytes else "no spills"
    summary = (
        f"{facts.registers} registers, {spills}, {facts.smem_bytes:,} bytes of shared memory, "
        f"{found} {wanted}"
    )
    if facts.wave is not None:
        summary += f", {facts.wave.waves_per_simd} waves per SIMD"
    details: dict[str, Json] = {
        "kernel": subject.artefact.kernel,
        "matrix_instruction": wanted,
        "count": found,
        "spill_bytes": facts.spill_bytes,
    }
    for kernel in subject.artefact.backward:
        found_limits = limit_findings(kernel.facts, subject.hardware, None)
        failures += [Failure(reason=f"{kernel.kernel}: {it.message}") for it in found_limits]
    if subject.attention.deterministic:
        adding = unordered((*subject.artefact.kernels, *subject.artefact.backward))
        failures += [Failure(reason=broken_promise(adding))] if adding else []
        kept = kept_order((*subject.artefact.kernels, *subject.artefact.backward))
        details["deterministic"] = kept if not adding else f"{', '.join(adding)} add in any order"
        summary += "; deterministic"
    if subject.artefact.backward:
        details["backward"] = {
            kernel.kernel: {
                "registers": kernel.facts.registers,
                "spill_bytes": kernel.facts.spill_bytes,
                "smem_bytes": kernel.facts.smem_bytes,
            }
            for kernel in subject.artefact.backward
        }
        summary += f"; {len(subject.artefact.backward)} backward kernels"
    return _rung("compile", summary, details, failures)


def _kernels(subject: Subject) -> list[tuple[AnySchedule, Artefact]]:
    """Return each kernel that is there with its schedule: for short queries there is another."""
    planned = _planned(subject.choice.schedule)
    return list(zip(planned, subject.artefact.kernels, strict=False))


def _planned(schedule: AnySchedule) -> list[AnySchedule]:
    short = one_tile(schedule) if isinstance(schedule, BlackwellSchedule) else None
    return [schedule] if short is None else [schedule, short]


def _excess(schedule: AnySchedule, facts: Facts) -> Iterator[str]:
    """Yield what a kernel uses more of than was planned."""
    memory = (
        ("shared memory", "bytes", schedule.smem_bytes, facts.smem_bytes),
        ("tensor memory", "columns", schedule.tmem_columns, facts.tmem_columns),
    )
    for what, unit, planned, actual in memory:
        if actual > planned:
            yield f"{actual:,} {unit} of {what} are used, {planned:,} were planned"


def _use(schedule: AnySchedule, facts: Facts) -> dict[str, Json]:
    return {
        "smem_bytes": {"planned": schedule.smem_bytes, "used": facts.smem_bytes},
        "tmem_columns": {"planned": schedule.tmem_columns, "used": facts.tmem_columns},
        "registers": {"planned": _registers(schedule), "used": facts.registers},
    }


def _binary_faults(subject: Subject, kernel: Artefact, unit: Unit) -> Iterator[str]:
    """Yield what is wrong with a binary: its limits, and that it does not use the matrix unit."""
    yield from (it.message for it in limit_findings(kernel.facts, subject.hardware, None))
    if not kernel.cubin:
        yield "there is no binary"
    wanted, found = _products(kernel, unit, subject.attention.dtype)
    # Where no query ever sees a key there is no product to compute, and Triton finds that out.
    if found < LEAST_PRODUCTS and not never_true(subject.attention.mask):
        there = ", ".join(name for name, _ in kernel.facts.tensor_instructions) or "none"
        yield f"{found} {wanted} instructions where {unit} should run (matrix ones: {there})"


def _products(kernel: Artefact, unit: Unit, dtype: DType) -> tuple[str, int]:
    """Return which matrix instructions a kernel should have, and how many of them there are."""
    if unit is Unit.MFMA:
        counts = kernel.facts.tensor_instructions
        found = sum(n for name, n in counts if name.startswith(f"{WAVE_INSTRUCTION}x"))
        return WAVE_INSTRUCTION, found
    wanted = MATRIX_INSTRUCTIONS[dtype.bytes][unit]
    if not kernel.sass:
        # ptxas knows the architecture before nvdisasm does: what it was given says as much.
        name = PTX_INSTRUCTIONS[unit]
        return f"{name} in PTX, which is not disassembled", kernel.ptx.count(name)
    instructions = kernel.facts.tensor_instructions
    return wanted, sum(n for name, n in instructions if name.partition(".")[0] == wanted)


def _departures(subject: Subject, module: ModuleType) -> Iterator[str]:
    """Yield constants of the module that are not those of attention, target and schedule."""
    schedule, attention, hardware = subject.choice.schedule, subject.attention, subject.hardware
    wanted = {
        "HEADS": attention.heads,
        "KV_HEADS": attention.kv_heads,
        "HEAD_DIM": attention.head_dim,
        "VALUE_DIM": attention.value_dim,
        "TILE_Q": schedule.tile_q if isinstance(schedule, Schedule) else schedule.query_rows,
        "TILE_K": schedule.tile_k,
        "TARGET": (hardware.backend, hardware.arch),
    }
    for name, value in wanted.items():
        constant = getattr(module, name)
        actual = getattr(constant, "value", constant)
        if actual != value:
            yield f"the module's {name} is {actual}, not {value}"
    options = module.OPTIONS
    for name, value in _options(schedule).items():
        if options[name] != value:
            yield f"the module's {name} is {options[name]}, not {value}"


def _options(schedule: AnySchedule) -> dict[str, int]:
    """Return the options that Triton compiles with: warps of all, or of the default partition."""
    if isinstance(schedule, Schedule):
        return {"num_warps": schedule.warps, "num_stages": schedule.stages}
    return {"num_warps": GROUP, "num_ctas": schedule.ctas}


def _registers(schedule: AnySchedule) -> Json:
    """Return the planned registers per thread, by role where roles differ."""
    if isinstance(schedule, Schedule):
        return schedule.registers
    return {name: getattr(schedule, name) for name in FIELDS}


def _unit(schedule: AnySchedule, hardware: Hardware) -> Unit:
    if isinstance(schedule, Schedule):
        return matrix_unit(hardware, schedule.tile_q, schedule.warps)
    return Unit.TCGEN05


def _rung(name: str, summary: str, details: dict[str, Json], failures: list[Failure]) -> Rung:
    if not failures:
        return Rung(name, Status.PASSED, summary, details)
    details["failures"] = [failure.to_json() for failure in failures]
    return Rung(name, Status.FAILED, failures[0].reason, details)
