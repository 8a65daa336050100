"""All cases of the Gluon kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.vgpu.gluon import (
    cases_attention,
    cases_cluster,
    cases_copy,
    cases_exchange,
    cases_matmul,
    cases_pair,
)

if TYPE_CHECKING:
    from tests.vgpu.gluon.case import Case

ALL: tuple[Case, ...] = (
    *cases_copy.CASES,
    *cases_matmul.CASES,
    *cases_attention.CASES,
    *cases_cluster.CASES,
    *cases_exchange.CASES,
    *cases_pair.CASES,
)


def by_name(name: str) -> Case:
    """Return the case of that name."""
    return next(case for case in ALL if case.name == name)
