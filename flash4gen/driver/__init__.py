"""The stages in order, for the command line and for Python: spec file → modules and certificates.

The only package that knows the whole way. Torch and Triton are imported when the first stage that
needs them runs, so that checking and explaining start fast.
"""

from __future__ import annotations

from flash4gen.driver.model import (
    Checked,
    CompileResult,
    Event,
    ModuleResult,
    Plan,
    Progress,
    StageError,
)
from flash4gen.driver.plan import check_spec, plan_spec
from flash4gen.driver.run import EMITTED, check_fresh, compile_spec, validate_spec

__all__ = [
    "EMITTED",
    "Checked",
    "CompileResult",
    "Event",
    "ModuleResult",
    "Plan",
    "Progress",
    "StageError",
    "check_fresh",
    "check_spec",
    "compile_spec",
    "plan_spec",
    "validate_spec",
]
