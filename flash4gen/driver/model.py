"""What a run is made of: checked specs, plans, events and results, as frozen data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.diagnostics.model import Diagnostic, Severity
from flash4gen.ir import library
from flash4gen.ir.hardware import Backend

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flash4gen.build.artefact import Artefact
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.model import Model
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.module import RenderedModule
    from flash4gen.schedule.backward.model import Unfit
    from flash4gen.schedule.model import Choice, Excluded
    from flash4gen.source import SourceFile
    from flash4gen.validate.certificate import Certificate


EMITTED_FOR: dict[str, tuple[str, ...]] = {
    Backend.CUDA: ("ttgir", "ptx", "sass", "cubin"),
    Backend.HIP: ("ttgir", "amdgcn", "hsaco"),
}
"""What can be written beside a module, by the backend of its target."""


def emitted_for(hardware: Hardware, wanted: Sequence[str]) -> tuple[str, ...]:
    """Return those of the wanted kinds that there are for a target."""
    return tuple(kind for kind in wanted if kind in EMITTED_FOR[hardware.backend])


def succeeded(diagnostics: tuple[Diagnostic, ...]) -> bool:
    """Whether none of these is an error."""
    return not any(found.severity is Severity.ERROR for found in diagnostics)


@dataclass(frozen=True, slots=True)
class Checked:
    """A spec file after parsing and lowering.

    ``used_hardware`` is that of files which it uses.
    """

    path: str
    source: SourceFile | None
    attentions: tuple[Attention, ...]
    hardware: tuple[Hardware, ...]
    diagnostics: tuple[Diagnostic, ...]
    models: tuple[Model, ...] = ()
    used_hardware: tuple[Hardware, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing stands in the way of a compile."""
        return succeeded(self.diagnostics)

    @property
    def known_targets(self) -> tuple[str, ...]:
        """Names of all hardware that this file can be compiled for."""
        own = (item.name for item in (*self.hardware, *self.used_hardware))
        return tuple(dict.fromkeys((*library.target_names(), *own)))

    def target(self, name: str) -> Hardware:
        """Return a target by name: one of this file, one that it uses, else a shipped one.

        Raises:
            KeyError: there is none of this name.
        """
        near = (*self.hardware, *self.used_hardware)
        own = next((item for item in near if item.name == name), None)
        return own or library.target(name)


@dataclass(frozen=True, slots=True)
class Plan:
    """One variant, one target, and the schedule chosen for them.

    ``excluded`` holds schedules that were compiled and found to spill, each with the reason;
    ``unfit`` shapes of backward kernels; ``searched`` says whether the clock was asked for a faster
    one than the rules make.
    """

    attention: Attention
    hardware: Hardware
    choice: Choice
    excluded: Excluded = ()
    unfit: Unfit = ()
    searched: bool = False

    @property
    def subject(self) -> str:
        """What progress lines call it."""
        return f"{self.hardware.name}/{self.attention.name}"


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """One model and one target: an index module to write."""

    model: Model
    hardware: Hardware

    @property
    def subject(self) -> str:
        """What progress lines call it."""
        return f"{self.hardware.name}/{self.model.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A stage of one subject begins (``done`` false) or has ended."""

    stage: str
    subject: str
    detail: str
    seconds: float
    done: bool


Progress = Callable[[Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleResult:
    """What became of one plan: the module's final path, and what is known about it."""

    plan: Plan
    rendered: RenderedModule
    path: Path
    changed: bool
    artefact: Artefact | None
    certificate: Certificate | None


@dataclass(frozen=True, slots=True)
class IndexResult:
    """What became of one index module: its text and its final path."""

    plan: IndexPlan
    text: str
    path: Path
    changed: bool


@dataclass(frozen=True, slots=True)
class CompileResult:
    """All modules of one run, and everything that was found."""

    modules: tuple[ModuleResult, ...]
    diagnostics: tuple[Diagnostic, ...]
    indexes: tuple[IndexResult, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every module was made."""
        return succeeded(self.diagnostics)


@dataclass(frozen=True, slots=True)
class Compared:
    """What differs between the outputs of a spec on disk and now.

    ``modules`` were compared; ``unnamed`` name no target and have no module.
    """

    modules: int
    diagnostics: tuple[Diagnostic, ...]
    unnamed: tuple[str, ...] = ()


class StageError(Exception):
    """An internal fault; the cause is attached."""

    def __init__(self, stage: str, subject: str) -> None:
        super().__init__(f"internal error in stage {stage} of {subject}")
        self.stage = stage
        self.subject = subject
