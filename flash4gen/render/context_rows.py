"""What templates see of norms and of the output's expression: frozen data, as in ``context``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NormText:
    """The norms of queries and keys.

    Attributes:
        queries: whether the rows of q change.
        keys: whether products get a factor for each key.
        title, origin: of the banner.
        query_eps, key_eps: added to mean squares; empty where there is no such norm.
        arguments: of the function that changes q, and its parameters.
        weight: the lines that compute what it multiplies with; empty for 1.
    """

    queries: bool
    keys: bool
    title: str = ""
    origin: str = ""
    query_eps: str = ""
    key_eps: str = ""
    arguments: tuple[str, ...] = ()
    weight: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputText:
    """What becomes of the output.

    Attributes:
        title, text, parameters, arguments, body, origin: as for ``Score``; no body where it stays.
        reads: the lines that read the tensors that have elements of rows.
        rows: the name of the output's rows.
    """

    title: str = ""
    text: str = ""
    parameters: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    body: str = ""
    origin: str = ""
    reads: str = ""
    rows: str = "out"
