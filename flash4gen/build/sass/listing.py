"""The text that nvdisasm prints → instructions and labels, function by function."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flash4gen.build.sass.kinds import Kind, kind_of

_LINE = re.compile(
    r"""^(?:
        \s+/\*(?P<address>[0-9a-f]{4,})\*/\s+(?:\{\s*)?
        (?:@(?P<guard>!?U?P\w+)\s+)?(?P<mnemonic>[A-Z][\w.]*)\s*(?P<operands>[^;\n]*);
      | (?P<label>[.$\w]+):[ \t]*$
      | \s*\.section\s+\.text\.(?P<function>[^,\s]+)
    )""",
    re.MULTILINE | re.VERBOSE,
)
_ALWAYS = (None, "PT", "UPT")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One SASS instruction.

    Attributes:
        address: its offset in the function.
        guard: the predicate that it depends on, None without one.
        mnemonic: with all suffixes.
        operands: the rest, as printed.
        kind: what it does.
    """

    address: int
    guard: str | None
    mnemonic: str
    operands: str
    kind: Kind

    @property
    def base(self) -> str:
        """The mnemonic without suffixes."""
        return self.mnemonic.partition(".")[0]

    @property
    def guarded(self) -> bool:
        """Whether some threads may skip it."""
        return self.guard not in _ALWAYS


@dataclass(frozen=True, slots=True)
class Listing:
    """One function: its instructions, and for each label the number of the instruction it marks."""

    name: str
    instructions: tuple[Instruction, ...]
    labels: dict[str, int]


def read_listings(sass: str) -> tuple[Listing, ...]:
    """Return the functions of a disassembly, without those that hold no instruction."""
    found: list[tuple[str, list[Instruction], dict[str, int]]] = []
    for line in _LINE.finditer(sass):
        address, guard, mnemonic, operands, label, function = line.groups()
        if function is not None:
            found.append((function, [], {}))
        elif not found:
            continue
        elif label is not None:
            found[-1][2][label] = len(found[-1][1])
        else:
            kind = kind_of(mnemonic)
            found[-1][1].append(
                Instruction(int(address, 16), guard, mnemonic, operands.rstrip(), kind)
            )
    return tuple(Listing(name, tuple(code), labels) for name, code, labels in found if code)
