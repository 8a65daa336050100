"""`flash4gen explain`: the schedules of a spec and why they were chosen; or what a code means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from flash4gen.cli import options
from flash4gen.cli.guard import guard
from flash4gen.cli.output import Output

if TYPE_CHECKING:
    from flash4gen.diagnostics import Code
    from flash4gen.driver.model import Plan

_CODE = re.compile(r"F4G\d+", re.IGNORECASE)


def _code_or_spec(what: str) -> str:
    if _CODE.fullmatch(what) and _code(what) is None:
        raise typer.BadParameter(f"{what} is no code of a diagnostic")
    return what


What = Annotated[
    str,
    typer.Argument(
        metavar="SPEC|CODE",
        help="A spec, as file or name; or the code of a diagnostic, such as F4G203.",
        callback=_code_or_spec,
        show_default=False,
    ),
]


def command(
    what: What,
    target: options.Targets = None,
    search: Annotated[
        bool, typer.Option("--search", help="As `flash4gen compile --search` would choose.")
    ] = False,
    output_format: options.OutputFormat = options.Format.TEXT,
) -> None:
    """Print the chosen schedules and why, or what a code means."""
    output = Output(output_format)
    with guard(output):
        code = _code(what)
        if code is not None:
            _explain_code(code, output)
        else:
            _explain_spec(what, tuple(target or ()), output, search=search)


def _code(text: str) -> Code | None:
    from flash4gen.diagnostics import Code

    return next((code for code in Code if code == text.upper()), None)


def _explain_code(code: Code, output: Output) -> None:
    from flash4gen.resources import resource_dir

    text = (resource_dir("errors") / f"{code}.md").read_text(encoding="utf-8")
    if output.json:
        output.document((), code=str(code), meaning=code.meaning, page=text)
    output.line(text.rstrip())


def _explain_spec(spec: str, targets: tuple[str, ...], output: Output, *, search: bool) -> None:
    from flash4gen.driver import check_spec, plan_spec
    from flash4gen.ir.core import core
    from flash4gen.schedule import explain as schedules

    checked = check_spec(options.spec_path(spec))
    plans, problems = plan_spec(checked, targets, search=search) if checked.ok else ((), ())
    found = (*checked.diagnostics, *problems)
    chosen = [(plan.choice, core(plan.attention), plan.hardware) for plan in plans]
    if output.json:
        output.document(found, schedules=[schedules.explanation(*one) for one in chosen])
    else:
        texts = [schedules.explain(*one).rstrip() for one in chosen]
        if search:
            texts = [f"{text}\n\n{_ran(plan)}" for text, plan in zip(texts, plans, strict=True)]
        if texts:
            output.line("\n\n".join(texts))
        elif not found:
            output.line(f"{checked.path}: nothing in it to compile")
    output.diagnostics(found)
    output.end(ok=checked.ok and not problems)


def _ran(plan: Plan) -> str:
    """Return what the search ran, from what is remembered of it."""
    from flash4gen.schedule.blackwell.dozen import report
    from flash4gen.schedule.choose import ran_on_clock

    found = ran_on_clock(plan.attention, plan.hardware)
    if found is None:
        return "no search on the clock: the family's candidates have all been ranked by formula"
    return report(found).rstrip()
