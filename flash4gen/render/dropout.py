"""Dropout as text for the templates: what kernels draw, and where a loop asks what it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.render.context_dropout import DropoutText

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flash4gen.ir.expr import Expr
    from flash4gen.ir.nodes import Attention


def dropout(attention: Attention) -> DropoutText:
    """Return what of a module is about dropout."""
    written = attention.field_source("dropout")
    origin = ""
    if written is not None:
        origin = f"{written.span.source.name.rpartition('/')[2]}:{written.span.line}"
    return DropoutText(
        drops=bool(attention.dropout), probability=repr(attention.dropout), origin=origin
    )


def prepared(known: Mapping[Expr, str], state: tuple[Expr, ...]) -> list[str]:
    """Return the kernel's lines that compute what all weights of a head have in common."""
    values = ", ".join(known[part] for part in state)
    return ["dropout_head = b * HEADS + h", f"dropout_key = _dropout_key({values})"]


def handed(attention: Attention, first: str) -> tuple[str, ...]:
    """Return what a loop is handed to ask; ``first`` is the first row of its program's tile."""
    return (first, "dropout_head", "dropout_key") if attention.dropout else ()


def kept(
    attention: Attention, q_first: str, q_tile: str, k_first: str, k_tile: str, *, upright: bool
) -> tuple[str, ...]:
    """Return the arguments of the function that says which weights of a tile stay.

    Args:
        attention: the variant; without dropout there are none.
        q_first: name of the first query of the tile.
        q_tile: constant with the number of its queries.
        k_first: name of the first key.
        k_tile: constant with the number of keys.
        upright: whether a row of the tile is a query, and not a key.
    """
    if not attention.dropout:
        return ()
    rows, columns = ("[:, None]", "[None, :]") if upright else ("[None, :]", "[:, None]")
    return (
        q_first,
        f"tl.arange(0, {q_tile}){rows}",
        k_first,
        f"tl.arange(0, {k_tile}){columns}",
        "dropout_head",
        "dropout_key",
    )


def eager_kept(attention: Attention) -> tuple[str, ...]:
    """Return the same for the function in PyTorch, which knows whole heads."""
    if not attention.dropout:
        return ()
    entry = ("entry",) if attention.length_tensors else ()
    return ("q", "k", "dropout_seed", "dropout_offset", *entry)
