"""What a compile or a validation came to, as a report for people and as plain data.

Takes results of the driver, prints with rich, decides nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flash4gen.cli.output import print_rich
from flash4gen.driver.model import emitted_for
from flash4gen.schedule.text import shape_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table

    from flash4gen.build.artefact import Facts
    from flash4gen.cli.output import Output
    from flash4gen.driver import CompileResult, IndexResult, ModuleResult
    from flash4gen.ir.hardware import Hardware
    from flash4gen.validate.certificate import Certificate

NOTHING = "nothing to compile: there is no attention in these specs"
_STYLES = {"passed": "green", "failed": "bold red", "not run": "yellow"}


def report(results: Sequence[CompileResult], output: Output, emitted: Sequence[str]) -> None:
    """Print what became of a command's specs, and end the command.

    Args:
        results: of each spec.
        output: of the command.
        emitted: extensions of the files that were asked for beside each module.
    """
    diagnostics = [found for result in results for found in result.diagnostics]
    if output.json:
        listed = [_as_object(one, emitted) for result in results for one in result.modules]
        indexes = [_index_object(one) for result in results for one in result.indexes]
        output.document(diagnostics, modules=listed, indexes=indexes)
    else:
        for result in results:
            for module in result.modules:
                # A spec with an error writes nothing at all.
                _print(module, _files(module, emitted) if result.ok else ["nothing was written"])
            for index in result.indexes:
                _print_index(index)
    output.diagnostics(diagnostics)
    if not diagnostics and not any(result.modules or result.indexes for result in results):
        output.line(NOTHING)
    output.end(ok=all(result.ok for result in results))


def _print(module: ModuleResult, files: Sequence[str]) -> None:
    from rich.text import Text

    plan = module.plan
    title = f"{plan.attention.name} for {plan.hardware.name}, {plan.hardware.doc}"
    print_rich("", Text(title, style="bold"), _block(module))
    for n, file in enumerate(files):
        # Not part of the block: a path that is broken into lines is of no use.
        print(f"  {'files' if n == 0 else '':<9}  {file}")


def _print_index(index: IndexResult) -> None:
    from rich.text import Text

    model, hardware = index.plan.model, index.plan.hardware
    title = f"{model.name} for {hardware.name}: {len(model.layers)} layers, {model.pattern}"
    print_rich("", Text(title, style="bold"))
    print(f"  {'files':<9}  {index.path} ({'written' if index.changed else 'unchanged'})")


def _index_object(index: IndexResult) -> dict[str, Any]:
    return {
        "name": index.plan.model.name,
        "target": index.plan.hardware.name,
        "path": str(index.path),
        "changed": index.changed,
        "layers": list(index.plan.model.layers),
    }


def _as_object(module: ModuleResult, emitted: Sequence[str]) -> dict[str, Any]:
    """Return a module's result as plain data."""
    kernels = module.artefact.kernels if module.artefact else ()
    facts = [_facts(kernel.facts) for kernel in kernels]
    certificate = module.certificate
    return {
        "name": module.rendered.name,
        "target": module.rendered.target,
        "path": str(module.path),
        "changed": module.changed,
        "files": _paths(module, emitted),
        "schedule": asdict(module.plan.choice.schedule),
        "facts": facts[0] if facts else None,
        "short_facts": facts[1] if facts[1:] else None,
        "certificate": certificate and _certificate(certificate),
    }


def _facts(facts: Facts) -> dict[str, Any]:
    return asdict(facts) | {"tensor_instructions": dict(facts.tensor_instructions)}


def schedule_line(module: ModuleResult) -> str:
    """Return the chosen schedule in one line."""
    schedule = module.plan.choice.schedule
    return f"{schedule.family}: {shape_text(schedule)}"


def _block(module: ModuleResult) -> Table:
    grid = _grid()
    grid.add_row("schedule", schedule_line(module))
    if module.artefact is not None:
        for name, text in _fact_lines(module.artefact.facts, module.plan.hardware):
            grid.add_row(name, text)
    if module.certificate is None:
        grid.add_row("proof", "not run: --no-validate")
    else:
        grid.add_row("proof", _ladder(module.certificate))
    return grid


def _grid() -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2), pad_edge=True)
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _fact_lines(facts: Facts, hardware: Hardware) -> Iterable[tuple[str, str]]:
    spills = f"{facts.spill_bytes:,} bytes spilled" if facts.spill_bytes else "no spills"
    yield "registers", f"{facts.registers} of {hardware.registers_per_thread} per thread, {spills}"
    if facts.wave is not None:
        wave = facts.wave
        yield (
            "waves",
            f"{wave.waves_per_simd} per SIMD; {wave.accumulation_registers} of the registers for "
            f"accumulation; {wave.scalar_registers} scalar ones, {wave.scalar_spills} spilled",
        )
    memory = f"shared {facts.smem_bytes:,} of {hardware.smem_per_block:,} bytes"
    if hardware.tmem_columns:
        memory += f"; tensor {facts.tmem_columns} of {hardware.tmem_columns} columns"
    yield "memory", memory
    if not facts.instructions:
        yield "code", "not disassembled: nvdisasm does not know the architecture yet"
        return
    tensor = ", ".join(f"{count} {name}" for name, count in facts.tensor_instructions)
    yield (
        "code",
        f"{facts.instructions:,} instructions, of these {tensor or 'none for tensor cores'}",
    )


def _ladder(certificate: Certificate) -> Table:
    from rich.table import Table
    from rich.text import Text

    ladder = Table.grid(padding=(0, 2))
    ladder.add_column(no_wrap=True)
    ladder.add_column(no_wrap=True)
    ladder.add_column(overflow="fold")
    for rung in certificate.rungs:
        status = Text(rung.status, style=_STYLES[rung.status])
        ladder.add_row(rung.name, status, rung.summary.removeprefix(f"{rung.status}: "))
    return ladder


def _files(module: ModuleResult, emitted: Sequence[str]) -> list[str]:
    first, *others = _paths(module, emitted)
    return [f"{first} ({'written' if module.changed else 'unchanged'})", *others]


def _paths(module: ModuleResult, emitted: Sequence[str]) -> list[str]:
    suffixes = [".py", *([".certificate.json"] if module.certificate else [])]
    kernels = module.artefact.kernels if module.artefact else ()
    parts = ("", ".short")[: len(kernels)]
    there = emitted_for(module.plan.hardware, emitted)
    suffixes += [f"{part}.{kind}" for kind in there for part in parts]
    return [str(module.path.with_suffix(suffix)) for suffix in suffixes]


def _certificate(certificate: Certificate) -> dict[str, Any]:
    return {
        "passed": certificate.passed,
        "rungs": [
            {"name": rung.name, "status": str(rung.status), "summary": rung.summary}
            for rung in certificate.rungs
        ],
    }
