"""flash4gen: attention specs to readable, proven FlashAttention-4 kernels.

The names below are the Python interface. They are imported when they are first asked for, so that
importing the package costs nothing and brings in neither torch nor Triton.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flash4gen.diagnostics import Diagnostic
    from flash4gen.driver import check_spec, compile_spec

__version__ = "0.1.0"

__all__ = ["Diagnostic", "__version__", "check_spec", "compile_spec"]

_HOME = {
    "Diagnostic": "flash4gen.diagnostics",
    "check_spec": "flash4gen.driver",
    "compile_spec": "flash4gen.driver",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
