"""Kernels in a user's file: import it, call one of its functions, and check what it launches."""

from __future__ import annotations

import sys
import traceback
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

from triton import knobs

from flash4gen.diagnostics import Code, Diagnostic, DiagnosticError, Severity
from flash4gen.diagnostics.suggest import did_you_mean
from flash4gen.vgpu.driver import virtual_gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from flash4gen.vgpu.check import Check
    from flash4gen.vgpu.driver import Launch
    from flash4gen.vgpu.report import Report


def checked_launches(
    place: str, arch: int | str, checks: Iterable[Check]
) -> Iterator[tuple[Launch, Report]]:
    """Call a function once for every check and yield its launches and what was found of each.

    Args:
        place: `FILE.py::FUNCTION`; the function takes no arguments.
        arch: what to compile for and to be, as in ``virtual_gpu``.
        checks: how each call is checked.

    Raises:
        DiagnosticError: there is no such file or function, or it raised, or launched nothing.
    """
    path, name = _place(place)
    function = _function(path, name)
    for check in checks:
        failure: BaseException | None = None
        with _own_cache(path), virtual_gpu(arch, check=check) as gpu:
            try:
                function()
            except (Exception, SystemExit) as error:
                failure = error
        # A launch that raised has no report, and is the last.
        yield from zip(gpu.launches, gpu.reports, strict=False)
        if failure is not None:
            raise _failed(f"`{name}` raised", failure, path) from failure
        if not gpu.launches:
            raise refused(Code.CALL_FAILED, f"`{name}` launched no kernel")


def refused(code: Code, message: str, *helps: str, notes: tuple[str, ...] = ()) -> DiagnosticError:
    """Return the error of one diagnostic that has no place in a spec."""
    found = Diagnostic(
        code=code, severity=Severity.ERROR, message=message, notes=notes, helps=helps
    )
    return DiagnosticError((found,))


@contextmanager
def _own_cache(file: Path) -> Iterator[None]:
    """Let Triton keep what it compiles of a file apart from all other files.

    It knows kernels by their text: one that was copied from another file would be found compiled,
    and its findings would name that file.
    """
    name = sha256(str(file).encode()).hexdigest()[:16]
    with knobs.cache.scope():
        knobs.cache.dir = str(Path(knobs.cache.dir) / f"vgpu-{name}")
        yield


def _place(place: str) -> tuple[Path, str]:
    file, _, name = place.partition("::")
    if not name.isidentifier():
        example = f"{file or 'kernels.py'}::main"
        raise refused(Code.NO_FUNCTION, f"`{place}` names no function", f"write `{example}`")
    path = Path(file)
    if not path.is_file():
        raise refused(Code.UNREADABLE, f"cannot read `{file}`: there is no such file")
    return path.resolve(), name


def _function(path: Path, name: str) -> Callable[[], object]:
    """Import a file as Python would run it, and return one of its functions."""
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise refused(Code.NO_FUNCTION, f"`{path.name}` is no Python file")
    module = module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _failed(f"`{path.name}` cannot be imported", error, path) from error
    function = getattr(module, name, None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    names = [key for key, value in vars(module).items() if callable(value)]
    helps = did_you_mean(name, names)
    raise refused(Code.NO_FUNCTION, f"`{path.name}` has no function `{name}`", *helps)


def _failed(what: str, error: BaseException, path: Path) -> DiagnosticError:
    """Return the diagnostic of an exception in the user's code, with the user's line."""
    said = str(error).strip()
    message = f"{what}: {type(error).__name__}" + (f": {said}" if said else "")
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename) == path]
    notes = (f"at {path.name}:{own[-1].lineno}",) if own else ()
    return refused(Code.CALL_FAILED, message, notes=notes)
