"""What a certificate is about: one module on disk, with all that it follows from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.ir.core import core
from flash4gen.schedule.blackwell.model import BlackwellSchedule

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.build.artefact import Artefact
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.module import RenderedModule
    from flash4gen.schedule.model import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A module to validate.

    Attributes:
        attention: what it means.
        hardware: what it is made for.
        choice: its schedule.
        rendered: its text and where that comes from.
        path: the module file, which is imported and run.
        artefact: its kernels as compiled from that very file.
        overrides: template directories that were searched before the shipped one.
    """

    attention: Attention
    hardware: Hardware
    choice: Choice
    rendered: RenderedModule
    path: Path
    artefact: Artefact
    overrides: tuple[Path, ...] = ()

    @property
    def core(self) -> Attention:
        """What its kernels compute of the attention."""
        return core(self.attention)

    def kernel(self, seq_q: int) -> Artefact:
        """Return the kernel that is to be launched for so many queries, on average if packed."""
        short, schedule = self.artefact.short, self.choice.schedule
        if short is None or not isinstance(schedule, BlackwellSchedule):
            return self.artefact
        return short if seq_q * schedule.pack <= schedule.short_queries else self.artefact
