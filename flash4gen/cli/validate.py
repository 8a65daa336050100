"""`flash4gen validate`: prove the modules on disk again, and rewrite their certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flash4gen.cli import compile_options as kinds
from flash4gen.cli import options
from flash4gen.cli.guard import guard
from flash4gen.cli.output import Output
from flash4gen.cli.template_dirs import template_dirs
from flash4gen.cli.written import Watch

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.driver import CompileResult


def command(
    specs: options.Specs,
    target: options.Targets = None,
    out: options.Out = options.OUT,
    mutate: Annotated[
        bool,
        typer.Option("--mutate", help="Break every synchronisation; each must be found out."),
    ] = False,
    template_dir: kinds.TemplateDirs = None,
    output_format: options.OutputFormat = options.Format.TEXT,
) -> None:
    """Prove the modules on disk again, and rewrite their certificates."""
    output = Output(output_format)
    watch = Watch.of(out)
    with guard(output, watch.changes):
        from flash4gen.cli.progress import shown_progress
        from flash4gen.cli.report import report
        from flash4gen.cli.specs import each_spec
        from flash4gen.driver import validate_spec

        folders = template_dirs(template_dir, output)
        with shown_progress(output) as progress:

            def run(path: Path) -> CompileResult:
                return validate_spec(
                    path,
                    targets=target or (),
                    out=out,
                    template_dirs=folders,
                    progress=progress,
                    mutate=mutate,
                )

            results = each_spec(specs, run)
        report(results, output, ())
