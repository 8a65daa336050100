"""The program `flash4gen`: its commands, the options that stand before them, and how it is run."""

from __future__ import annotations

import sys
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated

import typer

from flash4gen import __version__
from flash4gen.cli.guard import DEBUG

if TYPE_CHECKING:
    from collections.abc import Sequence

HELP = """Compile attention specs to readable, proven Triton kernels.

Exit code 0: all is well; 1: something was found; 2: the command line makes no sense.
"""

COMMANDS = (
    "check",
    "fmt",
    "compile",
    "validate",
    "explain",
    "list",
    "templates",
    "vgpu",
    "bench",
    "tune",
    "simulate",
)
"""Names of the modules beside this one, each with a function `command`."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"flash4gen {__version__}")
        raise typer.Exit


def before(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", hidden=True)] = False,
) -> None:
    """Take the options that stand before a command; they are those of all commands."""
    del version
    DEBUG.set(debug)


def application(arguments: Sequence[str]) -> typer.Typer:
    """Return the program as far as a command line needs it.

    A command line that names a command gets that one: loading the others would slow `check` down.
    """
    # Neither rich help nor rich tracebacks: importing rich would slow down `check`.
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=HELP)(before)
    named = next(iter(arguments), "")
    for name in (named,) if named in COMMANDS else COMMANDS:
        app.command(name)(import_module(f"flash4gen.cli.{name}").command)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without `×` still gets its report
    try:
        application(arguments)(list(arguments), prog_name="flash4gen")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
