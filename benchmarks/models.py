"""Attentions of real models, each proven for three targets: the rungs of their certificates.

`python -m benchmarks.models` climbs the ladder for what `benchmarks/models.csv` lacks, or has of
another text than today's, each in a process of its own, and writes each row at once, so that it can
be interrupted. Names of models and targets may follow: those alone. `--page` writes docs/models.md
from the rows. What a compile takes goes into the record of `benchmarks.matrix`.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.matrix import (
    Compiled,
    add_row,
    built_row,
    is_wanted,
    planned_text,
    processes,
    processor_use,
)
from benchmarks.records import read_record, write_record
from flash4gen.driver import check_spec
from flash4gen.ir import library
from flash4gen.validate.certificate import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parent.parent
ROWS = Path(__file__).with_name("models.csv")
PAGE = ROOT / "docs" / "models.md"
TARGETS = ("h100", "mi300x", "b200")
"""The specs of models name no target, so that it is b200; the other two have other matrix units,
wgmma and MFMA. What takes longest comes last."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A model's kind of layer on a target.

    Attributes:
        model: its name.
        attention: the name of its kind of layer.
        target: name of the target.
        family: of the kernel; empty where there is none.
        passed: rungs of the certificate that passed, with spaces between them.
        other: the rest of them, each with what became of it.
        seconds: of processor time.
        text: first digits of the digest of the module that was planned; empty where none was.
    """

    model: str
    attention: str
    target: str
    family: str
    passed: str
    other: str
    seconds: float
    text: str = ""


def jobs() -> Iterator[tuple[str, str, str]]:
    """Yield (model, attention, target) for every kind of layer."""
    for target in TARGETS:
        for name in library.model_names():
            for model in check_spec(library.spec_path(name)).models:
                for attention in model.attentions:
                    yield name, attention.name, target


def proven(
    name: str, attention: str, target: str, known: str | None = None
) -> tuple[Compiled, Proven] | None:
    """Compile one kind of layer in this process and climb the ladder.

    None if its text is the one that is known.
    """
    from flash4gen.driver.build import subject_of
    from flash4gen.validate import validate_module

    if known is not None and planned_text(name, attention, target) == known:
        return None
    with tempfile.TemporaryDirectory() as folder:
        row, built = built_row(name, attention, target, Path(folder))
        if built is None:
            took = processor_use()[0]
            return row, Proven(name, attention, target, "", "", row.reason, took, row.text)
        subject = subject_of(built)
        rungs = validate_module(subject).rungs
    passed = " ".join(rung.name for rung in rungs if rung.status is Status.PASSED)
    other = "; ".join(f"{it.name}: {it.summary}" for it in rungs if it.status is not Status.PASSED)
    took = processor_use()[0]
    return row, Proven(name, attention, target, row.family, passed, other, took, row.text)


def read_rows(path: Path = ROWS) -> list[Proven]:
    """Return the rows that were recorded."""
    return read_record(Proven, path)


def record(only: Iterable[str]) -> None:
    """Prove what is not recorded yet; of the models and targets in ``only``, if it names any."""
    rows = {(row.attention, row.target): row for row in read_rows()}
    done: set[tuple[str, str]] = set()
    with processes() as pool:
        for name, attention, target in jobs():
            key = attention, target
            if key in done or not is_wanted(name, target, only):
                continue
            done.add(key)
            known = rows[key].text if key in rows else None
            found = pool.apply(proven, (name, attention, target, known))
            if found is not None:
                compiled, rows[key] = found
                add_row(compiled)
                write_record(Proven, rows.values(), ROWS)
                print(*astuple(rows[key]), flush=True)


def page(rows: list[Proven]) -> str:
    """Return docs/models.md."""
    lines = [
        "# Attentions of real models",
        "",
        "Written by `python -m benchmarks.models --page` from benchmarks/models.csv, not by hand.",
        "Each kind of layer has its real heads and widths. It is compiled for the target, and all",
        "rungs of its certificate that need no GPU are climbed, without mutants, at lengths that",
        "the certificate chooses. Seconds are processor time.",
        "",
        f"{len(rows)} proofs. What is not listed has not been proven for this page.",
        "",
        "| model | kind of layer | target | family | passed | else | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.model} | {row.attention} | {row.target} | {row.family or 'none'} "
        f"| {row.passed} | {row.other} | {row.seconds:.0f} |"
        for row in sorted(rows, key=lambda row: (row.model, row.attention, row.target))
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Prove what is missing, or write the page."""
    if arguments == ["--page"]:
        PAGE.write_text(page(read_rows()), encoding="utf-8")
    else:
        record(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
