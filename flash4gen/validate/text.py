"""The rung ``text``: a generated file is what its inputs render to, and a plain Python module.

In: a subject. Out: a ``Rung``. Nothing is imported or run here.
"""

from __future__ import annotations

import ast
import builtins
import symtable
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from flash4gen.render.module import render
from flash4gen.validate.blame import Failure
from flash4gen.validate.certificate import Json, Rung, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.validate.subject import Subject

MAY_IMPORT = frozenset({"__future__", "torch", "triton", "typing"})

_MODULE_NAMES = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}


def text_rung(subject: Subject) -> Rung:
    """Check the text of a module and the file that holds it."""
    text = subject.rendered.text
    failures = [Failure(reason=reason) for reason in _origin(subject)]
    failures += faults(text, subject.attention.name)
    lines = text.count("\n")
    details: dict[str, Json] = {"lines": lines, "imports": [*sorted(_imports(text))]}
    if failures:
        details["failures"] = [failure.to_json() for failure in failures]
        return Rung("text", Status.FAILED, failures[0].reason, details)
    summary = f"{lines} lines, rendered twice alike, nothing but torch and triton needed"
    return Rung("text", Status.PASSED, summary, details)


def faults(text: str, name: str) -> tuple[Failure, ...]:
    """Return what keeps a text from being a module that can be copied anywhere.

    Args:
        text: the whole file.
        name: the function that it must offer.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        return (Failure(reason=f"not Python: {error.msg}", module_line=error.lineno or 0),)
    found = [*_wrong_imports(tree), *_acts_on_import(tree), *_undefined(text), *_paths(text)]
    if not text.endswith("\n") or text.endswith("\n\n"):
        found.append(Failure(reason="the text does not end with one line end"))
    if name not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
        found.append(Failure(reason=f"there is no function {name}"))
    return tuple(found)


def _origin(subject: Subject) -> Iterator[str]:
    again = render(subject.attention, subject.hardware, subject.choice, subject.overrides)
    if again.text != subject.rendered.text:
        yield "rendered again, the text differs"
    if subject.path.read_bytes() != subject.rendered.text.encode():
        yield f"the file {subject.path.name} holds another text"


def _imports(text: str) -> set[str]:
    try:
        return {module for module, _ in _imported(ast.parse(text))}
    except SyntaxError:
        return set()


def _imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield (top-level package, line) of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0] if not node.level else ".", node.lineno


def _wrong_imports(tree: ast.Module) -> Iterator[Failure]:
    for package, line in _imported(tree):
        if package not in MAY_IMPORT:
            yield Failure(reason=f"imports {package}", module_line=line)


def _acts_on_import(tree: ast.Module) -> Iterator[Failure]:
    """Yield top-level statements that are no definitions, no registrations, nor the docstring."""
    harmless = (
        ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.ClassDef
    )  # fmt: skip
    for node in tree.body[1:] if ast.get_docstring(tree) is not None else tree.body:
        if not isinstance(node, harmless) and not _registers(node):
            yield Failure(reason="does something when imported", module_line=node.lineno)


def _registers(node: ast.stmt) -> bool:
    """Whether a statement tells PyTorch how an op is differentiated."""
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="register_autograd"))):
            return True
    return False


def _undefined(text: str) -> Iterator[Failure]:
    """Yield names that no scope defines."""
    table = symtable.symtable(text, "module", "exec")
    known = _MODULE_NAMES | {s.get_name() for s in table.get_symbols() if s.is_assigned()}
    known |= {s.get_name() for s in table.get_symbols() if s.is_imported() or s.is_namespace()}
    scopes = [table]
    while scopes:
        scope = scopes.pop()
        scopes += scope.get_children()
        for symbol in scope.get_symbols():
            looked_up = symbol.is_global() or scope is table
            if symbol.is_referenced() and looked_up and symbol.get_name() not in known:
                where = f" in {scope.get_name()}" if scope is not table else ""
                reason = f"the name {symbol.get_name()}{where} is not defined"
                yield Failure(reason=reason, module_line=scope.get_lineno())


def _paths(text: str) -> Iterator[Failure]:
    """Yield the folders of this machine that the text names."""
    folders = (Path.home(), Path.cwd(), Path(tempfile.gettempdir()), Path(__file__).parents[2])
    for folder in {str(folder) for folder in folders if len(folder.parts) > 1}:
        for number, line in enumerate(text.split("\n"), 1):
            if f"{folder}/" in line or f"{folder}\\" in line:
                yield Failure(reason="names a folder of this machine", module_line=number)
