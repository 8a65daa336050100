"""`flash4gen simulate`: how long a kernel takes, on a modelled clock, and what it waits for.

With --trace and --html the same goes to a file to look at.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flash4gen.cli import compile_options as kinds
from flash4gen.cli import options
from flash4gen.cli.guard import guard
from flash4gen.cli.lengths import checked, read_lengths
from flash4gen.cli.output import Output
from flash4gen.cli.template_dirs import template_dirs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flash4gen.diagnostics import Diagnostic
    from flash4gen.driver import Simulated

Trace = Annotated[
    Path | None,
    typer.Option("--trace", metavar="FILE", help="Write a trace for ui.perfetto.dev to FILE."),
]
Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write a page with timeline and bounds to FILE."),
]
Lengths = Annotated[
    str,
    typer.Option(
        metavar="LIST",
        help="Of packed sequences, in place of --seq and --batch: 4096,1024, or 64x1:8192 for 64 "
        "of one query and 8192 keys.",
        callback=checked,
        show_default=False,
    ),
]


def command(  # noqa: PLR0913 - typer reads the options from the parameters
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="File, or name of a shipped spec.")],
    target: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Target; the first that the spec names if left out."),
    ] = None,
    seq: Annotated[
        int | None, typer.Option(min=1, help="Queries, and keys, of a sequence; 8192 if left out.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Sequences; enough for 64 heads if left out.")
    ] = None,
    lengths: Lengths = "",
    jitter: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share by which latencies are off, at random.")
    ] = 0.2,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Runs with jitter.")] = 5,
    trace: Trace = None,
    html: Html = None,
    out: options.Out = options.OUT,
    template_dir: kinds.TemplateDirs = None,
    output_format: options.OutputFormat = options.Format.TEXT,
) -> None:
    """Model the time of a kernel: turns, a whole launch, and what they wait for."""
    if lengths and (seq or batch):
        raise typer.BadParameter("--lengths says all that --seq and --batch say: leave these out")
    output = Output(output_format)
    wanted = {kind: file for kind, file in (("trace", trace), ("html", html)) if file}
    with guard(output):
        from flash4gen.cli.progress import shown_progress
        from flash4gen.cli.simulate_object import as_object
        from flash4gen.cli.simulate_report import report_all
        from flash4gen.driver import simulate_spec
        from flash4gen.driver.model import succeeded
        from flash4gen.driver.simulate import Asked

        folders = template_dirs(template_dir, output)
        with shown_progress(output) as progress:
            found, problems = simulate_spec(
                options.spec_path(spec),
                target,
                Asked(seq or Asked().length, batch, jitter, seeds, read_lengths(lengths)),
                out=out,
                template_dirs=folders,
                progress=progress,
            )
        files, unwritten = _written(found, wanted) if wanted else ([], ())
        problems = (*problems, *unwritten)
        if output.json:
            output.document(problems, simulated=[as_object(one) for one in found], files=files)
        else:
            report_all(found, files)
        if not found and not problems:
            output.line(f"{spec}: nothing in it to compile")
        output.diagnostics(problems)
        output.end(ok=succeeded(problems))


def _written(
    found: Sequence[Simulated], wanted: Mapping[str, Path]
) -> tuple[list[str], tuple[Diagnostic, ...]]:
    """Write the files that were asked for, all or none; return their names, or what went wrong."""
    from flash4gen.build.store import try_to_write
    from flash4gen.simulate.page.page import page
    from flash4gen.simulate.trace import trace

    files: dict[Path, bytes] = {}
    for one in found:
        for kind, file in wanted.items():
            # A file for each attention, if the spec has several.
            stem = f"{file.stem}.{one.plan.attention.name}" if len(found) > 1 else file.stem
            made = trace(one.timed) if kind == "trace" else page(one.timed, one.certificate)
            files[file.with_stem(stem)] = made.encode()
    problems = try_to_write(files)
    return [str(file) for file in files if not problems], problems
