"""The certificate: what was checked about a generated module, what was seen, what was not run.

Pure data with a JSON form that round-trips: the same module gives the same text on any day and in
any folder.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

FORMAT = 1
"""Raised whenever a field of the JSON form changes its name or meaning."""

REQUIRED = ("text", "schedule", "compile", "function")
"""The rungs that every module must pass; the others may stay unclimbed, and say so."""

_LINE = 100
"""Objects of scalars that fit into so many characters stand on one line."""

_ROW = 260
"""The same for the entries of a list: a case is a row of a table."""


class Status(StrEnum):
    """How a rung ended. NOT_RUN is neither good nor bad; it is never shown as good."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung of the ladder.

    Attributes:
        name: ``text``, ``schedule``, ``compile``, ``function``, ``gradients`` and ``determinism``
            where there is a backward pass, ``concurrency`` or ``device``.
        status: how it ended.
        summary: one line: what was run and what was seen, or why it was not run.
        details: the same in full, as JSON values; a failed rung has ``failures``, a list of
            objects with a ``reason`` and, where known, ``module_line``, ``function`` and ``spec``.
    """

    name: str
    status: Status
    summary: str
    details: Mapping[str, Json] = field(default_factory=dict)

    @property
    def failures(self) -> tuple[dict[str, Json], ...]:
        """The reasons of a failed rung."""
        found = self.details.get("failures")
        return tuple(it for it in found if isinstance(it, dict)) if isinstance(found, list) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Everything known about one module.

    Attributes:
        name: of the function, and of the module file without its ending.
        target: name of the hardware item.
        versions: of flash4gen, torch and triton.
        provenance: digests of what the module follows from.
        schedule: the fields of its schedule.
        facts: registers, memory and instructions of the compiled kernel; under ``short_queries``
            those of the kernel for short queries, where there is one.
        rungs: bottom first.
    """

    name: str
    target: str
    versions: Mapping[str, Json]
    provenance: Mapping[str, Json]
    schedule: Mapping[str, Json]
    facts: Mapping[str, Json]
    rungs: tuple[Rung, ...]

    @property
    def passed(self) -> bool:
        """Whether no rung failed and every required one passed."""
        status = {rung.name: rung.status for rung in self.rungs}
        climbed = all(status.get(name) is Status.PASSED for name in REQUIRED)
        return climbed and Status.FAILED not in status.values()

    def rung(self, name: str) -> Rung:
        """Return a rung by its name.

        Raises:
            KeyError: there is none.
        """
        for rung in self.rungs:
            if rung.name == name:
                return rung
        raise KeyError(name)

    def to_json(self) -> str:
        """Return the JSON form: indented, stable, ending with a line end."""
        rungs: list[Json] = [
            {
                "name": rung.name,
                "status": rung.status.value,
                "summary": rung.summary,
                "details": dict(rung.details),
            }
            for rung in self.rungs
        ]
        value: dict[str, Json] = {
            "format": FORMAT,
            "name": self.name,
            "target": self.target,
            "passed": self.passed,
            "versions": dict(self.versions),
            "provenance": dict(self.provenance),
            "schedule": dict(self.schedule),
            "facts": dict(self.facts),
            "rungs": rungs,
        }
        return _pretty(value, "") + "\n"


def from_json(text: str) -> Certificate:
    """Read the JSON form.

    Raises:
        ValueError: it is not the JSON form of a certificate; the text names what is wrong.
    """
    value = json.loads(text)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError(f"not a certificate of format {FORMAT}")
    try:
        rungs = tuple(
            Rung(item["name"], Status(item["status"]), item["summary"], item["details"])
            for item in value["rungs"]
        )
        return Certificate(
            name=value["name"],
            target=value["target"],
            versions=value["versions"],
            provenance=value["provenance"],
            schedule=value["schedule"],
            facts=value["facts"],
            rungs=rungs,
        )
    except KeyError as missing:
        raise ValueError(f"the certificate lacks {missing}") from missing


def summary_rows(certificate: Certificate) -> tuple[tuple[str, Status, str], ...]:
    """Return (name, status, summary) of every rung, bottom first, for a table."""
    return tuple((rung.name, rung.status, rung.summary) for rung in certificate.rungs)


def number(value: float) -> float | str:
    """Return an error for the JSON form: three significant digits; JSON has no nan and no inf."""
    return float(f"{value:.3g}") if math.isfinite(value) else str(value)


def _pretty(value: Json, indent: str, width: int = _LINE) -> str:
    """Lay out a value: on one line if that fits and holds at most lists of scalars, else many."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, dict | list) or not value:
        return flat
    if len(indent) + len(flat) <= width and _depth(value) <= (2 if width == _ROW else 1):
        return flat
    inner = indent + "  "
    if isinstance(value, list):
        entries = [_pretty(item, inner, _ROW) for item in value]
    else:
        entries = [f"{json.dumps(key)}: {_pretty(item, inner)}" for key, item in value.items()]
    opening, closing = "[]" if isinstance(value, list) else "{}"
    body = ",\n".join(inner + entry for entry in entries)
    return f"{opening}\n{body}\n{indent}{closing}"


def _depth(value: Json) -> int:
    """Return how deeply lists and objects are nested; 0 for a scalar."""
    if not isinstance(value, dict | list):
        return 0
    items = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, items), default=0)
