"""What names mean while an expression is lowered: variables, constants, arguments and functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flash4gen.diagnostics.model import Label
from flash4gen.ir.expr import Expr, Input
from flash4gen.ir.nodes import Lengths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flash4gen.ir.expr import Literal
    from flash4gen.ir.lower_functions import Functions
    from flash4gen.source import Span


@dataclass(frozen=True, slots=True)
class Symbol:
    """The value of a parameter that is restricted to symbols."""

    text: str
    choices: frozenset[str]


Value = Expr | Symbol | Input | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What names mean at one place.

    Attributes:
        functions: what can be called.
        constants: the numbers of the attention item that are known so far.
        lengths: whether seq_q and seq_k may differ.
        paged: whether keys lie in blocks, each entry with a number of its own.
        trains: whether there is a backward pass.
        inputs: the tensors that the attention item declares; None after an error.
        parameters: the arguments, inside a function.
        site: the outermost call in the spec, inside a function.
        depth: levels of syntax above.
    """

    functions: Functions
    constants: Mapping[str, Literal | None]
    lengths: Lengths = Lengths.ANY
    inputs: Mapping[str, Input | None] = field(default_factory=dict)
    parameters: Mapping[str, Value] = field(default_factory=dict)
    site: Span | None = None
    depth: int = 0
    paged: bool = False
    trains: bool = False

    def place(self, span: Span, text: str = "") -> tuple[Label, tuple[Label, ...]]:
        """Return where to point for a finding at ``span``: at the spec first, then into a `def`."""
        if self.site is None:
            return Label(span, text), ()
        return Label(self.site, "in this call"), (Label(span, text or "here, once expanded"),)
