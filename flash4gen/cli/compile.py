"""`flash4gen compile`: specs to modules on disk, proven; or, with --check, are these fresh?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flash4gen.cli import compile_options as kinds
from flash4gen.cli import options
from flash4gen.cli.guard import guard
from flash4gen.cli.output import Output
from flash4gen.cli.request import Request
from flash4gen.cli.template_dirs import template_dirs
from flash4gen.cli.written import Watch

if TYPE_CHECKING:
    from flash4gen.driver import CompileResult


def command(  # noqa: PLR0913 - typer reads the options from the parameters
    specs: options.Specs,
    target: options.Targets = None,
    out: options.Out = options.OUT,
    check: kinds.Check = False,
    emit: kinds.Emit = "",
    no_validate: kinds.NoValidate = False,
    mutate: kinds.Mutate = False,
    search: kinds.Search = False,
    jobs: kinds.Jobs = None,
    force: kinds.Force = False,
    template_dir: kinds.TemplateDirs = None,
    output_format: options.OutputFormat = options.Format.TEXT,
) -> None:
    """Compile specs to Triton modules, prove them, and write both."""
    if check and emit:
        raise typer.BadParameter("--check writes nothing, so --emit makes no sense with it")
    if mutate and (check or no_validate):
        raise typer.BadParameter("--mutate is about proofs, which --check and --no-validate skip")
    if search and check:
        raise typer.BadParameter("--check compares with what a module's header says was found")
    batch = jobs is not None or force or any(Path(spec).is_dir() for spec in specs)
    output = Output(output_format)
    request = Request(
        targets=tuple(target or ()),
        out=out,
        template_dirs=template_dirs(template_dir, output),
        emit=kinds.split(emit),
        validate=not no_validate,
        force=force,
        mutate=mutate,
        search=search,
    )
    watch = Watch.of(out)
    with guard(output, watch.changes):
        if check:
            from flash4gen.cli.fresh import report_freshness

            report_freshness(specs, request, output)
        elif batch:
            from flash4gen.cli.batch import compile_batch

            compile_batch(specs, request, jobs or 1, output)
        else:
            _compile(specs, request, output)


def _compile(specs: list[str], request: Request, output: Output) -> None:
    from flash4gen.cli.progress import shown_progress
    from flash4gen.cli.report import report
    from flash4gen.cli.specs import each_spec
    from flash4gen.driver import compile_spec

    with shown_progress(output) as progress:

        def run(path: Path) -> CompileResult:
            return compile_spec(
                path,
                targets=request.targets,
                out=request.out,
                validate=request.validate,
                emit=request.emit,
                template_dirs=request.template_dirs,
                progress=progress,
                mutate=request.mutate,
                search=request.search,
            )

        results = each_spec(specs, run)
    report(results, output, request.emit)
