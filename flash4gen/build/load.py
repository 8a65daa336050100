"""Import of one generated module from its file, each time anew."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

_COUNTER = itertools.count()


def load_module(path: Path) -> ModuleType:
    """Import the file under a name of its own; Triton reads kernels from files only.

    Args:
        path: the module.

    Raises:
        ImportError: the file is no importable Python module.
    """
    name = f"flash4gen_generated_{next(_COUNTER)}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    writes_bytecode = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.dont_write_bytecode = writes_bytecode
    return module
