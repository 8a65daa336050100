"""The rungs ``schedule`` and ``compile``: the plan keeps its limits, the binary keeps the plan.

In: a subject. Out: a ``Rung`` each. Neither runs the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.build.limits import limit_findings
from flash4gen.ir.masks import never_true
from flash4gen.schedule.blackwell.memory import GROUP
from flash4gen.schedule.blackwell.registers import FIELDS
from flash4gen.schedule.model import Schedule
from flash4gen.schedule.units import Unit, matrix_unit
from flash4gen.schedule.verify import constraint_names, verify
from flash4gen.validate.blame import Failure
from flash4gen.validate.certificate import Json, Rung, Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.model import AnySchedule
    from flash4gen.validate.subject import Subject

MATRIX_INSTRUCTIONS = {Unit.MMA_SYNC: "HMMA", Unit.WGMMA: "HGMMA", Unit.TCGEN05: "UTCHMMA"}
"""The SASS mnemonics, up to the first dot, of 16-bit products with 32-bit accumulation."""

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
    schedule, facts = subject.choice.schedule, subject.artefact.facts
    failures = [
        Failure(reason=f"{violation.constraint}: {violation.reason}")
        for violation in verify(schedule, subject.hardware, subject.attention)
    ]
    failures += [Failure(reason=reason) for reason in _departures(subject, module)]
    memory = (
        ("shared memory", "bytes", schedule.smem_bytes, facts.smem_bytes),
        ("tensor memory", "columns", schedule.tmem_columns, facts.tmem_columns),
    )
    for what, unit, planned, actual in memory:
        if actual > planned:
            reason = f"{actual:,} {unit} of {what} are used, {planned:,} were planned"
            failures.append(Failure(reason=reason))
    constraints = constraint_names(schedule)
    details: dict[str, Json] = {
        "constraints": list(constraints),
        "smem_bytes": {"planned": schedule.smem_bytes, "used": facts.smem_bytes},
        "tmem_columns": {"planned": schedule.tmem_columns, "used": facts.tmem_columns},
        "registers": {"planned": _registers(schedule), "used": facts.registers},
    }
    summary = f"{len(constraints)} constraints hold, memory stays within the plan"
    return _rung("schedule", summary, details, failures)


def compile_rung(subject: Subject) -> Rung:
    """Check the binary against the limits of the target, and that it uses the matrix unit."""
    facts, hardware, schedule = subject.artefact.facts, subject.hardware, subject.choice.schedule
    failures = [Failure(reason=it.message) for it in limit_findings(facts, hardware, None)]
    if not subject.artefact.cubin:
        failures.append(Failure(reason="there is no binary"))
    unit = _unit(schedule, hardware)
    wanted = MATRIX_INSTRUCTIONS[unit]
    instructions = dict(facts.tensor_instructions)
    found = sum(n for name, n in instructions.items() if name.partition(".")[0] == wanted)
    if not subject.artefact.sass:
        # ptxas knows the architecture before nvdisasm does: what it was given says as much.
        wanted = f"{PTX_INSTRUCTIONS[unit]} in PTX, which is not disassembled"
        found = subject.artefact.ptx.count(PTX_INSTRUCTIONS[unit])
    # Where no query ever sees a key there is no product to compute, and Triton finds that out.
    if found < LEAST_PRODUCTS and not never_true(subject.attention.mask):
        there = ", ".join(instructions) or "none"
        reason = f"{found} {wanted} instructions where {unit} should run (matrix ones: {there})"
        failures.append(Failure(reason=reason))
    spills = f"{facts.spill_bytes} bytes spilled" if facts.spill_bytes else "no spills"
    summary = (
        f"{facts.registers} registers, {spills}, {facts.smem_bytes:,} bytes of shared memory, "
        f"{found} {wanted}"
    )
    details: dict[str, Json] = {
        "kernel": subject.artefact.kernel,
        "matrix_instruction": wanted,
        "count": found,
        "spill_bytes": facts.spill_bytes,
    }
    return _rung("compile", summary, details, failures)


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
