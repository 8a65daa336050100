"""From an exception to the line of the generated module, and from there to the line of the spec.

Every operation that the virtual GPU executes knows the lines that it came from. The module's
sections are headed by banners, and those that a field of the spec asked for end in its place.
"""

from __future__ import annotations

import ast
import re
import traceback
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from flash4gen.vgpu import VirtualGpuError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash4gen.validate.certificate import Json

_BANNER = re.compile(r"^# --- .* -{3,}(?: (?P<origin>\S+:\d+))?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One reason why a rung failed.

    Attributes:
        reason: what is wrong, as a sentence.
        module_line: 1-based line of the generated module, 0 where none is to blame.
        function: the module's function around that line.
        spec: ``file:line`` of the spec's field behind it, where there is one.
    """

    reason: str
    module_line: int = 0
    function: str = ""
    spec: str = ""

    def to_json(self) -> dict[str, Json]:
        """Return the fields that are known."""
        fields: dict[str, Json] = {
            "reason": self.reason,
            "module_line": self.module_line,
            "function": self.function,
            "spec": self.spec,
        }
        return {name: value for name, value in fields.items() if value}


def blame(error: BaseException, module_name: str, text: str, context: str = "") -> Failure:
    """Return the failure that an exception amounts to.

    Args:
        error: raised while the module ran.
        module_name: file name of the module, without folders.
        text: the module's text.
        context: what ran, put before the reason.
    """
    if isinstance(error, VirtualGpuError):
        found = error.finding
        reason = f"{found.kind}: {found.message}"
        frames = [(frame.file, frame.line) for frame in found.location.frames]
    else:
        reason = f"{type(error).__name__}: {_last_line(error)}"
        trace = traceback.extract_tb(error.__traceback__)
        frames = [(frame.filename, frame.lineno or 0) for frame in reversed(trace)]
    lines = [line for file, line in frames if PurePath(file).name == module_name]
    reason = f"{context}: {reason}" if context else reason
    if not lines:
        return Failure(reason=reason)
    return Failure(
        reason=reason,
        module_line=lines[0],
        function=function_at(text, lines[0]),
        spec=spec_line(text, lines),
    )


def function_at(text: str, line: int) -> str:
    """Return the name of the top-level function around a line of Python text, or ""."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or 0):
            return node.name
    return ""


def spec_line(text: str, lines: Iterable[int]) -> str:
    """Return the place in the spec that the first of these lines with one stems from, or ""."""
    rows = text.split("\n")
    for line in lines:
        banners = (_BANNER.match(row) for row in reversed(rows[:line]))
        nearest = next((banner for banner in banners if banner), None)
        if nearest and nearest["origin"]:
            return nearest["origin"]
    return ""


def _last_line(error: BaseException) -> str:
    """Return the last line of a message: a compiler's conclusion, after its excerpts."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
