"""Warp instructions that a softmax step takes, counted by pipe.

In: a schedule, and the operations of score and mask. Out: ``Effort``: the work of each fragment of
32 columns. Counts are those of the compiled kernels (``build/sass`` reads them): with 24 columns in
software they add up to 4.1 instructions an element, with none to 2.9 and 3.1 by where maxima come
from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.clock.program import Work
from flash4gen.schedule.blackwell.model import RowMax, Tanh
from flash4gen.schedule.blackwell.space import FRAGMENT, spread
from flash4gen.schedule.workload import Operations

if TYPE_CHECKING:
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.traits import Traits
    from flash4gen.schedule.workload import Workload

THREE_SOURCES = 1.6
"""Issue slots of a multiply-add with three different registers (0.61 to 0.65 a cycle and SMSP:
ademeure/QuickRunCUDA b300_clean)."""

SOFTWARE_PAIR = Work(fma=2 * THREE_SOURCES, fma2=5 * THREE_SOURCES + 1, alu=4)
"""Two exponentials by the polynomial: clamping to the range twice, floor, rest in two steps, three
steps of Horner, each on both; two shifts into the exponent and two additions
(``concern/exp2/mixed``)."""

PACKED = 0.3
"""Instructions an operation of a score takes: two elements share one, and constant factors fold
into their neighbours. A softcap's seven operations compile to 2.07 beside its MUFU instructions."""

TANH = {Tanh.EXACT: Operations(5, 2), Tanh.APPROX: Operations(0, 1)}
"""What a hyperbolic tangent takes, by how it is computed."""

MASK_SELECT = 1.0
MASK_REST = 0.36
"""Instructions an element of a masked step takes beside the others, where visible keys are
intervals: selections, and moving bits to predicates. Read from the causal kernel: 5.29 to 3.93."""

NEW_MAX = Work(alu=8, fma=3, other=5)
"""The running maximum of a row, its offset and the factor (``_new_max``). The factor's exponential
is a single instruction, which slips in between those of another warp; it counts as a slot."""

OVERHEAD = Work(alu=4, other=12)
"""Counters, phases and addresses of a softmax step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Work of one warp in a softmax step.

    Attributes:
        maxima: of each fragment, besides its load.
        masking: of each fragment of a masked step.
        exponents: of each fragment: score, scaling, exp2, conversion.
        sums: of all fragments, and of the row.
    """

    maxima: Work
    masking: Work
    exponents: tuple[Work, ...]
    sums: Work


def effort(schedule: BlackwellSchedule, traits: Traits, work: Workload) -> Effort:
    """Return the effort of a schedule for an attention."""
    fragments = schedule.tile_k // FRAGMENT
    plain, mufu = _score(schedule, traits, work)
    score = Work(
        fma2=FRAGMENT * PACKED * max(0, plain - traits.integers),
        mufu=FRAGMENT * mufu,
        alu=FRAGMENT * traits.integers,
    )
    reduce = Work(alu=2) if schedule.row_max is RowMax.LOAD else Work(alu=FRAGMENT / 2)
    early = traits.normalised and not traits.monotone and not traits.identity
    maxima = reduce + score if early else reduce
    late = Work() if early else score
    if not traits.normalised:
        maxima = Work()  # and the reciprocals count as a part of the score
    return Effort(
        maxima=maxima,
        masking=_masking(work, schedule),
        exponents=tuple(
            late + _exponents(columns) for columns in spread(schedule.emulated, fragments)
        ),
        sums=Work(fma2=schedule.tile_k / 2, fma=4),
    )


def _exponents(software: int) -> Work:
    """Return the work of a fragment: scaling and MUFU of some columns, a polynomial of the rest."""
    hardware = FRAGMENT - software
    work = SOFTWARE_PAIR * (software / 2)
    return work + Work(fma2=hardware / 2, mufu=hardware, cvt=FRAGMENT / 2)


def _score(schedule: BlackwellSchedule, traits: Traits, work: Workload) -> Operations:
    """Return the operations of the score, with its tangents as the schedule computes them."""
    plain, mufu = work.score
    if traits.tanh and schedule.tanh is Tanh.APPROX:
        exact, approx = TANH[Tanh.EXACT], TANH[Tanh.APPROX]
        plain, mufu = plain - exact.plain + approx.plain, mufu - exact.mufu + approx.mufu
    return Operations(max(plain, 0), max(mufu, 0))


def _masking(work: Workload, schedule: BlackwellSchedule) -> Work:
    """Return the work of mask code on a fragment, whose maxima are taken in registers then."""
    if not work.mask.plain:
        return Work()
    again = FRAGMENT / 2 if schedule.row_max is RowMax.LOAD else 0
    return Work(alu=FRAGMENT * MASK_SELECT + again, other=FRAGMENT * MASK_REST)
