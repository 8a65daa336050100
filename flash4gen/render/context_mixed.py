"""What the templates of a module see whose forward kernel is in Gluon and gradients in Triton."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.render.context_blackwell import BlackwellContext
from flash4gen.render.context_pipeline import PipelineContext

if TYPE_CHECKING:
    from flash4gen.render.context import (
        Arithmetic,
        Constant,
        Impl,
        LoadText,
        Mask,
        Option,
        Score,
    )
    from flash4gen.render.context_backward import (
        Backward,
        Common,
        DistanceGradient,
        GradientLoop,
        PairGradient,
    )
    from flash4gen.render.context_inputs import Inputs


@dataclass(frozen=True, slots=True)
class Stored:
    """Which elements of a tile of rows exist: ``store_mask`` is an expression."""

    store_mask: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InTriton:
    """What both passes compute with, in the language of the second.

    Attributes:
        constants: those that the forward pass has not, or with another value.
        options: what all launches have in common.
        arithmetic: functions that expressions call.
        load: how tiles come from global memory.
        inputs: the tensors that are read; their functions on the host where the forward pass has
            none.
        score: the score expression, where a loop recomputes it without derivatives.
        mask: the mask expression; ``masks``: whether it hides any key.
        stored: which rows and columns of the output exist.
    """

    constants: tuple[Constant, ...]
    options: tuple[Option, ...]
    arithmetic: Arithmetic
    load: LoadText
    inputs: Inputs
    score: Score
    mask: Mask
    masks: bool
    stored: Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedContext(BlackwellContext):
    """What a module with a warp-specialised forward kernel and portable gradients is printed from.

    Templates know it as ``ctx``.
    """

    backward: Backward
    triton: InTriton


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The portable kernels that sum gradients of inputs beside a pipeline, each only those.

    Attributes:
        weights, extents: their concerns.
        common: constants, options, derivatives and spans.
        queries, keys: the loops of sums by query and by key, where there are some.
        pairs, distances: gradients with an element per score, and per distance.
    """

    weights: Impl
    extents: Impl
    common: Common
    queries: GradientLoop | None
    keys: GradientLoop | None
    pairs: tuple[PairGradient, ...]
    distances: tuple[DistanceGradient, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideContext(PipelineContext):
    """What a module of a pipeline with portable sums beside it is printed from.

    Templates know it as ``ctx``.
    """

    beside: Beside
    triton: InTriton
