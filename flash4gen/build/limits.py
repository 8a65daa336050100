"""What a compiled kernel needs against what its target has: Triton compiles what cannot launch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.collect import Findings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.build.artefact import Facts
    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.ir.hardware import Hardware
    from flash4gen.source import Span


def limit_findings(facts: Facts, hardware: Hardware, at: Span | None) -> tuple[Diagnostic, ...]:
    """Return an error for each limit of the target that the kernel exceeds, none if it can launch.

    Args:
        facts: of the compiled kernel.
        hardware: the target.
        at: the item of the spec that the kernel comes from.
    """
    findings = Findings()
    for what, needed, limit in _exceeded(facts, hardware):
        findings.error(
            Code.OVER_LIMIT,
            f"the kernel for {hardware.name} needs {needed} of {what}, {limit:,} are there",
            at,
            notes=[f"{hardware.doc}: {_source(hardware, what)}"],
            helps=["pin a smaller tile_q, tile_k or stages in a schedule { } block"],
        )
    return findings.in_order()


def over_limit(facts: Facts, hardware: Hardware) -> str:
    """Return the first limit of the target that a kernel exceeds, in words; else an empty text."""
    return next((f"needs {it} of {what}" for what, it, _ in _exceeded(facts, hardware)), "")


def _exceeded(facts: Facts, hardware: Hardware) -> Iterator[tuple[str, str, int]]:
    """Yield (what, what is needed with its unit, what there is) for each limit exceeded."""
    file = facts.registers * facts.threads
    budgets = (
        ("shared memory", "bytes", facts.smem_bytes, hardware.smem_per_block),
        ("tensor memory", "columns", facts.tmem_columns, hardware.tmem_columns),
        ("registers", "per thread", facts.registers, hardware.registers_per_thread),
        ("threads", "per block", facts.threads, hardware.threads_per_block),
        ("the register file", "registers", file, hardware.registers_per_sm),
    )
    for what, unit, needed, limit in budgets:
        if needed > limit:
            yield what, f"{needed:,} {unit}", limit


def _source(hardware: Hardware, what: str) -> str:
    field = {
        "shared memory": "smem_per_block",
        "tensor memory": "tmem_columns",
        "registers": "registers_per_thread",
        "threads": "threads_per_block",
        "the register file": "registers_per_sm",
    }[what]
    return f"{field} from {dict(hardware.sources).get(field, 'an unnamed source')}"
