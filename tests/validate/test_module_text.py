"""The rung ``text``: what a file must not hold to be copied anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from flash4gen.validate.text import faults

GOOD = '''"""A module."""

from __future__ import annotations

import torch
import triton.language as tl
from typing import Final

SIZE: Final = 3


def small(x):
    """Return more."""
    return [torch.add(x, i) for i in range(SIZE) if (y := i)] + [tl.dot, len(x)]
'''


def test_a_plain_module_has_no_fault() -> None:
    assert faults(GOOD, "small") == ()


@pytest.mark.parametrize(
    ("old", "new", "reason", "line"),
    [
        ("import torch\n", "import torch\nimport numpy\n", "imports numpy", 6),
        ("import torch\n", "import torch\nfrom .x import y\n", "imports .", 6),
        ("range(SIZE)", "range(SIZES)", "the name SIZES in small", 12),
        ("SIZE: Final = 3", "SIZE: Final = THREE", "the name THREE is not defined", 0),
        ("SIZE: Final = 3", "SIZE: Final = 3\nprint(SIZE)", "does something when imported", 10),
        ("def small(x):", "def small(x:", "not Python", 12),
        ("def small", "def other", "there is no function small", 0),
        ("len(x)]\n", "len(x)]", "does not end with one line end", 0),
        ("Return more", f"See {Path.cwd()}/notes", "names a folder of this machine", 13),
    ],
)
def test_a_fault_is_named_with_its_line(old: str, new: str, reason: str, line: int) -> None:
    found = faults(GOOD.replace(old, new), "small")
    assert found, "no fault was found"
    assert reason in found[0].reason
    assert found[0].module_line == line
