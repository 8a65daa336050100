"""What templates see of dropout; ``context`` holds the rest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DropoutText:
    """What of a module is about dropout.

    Attributes:
        drops: whether weights are dropped.
        probability: that one is.
        origin: file and line of the spec.
    """

    drops: bool
    probability: str
    origin: str
