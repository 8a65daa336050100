"""Templates of users, looked at before any is rendered: syntax, API version, macros, use.

What only shows while a template runs, such as a variable that is not there, is in ``faults.py``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import jinja2

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.collect import Findings
from flash4gen.diagnostics.suggest import did_you_mean, one_of
from flash4gen.render.context import API
from flash4gen.render.contract import (
    ENDING,
    Contract,
    Signature,
    family_of,
    read_contract,
    shipped_templates,
    syntax_line,
    template_files,
)
from flash4gen.source import SourceFile, Span

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flash4gen.diagnostics.model import Diagnostic


_CALL = re.compile(
    r"\{%-?\s*macro\s+(?P<name>call)\(.*?-?%\}(?P<body>.*?)\{%-?\s*endmacro", re.DOTALL
)
_HANDED_ON = re.compile(r"\s*\{\{-?\s*\w+\.call\(\w*\)\s*-?\}\}\s*")


def check_overrides(folders: Sequence[Path]) -> tuple[Diagnostic, ...]:
    """Return everything that can be seen to be wrong with template directories."""
    findings = Findings()
    read: dict[str, tuple[SourceFile, Contract]] = {}
    for folder in folders:
        for file in template_files(folder):
            source = template_source(file)
            if not _check_text(file, source, findings):
                continue
            try:
                contract = read_contract(source.text)
            except jinja2.TemplateSyntaxError as error:
                place = line_span(source, syntax_line(error))
                findings.error(
                    Code.TEMPLATE_SYNTAX, (error.message or "syntax error").rstrip("."), place
                )
                continue
            name = file.relative_to(folder).as_posix()
            read.setdefault(name, (source, contract))
            if _check_api(source, contract, findings):
                _check_macros(name, source, contract, findings)
                _check_blocks(source, contract, findings)
    if findings.errors:
        return findings.in_order()  # what a broken template would use is not known
    mentions = frozenset[str]().union(*(contract.mentions for _, contract in read.values()))
    for name, (source, _) in read.items():
        _check_use(name, source, mentions, findings)
    return findings.in_order()


def check_called(impl: str, folders: Sequence[Path]) -> tuple[Diagnostic, ...]:
    """Warn about a score whose ``call`` was changed, for kernels that print calls of their own.

    Args:
        impl: the file of ``score`` that such a kernel prints.
        folders: template directories, first come first.
    """
    concerns = [folder / "concern" for folder in folders]
    if any((one / name).is_dir() for one in concerns for name in ("row_max", "softmax_role")):
        return ()  # that is where such a kernel can be changed
    found = (one / "score" / f"{impl}{ENDING}" for one in concerns)
    file = next((file for file in found if file.is_file()), None)
    source = template_source(file) if file else None
    macro = source and _CALL.search(source.text)
    if source is None or not macro or _HANDED_ON.fullmatch(macro["body"]):
        return ()
    findings = Findings()
    findings.warning(
        Code.TEMPLATE_UNUSED,
        "warp-specialised kernels do not print the `call` of `score`",
        source.span(macro.start("name"), macro.end("name")),
        notes=["they score in several places, which `row_max` or `softmax_role` prints"],
        helps=["override that one, or write `schedule { family = portable }`"],
    )
    return findings.in_order()


def template_source(file: Path) -> SourceFile:
    """Return a template as messages point into it."""
    return SourceFile(str(file), file.read_text(encoding="utf-8", errors="replace"))


def _check_text(file: Path, source: SourceFile, findings: Findings) -> bool:
    """Whether a template is the UTF-8 text that Jinja takes it for."""
    try:
        file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = f"byte {error.start} of this template is not UTF-8"
        findings.error(Code.TEMPLATE_SYNTAX, message, line_span(source, line))
        return False
    return True


def line_span(source: SourceFile, number: int, word: str = "") -> Span:
    """Return the place of a word in a line; of the whole line where it is not there."""
    number = min(number, len(source.line_starts))
    start, text = source.line_starts[number - 1], source.line(number)
    found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) if word else None
    if found:
        return source.span(start + found.start(), start + found.end())
    first = len(text) - len(text.lstrip())
    return source.span(start + first, start + max(len(text.rstrip()), first + 1))


def _check_api(source: SourceFile, contract: Contract, findings: Findings) -> bool:
    """Whether a template was written for this API, as far as it says."""
    said = ", ".join(contract.fields.get("api", (str(API),)))
    if said == str(API):
        return True
    start = source.text.index(said, source.text.index("api"))
    findings.error(
        Code.TEMPLATE_API,
        f"this template was written for version {said} of the template API",
        source.span(start, start + len(said)),
        notes=[f"this flash4gen has version {API}"],
        helps=[
            f"compare what it reads with docs/template_context.md, then write `api: {API}`",
        ],
    )
    return False


def _check_macros(name: str, source: SourceFile, contract: Contract, findings: Findings) -> None:
    """Report what a template lacks that those it stands in for have."""
    if not (family := family_of(name)):
        return
    stands_for = name if name in family else family[0]
    shipped = shipped_templates()[stands_for]
    if shipped.kind == "skeleton":
        return  # it is extended, and its macros are called by nobody else
    for wanted in shipped.signatures:
        if wanted.name not in contract.macros:
            findings.error(
                Code.TEMPLATE_MACRO,
                f"this template lacks the macro `{wanted}`",
                line_span(source, 1),
                notes=[f"others call it, as shipped `{stands_for}` has it"],
                helps=[_forward(name, family, wanted)],
            )
            continue
        own = contract.macros[wanted.name]
        if own is not None and not own.takes(wanted):
            findings.error(
                Code.TEMPLATE_MACRO,
                f"`{own}` is called with the arguments of `{wanted}`",
                line_span(source, own.line, own.name),
                helps=[f"write `{{% macro {wanted} %}}`"],
            )


def _check_blocks(source: SourceFile, contract: Contract, findings: Findings) -> None:
    """Warn about blocks that no skeleton has."""
    if contract.kind != "skeleton" and not any("skeleton/" in one for one in contract.mentions):
        return
    known = [block for shipped in shipped_templates().values() for block in shipped.blocks]
    for block, line in contract.blocks.items():
        if block not in known:
            findings.warning(
                Code.TEMPLATE_UNUSED,
                f"no skeleton prints the block `{block}`",
                line_span(source, line, block),
                helps=did_you_mean(block, known) or [f"there is {one_of(dict.fromkeys(known))}"],
            )


def _forward(name: str, family: Sequence[str], macro: Signature) -> str:
    stem = name if name in family else family[0]
    return (
        f'to keep the shipped one: `{{% import "builtin/{stem}" as shipped %}}` and '
        f"`{{% macro {macro} %}}{{{{ shipped.{macro} }}}}{{% endmacro %}}`"
    )


def _check_use(name: str, source: SourceFile, mentions: frozenset[str], findings: Findings) -> None:
    """Warn about a template that nothing can reach."""
    if name in shipped_templates():
        return
    folders = tuple(text for text in mentions if text.endswith("/"))
    if name in mentions or (folders and name.startswith(folders)):
        return
    stem = name.removesuffix(ENDING)
    known = [one.removesuffix(ENDING) for one in shipped_templates()]
    findings.warning(
        Code.TEMPLATE_UNUSED,
        f"nothing uses the template `{name}`",
        line_span(source, 1),
        notes=["it has the name of no shipped template, and no template beside it names it"],
        helps=did_you_mean(stem, known) or ["`flash4gen templates list` prints the names"],
    )
