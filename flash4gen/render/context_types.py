"""Every class that templates see, by name: they lie in several modules, by concern."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any

from flash4gen.render import (
    context,
    context_backward,
    context_blackwell,
    context_dropout,
    context_inputs,
    context_mixed,
    context_pipeline,
    context_rows,
    context_surround,
)

MODULES = (
    context,
    context_dropout,
    context_inputs,
    context_rows,
    context_surround,
    context_blackwell,
    context_backward,
    context_pipeline,
    context_mixed,
)

TYPES: dict[str, Any] = {
    name: kind
    for module in MODULES
    for name, kind in vars(module).items()
    if isinstance(kind, type) and is_dataclass(kind)
}
