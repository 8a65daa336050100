"""What is shipped with the language: the prelude, the targets and the example specs.

Everything is read when it is first asked for, and once.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from flash4gen import syntax
from flash4gen.diagnostics.collect import Findings
from flash4gen.ir.lower_functions import Functions, collect
from flash4gen.ir.lower_hardware import lower_hardware
from flash4gen.resources import resource_dir
from flash4gen.source import SourceFile
from flash4gen.syntax import parse
from flash4gen.syntax.read import SUFFIX

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.syntax import ast


@cache
def prelude() -> Functions:
    """Return the functions that every spec can call.

    Raises:
        RuntimeError: the prelude has an error, which is ours.
    """
    path = Path(syntax.__file__).with_name("prelude.attn")
    findings = Findings()
    functions = collect(_shipped(path, "prelude.attn").definitions, None, findings)
    _expect_clean(findings, "prelude.attn")
    return functions


@cache
def target_names() -> tuple[str, ...]:
    """Return the names of the shipped targets, sorted, without reading any of them."""
    return tuple(sorted(path.stem for path in (resource_dir("specs") / "targets").glob("*.attn")))


@cache
def target(name: str) -> Hardware:
    """Return a shipped target.

    Raises:
        KeyError: there is none of this name.
        RuntimeError: its file has an error, which is ours.
    """
    if name not in target_names():
        raise KeyError(name)
    shown = f"specs/targets/{name}{SUFFIX}"
    findings = Findings()
    file = _shipped(resource_dir("specs") / "targets" / f"{name}{SUFFIX}", shown)
    item = next((item for item in file.hardware if item.name.text == name), None)
    if item is None:
        raise RuntimeError(f"ir.library: {shown} holds no hardware `{name}`")
    base = target(item.base.text) if item.base is not None else None
    lowered = lower_hardware(item, findings, base)
    _expect_clean(findings, shown)
    if lowered is None:
        raise RuntimeError(f"ir.library: {shown} cannot be read")
    return lowered


def targets() -> tuple[Hardware, ...]:
    """Return all shipped targets, by name."""
    return tuple(target(name) for name in target_names())


def spec_names() -> tuple[str, ...]:
    """Return the names of the shipped example specs, sorted."""
    return tuple(sorted(path.stem for path in resource_dir("specs").glob(f"*{SUFFIX}")))


def model_names() -> tuple[str, ...]:
    """Return the names of the shipped specs of whole models, sorted."""
    return tuple(sorted(path.stem for path in (resource_dir("specs") / "models").glob("*.attn")))


def spec_path(name: str) -> Path:
    """Return where a shipped spec lies: an example, or a whole model.

    Raises:
        KeyError: there is none of this name.
    """
    if name in spec_names():
        return resource_dir("specs") / f"{name}{SUFFIX}"
    if name in model_names():
        return resource_dir("specs") / "models" / f"{name}{SUFFIX}"
    raise KeyError(name)


def _shipped(path: Path, shown: str) -> ast.File:
    result = parse(SourceFile(shown, path.read_text(encoding="utf-8")))
    if result.diagnostics:
        raise RuntimeError(f"ir.library: {shown}: {result.diagnostics[0].message}")
    return result.file


def _expect_clean(findings: Findings, shown: str) -> None:
    for found in findings.in_order():
        raise RuntimeError(f"ir.library: {shown}: {found.message}")
