"""What a command must not load: `check` and `explain` start fast because they load so little."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.project import ROOT

HEAVY = {"torch", "triton", "numpy", "rich", "pydantic"}
LOADED = """
import sys
from flash4gen.cli.app import run
sys.stdout = sys.stderr
run(sys.argv[1:])
print(*sys.modules, file=sys.__stdout__)
"""


def modules_after(*arguments: str) -> set[str]:
    """Return the modules that a command has loaded."""
    ended = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(ended.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (("check", "specs/llama3_8b.attn"), HEAVY | {"jinja2", "flash4gen.render.module"}),
        (("check", "specs/llama3_8b.attn"), {"flash4gen.schedule.search"}),
        (("explain", "specs/llama3_8b.attn"), HEAVY | {"jinja2"}),
        (("compile", "specs/llama3_8b.attn", "--check"), {"torch", "triton", "numpy", "rich"}),
        (("list", "targets"), {"torch", "triton", "numpy", "jinja2"}),
        (("--version",), HEAVY | {"jinja2", "lark"}),
    ],
)
def test_a_command_loads_what_it_needs(arguments: tuple[str, ...], unwanted: set[str]) -> None:
    assert not modules_after(*arguments) & unwanted


def test_the_package_loads_nothing_until_it_is_asked() -> None:
    script = "import sys, flash4gen; assert flash4gen.__version__; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not set(ended.stdout.split()) & {"lark", "jinja2", "torch", "flash4gen.driver"}


def test_the_python_interface() -> None:
    import flash4gen

    for name in flash4gen.__all__:
        assert getattr(flash4gen, name)
        assert name in dir(flash4gen)
    assert flash4gen.check_spec(ROOT / "specs" / "llama3_8b.attn").ok
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = flash4gen.no_such_name
