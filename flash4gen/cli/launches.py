"""How launches on the checked virtual GPU are shown: to people, and to programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flash4gen.cli.output import print_rich

if TYPE_CHECKING:
    from flash4gen.vgpu import Finding, Launch, Redundant, Report


@dataclass(frozen=True, slots=True)
class Launched:
    """One launch and what was found of it."""

    launch: Launch
    report: Report

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        report = self.report
        return {
            "kernel": self.launch.name,
            "grid": list(self.launch.grid),
            "policy": str(report.policy),
            "seed": report.seed,
            "steps": report.steps,
            "findings": [_finding(finding) for finding in report.findings],
            "redundant": [_redundant(one) for one in report.redundant],
        }

    def print(self) -> None:
        """Print it for people."""
        from rich.table import Table
        from rich.text import Text

        report = self.report
        grid = "x".join(map(str, self.launch.grid))
        head = Text(f"{self.launch.name}", style="bold")
        head.append(f", grid {grid}, in {report.policy}: ", style="not bold")
        head.append(_count(len(report.findings)), style="red" if report.findings else "green")
        rows = Table.grid(padding=(0, 1))
        rows.add_column(no_wrap=True)
        rows.add_column(overflow="fold")
        for finding in report.findings:
            rows.add_row(Text(f"  {finding.kind}", style="red"), finding.message)
            rows.add_row("", Text(_where(finding), style="dim"))
            if finding.other is not None:
                other = finding.other
                parts = (_near(other.source), other.op, other.partition)
                where = ", ".join(filter(None, parts))
                rows.add_row("", Text(f"with {where}", style="dim"))
        for one in report.redundant:
            reason = "orders nothing" if one.executed else "never ran"
            text = f"{one.op}, {_near(one.source)}: {reason}"
            rows.add_row(Text("  redundant", style="cyan"), text)
        print_rich(head, *([rows] if rows.row_count else []))


def _count(number: int) -> str:
    if not number:
        return "nothing found"
    return f"{number} finding{'s' if number > 1 else ''}"


def _where(finding: Finding) -> str:
    program = f"program {finding.program}" if finding.program is not None else ""
    parts = (_near(finding.source), finding.op, finding.partition, program)
    return ", ".join(filter(None, parts))


def _near(source: str) -> str:
    """Return a place in a file as seen from the current folder, where the file lies below it."""
    return source.removeprefix(f"{Path.cwd()}/")


def _finding(finding: Finding) -> dict[str, Any]:
    other = finding.other
    return {
        "kind": str(finding.kind),
        "message": finding.message,
        "source": finding.source,
        "op": finding.op,
        "line": finding.line,
        "partition": finding.partition,
        "program": list(finding.program) if finding.program is not None else None,
        "with": None
        if other is None
        else {
            "source": other.source,
            "op": other.op,
            "line": other.line,
            "partition": other.partition,
        },
    }


def _redundant(one: Redundant) -> dict[str, Any]:
    return {"source": one.source, "op": one.op, "line": one.line, "executed": one.executed}
