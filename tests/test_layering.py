"""Who imports whom: a package imports from its left and from the leaves, nothing else.

Reads the imports of every file, also those inside functions. What stands under `TYPE_CHECKING` is
an import too: knowing a type is knowing the package.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.project import GENERATED, PACKAGE, modules, shown, tree

if TYPE_CHECKING:
    from pathlib import Path

LEAVES = ("source", "digest", "resources", "diagnostics")
STAGES = ("syntax", "ir", "clock", "schedule", "render", "build", "validate", "simulate")
"""Left to right, as data flows."""

ALLOWED: dict[str, set[str]] = {
    "": set(LEAVES) | {"driver"},  # the package itself: a lazy view of the driver
    "source": set(),
    "digest": set(),
    "resources": set(),
    "diagnostics": {"source"},
    **{stage: {*LEAVES, *STAGES[:n]} for n, stage in enumerate(STAGES)},
    "vgpu": set(LEAVES),
    "driver": {*LEAVES, *STAGES},
    "cli": {*LEAVES, *STAGES, "driver"},
    "__main__": {"cli"},
}
ALLOWED["build"].add("vgpu")  # the virtual GPU is the driver that Triton compiles for
ALLOWED["validate"].add("vgpu")
ALLOWED["simulate"].add("vgpu")  # it records what a kernel does
ALLOWED["cli"].add("vgpu")  # it runs kernels that users wrote

HEAVY = {"torch", "triton", "numpy"}
MAY_BE_HEAVY = {"build", "vgpu", "validate", "simulate"}

FILES = modules("flash4gen")


def package_of(path: Path) -> str:
    """Return the part of flash4gen that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0].replace("__init__", "")


def imported(path: Path) -> list[tuple[str, int]]:
    """Return every module that a file imports, absolute, with the line."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(name.name, node.lineno) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{shown(path)}:{node.lineno}: imports are absolute"
            assert node.module is not None
            found.append((node.module, node.lineno))
            # `from flash4gen import ir` imports a package.
            if node.module == "flash4gen":
                found += [(f"flash4gen.{name.name}", node.lineno) for name in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_a_package_imports_from_its_left_and_from_the_leaves(path: Path) -> None:
    own = package_of(path)
    for name, line in imported(path):
        parts = name.split(".")
        if parts[0] != "flash4gen" or len(parts) == 1 or parts[1].startswith("__version"):
            continue
        if not (PACKAGE / parts[1]).exists() and not (PACKAGE / f"{parts[1]}.py").exists():
            continue  # a name of the package, not a part of it
        assert parts[1] == own or parts[1] in ALLOWED[own], (
            f"{shown(path)}:{line}: {own or 'flash4gen'} must not import {name}"
        )


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_only_the_right_end_imports_torch_and_triton(path: Path) -> None:
    for name, line in imported(path):
        if name.split(".")[0] in HEAVY:
            assert package_of(path) in MAY_BE_HEAVY, f"{shown(path)}:{line} imports {name}"


def test_every_part_of_the_package_has_its_place() -> None:
    parts = {package_of(path) for path in FILES}
    assert parts == set(ALLOWED)


def test_only_a_function_reaches_to_the_stages_that_load_torch() -> None:
    """Imports of build, vgpu and validate at the top of a file would load torch for `check`."""
    light = {"build.artefact", "build.store", "validate.certificate"}
    for path in FILES:
        if package_of(path) in MAY_BE_HEAVY:
            continue
        for node in tree(path).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                part = node.module.removeprefix("flash4gen.")
                heavy = part.split(".")[0] in MAY_BE_HEAVY and part not in light
                assert not heavy, f"{shown(path)}:{node.lineno}: import {node.module} in a function"


@pytest.mark.parametrize("path", sorted(GENERATED.rglob("*.py")), ids=shown)
def test_a_generated_module_needs_torch_and_triton_alone(path: Path) -> None:
    names = {name.split(".")[0] for name, _ in imported(path)}
    assert names <= {"__future__", "typing", "torch", "triton"}
