"""The stages in order, for the command line and for Python: spec file → modules and certificates.

The only package that knows the whole way. Names are loaded when they are used: checking a spec
must not wait for the scheduler and the templates, nor those for torch and Triton.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flash4gen.driver.model import (
        Checked,
        Compared,
        CompileResult,
        Event,
        IndexPlan,
        IndexResult,
        ModuleResult,
        Plan,
        Progress,
        StageError,
    )
    from flash4gen.driver.plan import check_spec, plan_indexes, plan_spec
    from flash4gen.driver.run import (
        EMITTED,
        check_fresh,
        compare_spec,
        compile_spec,
        validate_spec,
    )
    from flash4gen.driver.simulate import Simulated, simulate_spec

__all__ = [
    "EMITTED",
    "Checked",
    "Compared",
    "CompileResult",
    "Event",
    "IndexPlan",
    "IndexResult",
    "ModuleResult",
    "Plan",
    "Progress",
    "Simulated",
    "StageError",
    "check_fresh",
    "check_spec",
    "compare_spec",
    "compile_spec",
    "plan_indexes",
    "plan_spec",
    "simulate_spec",
    "validate_spec",
]

_HOMES = {
    "check_spec": "plan",
    "plan_indexes": "plan",
    "plan_spec": "plan",
    "EMITTED": "run",
    "check_fresh": "run",
    "compare_spec": "run",
    "compile_spec": "run",
    "validate_spec": "run",
    "Simulated": "simulate",
    "simulate_spec": "simulate",
}


def __getattr__(name: str) -> object:
    """Load a public name from the module that defines it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'model')}"), name)
