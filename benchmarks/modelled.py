"""Prints what the model of time says beside what this project measured on an H100.

`h100.csv` holds the measurements (`docs/measured.md` says how they were taken: batch · length =
32,768). No constant of the model was fitted to them. What runs on the clock are today's modules;
those that were measured had other loads (`docs/time_accuracy.md`).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flash4gen.driver.simulate import Asked, simulate_spec

ROOT = Path(__file__).parent.parent
MEASURED = Path(__file__).with_name("h100.csv")
TOKENS = 32768


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: causal halves count once, as pairs that are visible."""

    spec: str
    length: int
    tflops: float

    @property
    def batch(self) -> int:
        """Sequences of the launch."""
        return TOKENS // self.length


def measured() -> list[Row]:
    """Return all measurements, in the order of the file."""
    with MEASURED.open(encoding="utf-8", newline="") as file:
        return [
            Row(row["spec"], int(row["length"]), float(row["tflops"]))
            for row in csv.DictReader(file)
        ]


def modelled(row: Row) -> float:
    """Return the modelled TFLOPS of the same launch, at the burst clock."""
    path = ROOT / "specs" / f"{row.spec}.attn"
    asked = Asked(row.length, row.batch, seeds=0)
    (simulated,), problems = simulate_spec(path, "h100", asked, out=ROOT / "generated")
    assert not problems, problems
    return simulated.timed.whole.speeds[0].tflops


def main() -> None:
    """Print the table."""
    table = Table("spec", "length", "measured", "modelled", "off")
    for row in measured():
        rate = modelled(row)
        off = f"{rate / row.tflops - 1:+.0%}"
        table.add_row(row.spec, f"{row.length:,}", f"{row.tflops:.0f}", f"{rate:.0f}", off)
    Console().print(table)


if __name__ == "__main__":
    main()
