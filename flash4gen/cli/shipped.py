"""What is shipped, as rows for `flash4gen list`: names, and what tells one from another."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from flash4gen.cli import options

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.model import Model
    from flash4gen.ir.nodes import Attention


def specs() -> list[dict[str, Any]]:
    """Return the shipped specs, a row each."""
    from flash4gen.driver import check_spec
    from flash4gen.ir import library

    return [
        _spec(attention, name)
        for name in library.spec_names()
        for attention in check_spec(library.spec_path(name)).attentions
    ]


def _spec(attention: Attention, file: str) -> dict[str, Any]:
    shown = ("name", "doc", "dtype", "heads", "kv_heads", "head_dim", "value_dim")
    values = {name: getattr(attention, name) for name in shown}
    return {**values, "target": list(attention.targets), "path": str(options.spec_path(file))}


def models() -> list[dict[str, Any]]:
    """Return the shipped models, a row each."""
    from flash4gen.driver import check_spec
    from flash4gen.ir import library

    return [
        _model(model, name)
        for name in library.model_names()
        for model in check_spec(library.spec_path(name)).models
    ]


def _model(model: Model, file: str) -> dict[str, Any]:
    return {
        "name": model.name,
        "doc": model.doc,
        "layers": len(model.layers),
        "pattern": model.pattern,
        "attentions": [item.name for item in model.attentions],
        "path": str(options.spec_path(file)),
    }


def targets() -> list[dict[str, Any]]:
    """Return the shipped targets, a row each."""
    from flash4gen.ir import library

    return [_target(hardware) for hardware in library.targets()]


def _target(hardware: Hardware) -> dict[str, Any]:
    values = {item.name: getattr(hardware, item.name) for item in fields(hardware)}
    del values["span"]
    return values | {"features": sorted(hardware.features), "sources": dict(hardware.sources)}
