"""What the templates of the warp-specialised backward pass see, beside what those of forward do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.render.context_blackwell import BlackwellContext

if TYPE_CHECKING:
    from flash4gen.render.context import Constant, Option
    from flash4gen.render.context_backward import (
        BackwardLaunch,
        Derivatives,
        EagerTraining,
        QuerySpans,
    )
    from flash4gen.render.context_blackwell import Named


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMask:
    """How single elements of a transposed score tile are masked.

    Attributes:
        title, origin: of the mask.
        helpers: whether the functions that turn intervals into bits are not there yet.
        compares: whether the function that compares positions is not there yet.
        text, parameters, body: of that function.
        seen: the assignment of the queries that see a key.
        bounds: what the function of a key's queries returns.
        bits: the statements that turn it into the bits of a fragment; none where queries are no
            intervals.
        visible: the comparison that stands in for them.
    """

    title: str
    origin: str
    helpers: bool
    compares: bool
    text: str
    parameters: tuple[str, ...]
    body: str
    seen: str
    bounds: tuple[str, ...]
    bits: tuple[str, ...]
    visible: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeRole:
    """The warps that recompute weights and find the gradients of scores.

    Attributes:
        dtype: of weights and gradients on their way to the next product.
        prescaled: whether products are scaled before the score, which is no identity then.
        derivatives: the function of score and derivative; no lines where it is a constant.
        score: the assignment of the score, and of its derivative.
        moving: whether the derivative is no constant.
        weights: the assignment of a weight times that derivative.
        columns: whether the positions of queries are read.
        mask: how elements are masked.
        full: whether tiles may need no mask.
        rest: whether heads have columns that are multiplied by themselves.
        width: the constant that says how many the others are.
        parameters: of a step.
        masked_call, full_call: its arguments in the loops with and without a mask.
    """

    dtype: str
    prescaled: bool
    derivatives: Derivatives
    score: str
    moving: bool
    weights: str
    columns: bool
    mask: QueryMask
    full: bool
    rest: bool
    width: str
    parameters: tuple[str, ...]
    masked_call: tuple[str, ...]
    full_call: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Everything that the backward pipeline is printed from.

    Attributes:
        constants: tiles, stages and registers, with their reasons.
        options: compiler options of the kernels before and after it.
        order: of the key tiles, in words; ``place``: the statements that find one.
        spans: which queries see a key tile.
        compute: the compute roles.
        barriers: arrays of mbarriers; the value is slots and arrivals.
        parts: the compute roles, each with what it writes last.
        warps, registers: of all roles but the first.
        dtype: of q, k, v and their gradients.
        rest: whether heads have columns that are multiplied by themselves.
        width: the constant that says how many the others are.
        fetched: what the load role is given.
        launch: the launcher.
        eager: the formula and its derivative in PyTorch.
    """

    constants: tuple[Constant, ...]
    options: tuple[Option, ...]
    order: str
    place: tuple[str, ...]
    spans: QuerySpans
    compute: ComputeRole
    barriers: tuple[Named, ...]
    parts: tuple[Named, ...]
    warps: str
    registers: tuple[str, ...]
    dtype: str
    rest: bool
    width: str
    fetched: tuple[str, ...]
    launch: BackwardLaunch
    eager: EagerTraining


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineContext(BlackwellContext):
    """What a warp-specialised module with both passes is printed from; templates know ``ctx``."""

    backward: Pipeline
