"""What templates see of input tensors; ``context`` holds the rest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class InputText:
    """One input tensor, as the kernel reads it.

    Attributes:
        name: of the function's parameter.
        declared: as the spec does.
        origin: file and line of the spec.
        function: that reads elements of it.
        parameters: of that function.
        sizes: those of them that are lengths.
        inside: what holds for indices inside of the tensor; empty if it always does.
        address: of an element.
        zero: what is read outside.
        convert: what is appended to make it float32.
        kernel: the kernel's parameters.
        handed: their names, as they are handed on.
        host: the launcher's arguments for them.
        group: how many elements 16 bytes hold, where whole rows of keys are read; else 0.
        rows: statements that keep indices of queries inside, where whole rows of keys are read.
        element: how single elements are read, where rows are read and elements too.
    """

    name: str
    declared: str
    origin: str
    function: str
    parameters: tuple[str, ...]
    sizes: tuple[str, ...]
    inside: str
    address: str
    zero: str
    convert: str
    kernel: tuple[str, ...]
    handed: tuple[str, ...]
    host: tuple[str, ...]
    group: int = 0
    rows: tuple[str, ...] = ()
    element: InputText | None = None

    @property
    def data(self) -> tuple[str, ...]:
        """The kernel's parameters on whose values it does not specialise.

        Where whole rows are read, that is not the address, which the compiler may trust to be a
        multiple of 16: it always is.
        """
        return self.handed[1:] if self.group else self.handed

    @property
    def prepare(self) -> str:
        """The launcher's statement that makes it readable."""
        more = f", {self.group}" if self.group else ""
        function = "_in_tiles" if self.group else "_with_rows"
        return f"{self.name} = {function}({self.name}{more})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """All input tensors that are read.

    Attributes:
        tensors: in the order of the spec.
        program: the lines that read what does not depend on the key.
        step: the lines that read what does, in the key loop.
        handed: what the key loop is handed for them.
        needs_seq_q: whether it needs the number of queries for them.
        by_element, by_rows: whether any tensor is read by element, and by whole rows of keys.
    """

    tensors: tuple[InputText, ...]
    program: str
    step: str
    handed: tuple[str, ...]
    needs_seq_q: bool
    by_element: bool = False
    by_rows: bool = False
