"""`flash4gen compile`: specs to modules on disk, proven; or, with --check, are these fresh?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flash4gen.cli import options
from flash4gen.cli.guard import guard
from flash4gen.cli.output import Output
from flash4gen.cli.request import Request
from flash4gen.cli.written import Watch

if TYPE_CHECKING:
    from flash4gen.driver import CompileResult

EMITTED = ("ttgir", "ptx", "sass", "cubin")


def _emit_kinds(value: str) -> str:
    for kind in _split(value):
        if kind not in EMITTED:
            raise typer.BadParameter(f"{kind!r} is not one of {', '.join(EMITTED)}")
    return value


def _split(value: str) -> tuple[str, ...]:
    return tuple(kind.strip() for kind in value.split(",")) if value else ()


Check = Annotated[
    bool, typer.Option("--check", help="Write nothing; say which modules are missing or stale.")
]
Emit = Annotated[
    str,
    typer.Option(
        metavar="KINDS",
        help="Write these beside the modules too: " + ",".join(EMITTED) + ".",
        callback=_emit_kinds,
        show_default=False,
    ),
]
NoValidate = Annotated[bool, typer.Option("--no-validate", help="Do not prove the modules.")]
Mutate = Annotated[
    bool,
    typer.Option("--mutate", help="Break every synchronisation; each must be found out."),
]
TemplateDirs = Annotated[
    list[Path] | None,
    typer.Option(
        "--template-dir",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Templates that go before the shipped ones; may be repeated. Templates are code.",
        show_default=False,
    ),
]


def command(  # noqa: PLR0913 - typer reads the options from the parameters
    specs: options.Specs,
    target: options.Targets = None,
    out: options.Out = options.OUT,
    check: Check = False,
    emit: Emit = "",
    no_validate: NoValidate = False,
    mutate: Mutate = False,
    template_dir: TemplateDirs = None,
    output_format: options.OutputFormat = options.Format.TEXT,
) -> None:
    """Compile specs to Triton modules, prove them, and write both."""
    if check and emit:
        raise typer.BadParameter("--check writes nothing, so --emit makes no sense with it")
    if mutate and (check or no_validate):
        raise typer.BadParameter("--mutate is about proofs, which --check and --no-validate skip")
    request = Request(
        targets=tuple(target or ()),
        out=out,
        template_dirs=tuple(template_dir or ()),
        emit=_split(emit),
        validate=not no_validate,
        mutate=mutate,
    )
    output = Output(output_format)
    watch = Watch.of(out)
    with guard(output, watch.changes):
        if check:
            from flash4gen.cli.fresh import report_freshness

            report_freshness(specs, request, output)
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
            )

        results = each_spec(specs, run)
    report(results, output, request.emit)
