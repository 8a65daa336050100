"""Canonical digests of frozen data: equal values, equal digest; what is unknown is refused.

Fields that do not take part in comparison (spans) do not take part in the digest either. Fields
marked ``WHERE_SET`` do where they differ from their default: what came into the language later does
not change the digest of what does without it.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dataclasses import Field

WHERE_SET: Final = {"digest": "where set"}
"""Metadata of a dataclass field whose default value leaves no trace in the digest."""


def digest(value: object) -> str:
    """Return the SHA-256 of a value in hexadecimal.

    Raises:
        TypeError: the value holds something without a canonical form.
    """
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def canonical(value: object) -> str:
    """Return a text that two values share exactly if they are equal."""
    match value:
        case None | bool() | int() | float():
            return repr(value) if not isinstance(value, Enum) else _enum(value)
        case Enum():
            return _enum(value)
        case str():
            return repr(value)
        case tuple():
            return "(" + ",".join(canonical(item) for item in value) + ")"
        case frozenset():
            return "{" + ",".join(sorted(canonical(item) for item in value)) + "}"
        case _ if is_dataclass(value) and not isinstance(value, type):
            parts = (
                f"{f.name}={canonical(getattr(value, f.name))}"
                for f in fields(value)
                if f.compare and not is_left_out(f, getattr(value, f.name))
            )
            return f"{type(value).__name__}({','.join(parts)})"
    raise TypeError(f"no canonical form for {type(value).__name__}")


def is_left_out(field: Field[Any], value: object) -> bool:
    """Whether a field leaves no trace: it is marked ``WHERE_SET`` and has its default."""
    return "digest" in field.metadata and value == field.default


def _enum(value: Enum) -> str:
    return f"{type(value).__name__}.{value.name}"
