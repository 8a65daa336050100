"""The bugs that are built into the Gluon kernels, and what must be found of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.vgpu import FindingKind as Kind
from tests.vgpu.gluon.all_cases import by_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vgpu.gluon.case import Case


# Bugs that the compiler would refuse are cut into the TTGIR of the correct kernel.
_EDITS: dict[str, Callable[[str], str]] = {
    "too much tensor memory": lambda text: text.replace(
        "<2x128x64xf32, #tmem", "<16x128x64xf32, #tmem"
    ),
    "too much shared memory": lambda text: text.replace(
        "<2x32x64xf16, #shared, #smem", "<64x32x64xf16, #shared, #smem"
    ),
}


@dataclass(frozen=True, slots=True)
class Bug:
    """One bug of one kernel.

    Attributes:
        case: name of the case.
        name: of the bug, the value of `BROKEN`.
        kinds: a finding must be of one of these; which one comes first depends on the schedule.
        where: what the source line says at which the finding, or what it collided with, is.
    """

    case: str
    name: str
    kinds: frozenset[Kind]
    where: str

    @property
    def kernel(self) -> Case:
        """The case itself."""
        return by_name(self.case)

    def text(self) -> str:
        """Return the TTGIR of the broken kernel."""
        if self.name in _EDITS:
            return _EDITS[self.name](self.kernel.text())
        return self.kernel.text(self.name)

    def __str__(self) -> str:
        return f"{self.case}: {self.name}"


def _bugs(case: str, *rows: tuple[str, str, *tuple[Kind, ...]]) -> tuple[Bug, ...]:
    return tuple(Bug(case, name, frozenset(kinds), where) for name, where, *kinds in rows)


# Data that is not there yet: seen as a race, or as what it looks like to the one who came too soon.
EARLY = (Kind.RACE_SMEM, Kind.UNINITIALISED, Kind.IN_FLIGHT)

BUGS: tuple[Bug, ...] = (
    *_bugs(
        "tma_copy",
        ("barrier not initialised", "mbarrier.expect(full", Kind.BARRIER_NOT_INITIALISED),
        ("count too high", "mbarrier.wait(full", Kind.DEADLOCK),
        ("too few bytes", "full.index(", Kind.BARRIER_TX_BYTES),
        ("too many bytes", "mbarrier.wait(full", Kind.DEADLOCK, Kind.BARRIER_TX_BYTES),
        ("wrong phase", "ring.index(stage).load(", *EARLY),
        ("load not waited for", "ring.index(stage).load(", *EARLY),
        ("ring reinitialised", "mbarrier.init(full.index(1)", Kind.BARRIER_REINIT),
        ("expects one load more", "mbarrier.", Kind.LEFTOVER_PHASE),
        ("staging overwritten", "staging.store(", Kind.RACE_SMEM),
        ("no fence", "tma.async_store(", Kind.MISSING_FENCE),
        ("same rows", "tma.async_store(", Kind.WRITE_OVERLAP, Kind.RACE_GLOBAL),
        ("store not waited for", "tma.async_store(", Kind.IN_FLIGHT),
    ),
    *_bugs(
        "cp_async_copy",
        ("group not waited for", "ring.index(i % STAGES).load(", *EARLY),
        ("ring too short", "ring.index(i % STAGES).load(", *EARLY),
        ("group not committed", "ring.index(i % STAGES).load(", *EARLY),
        ("copy out of bounds", "async_copy.async_load(", Kind.OUT_OF_BOUNDS),
    ),
    *_bugs(
        "ring_copy",
        ("too much shared memory", "gl.allocate_shared_memory(", Kind.SMEM_OVERALLOCATION),
        ("producer does not wait", "", Kind.RACE_SMEM, Kind.PHASE_OVERRUN,
         Kind.BARRIER_OVER_ARRIVAL),
        ("over-arrival", "full.index(stage)", Kind.BARRIER_OVER_ARRIVAL),
        ("arrives too early", "ring.index(stage)", Kind.RACE_SMEM),
        ("arrives at the next stage", "", Kind.RACE_SMEM, Kind.PHASE_OVERRUN, Kind.DEADLOCK),
        ("consumer does not arrive", "mbarrier.wait(", Kind.DEADLOCK),
        ("count too high", "mbarrier.wait(", Kind.DEADLOCK),
    ),
    *_bugs(
        "matmul_tcgen05",
        ("producer skips a wait", "", Kind.RACE_SMEM, Kind.PHASE_OVERRUN,
         Kind.BARRIER_OVER_ARRIVAL),
        ("expects one operand", "full.index(stage)", Kind.BARRIER_TX_BYTES),
        ("accumulator not waited for", "", Kind.RACE_TMEM, Kind.PHASE_OVERRUN),
        ("operands not waited for", "", *EARLY),
        ("arrives instead of committing", "", Kind.RACE_SMEM),
        ("accumulator freed early", "acc.index(tile % 2)", Kind.RACE_TMEM),
        ("staging overwritten", "staging.store(", Kind.RACE_SMEM),
        ("no fence", "tma.async_store(", Kind.MISSING_FENCE),
        ("count too high", "mbarrier.wait(", Kind.DEADLOCK),
        ("too much tensor memory", "allocate_tensor_memory(", Kind.TMEM_OVERALLOCATION),
    ),
    *_bugs(
        "matmul_wgmma",
        ("producer skips a wait", "", Kind.RACE_SMEM, Kind.PHASE_OVERRUN,
         Kind.BARRIER_OVER_ARRIVAL),
        ("expects one operand", "full.index(stage)", Kind.BARRIER_TX_BYTES),
        ("buffer freed too early", "_ring.index(stage)", Kind.RACE_SMEM),
        ("no fence", "tma.async_store(", Kind.MISSING_FENCE),
    ),
    *_bugs(
        "attention_two_roles",
        ("scores read too early", "s.load(layout)", Kind.RACE_TMEM, Kind.PHASE_OVERRUN),
        ("probabilities not waited for", "", Kind.RACE_TMEM, Kind.PHASE_OVERRUN,
         Kind.UNINITIALISED),
        ("probabilities published early", "", Kind.RACE_TMEM),
        ("probabilities published twice", "p_full", Kind.BARRIER_OVER_ARRIVAL),
        ("output not waited for", "o.load()", Kind.RACE_TMEM, Kind.IN_FLIGHT),
        ("no fence", "tma.async_store(", Kind.MISSING_FENCE),
    ),
    *_bugs(
        "attention_four_roles",
        ("ring one stage short", "", Kind.RACE_SMEM, Kind.PHASE_OVERRUN,
         Kind.BARRIER_OVER_ARRIVAL),
        ("one barrier for both buffers", "", Kind.RACE_TMEM, Kind.PHASE_OVERRUN,
         Kind.BARRIER_OVER_ARRIVAL, Kind.DEADLOCK),
        ("factors overwritten", "factors.", Kind.RACE_SMEM, Kind.PHASE_OVERRUN),
        ("probabilities over the other scores", "", Kind.RACE_TMEM),
        ("lse of the wrong rows", "gl.store(lse_ptr", Kind.WRITE_OVERLAP, Kind.RACE_GLOBAL),
        ("rescales a product in flight", "", Kind.RACE_TMEM, Kind.PHASE_OVERRUN),
        ("two roles write lse", "gl.store(lse_ptr", Kind.RACE_GLOBAL),
        ("store not waited for", "tma.async_store(", Kind.IN_FLIGHT),
        ("count too low", "", Kind.RACE_TMEM, Kind.PHASE_OVERRUN, Kind.BARRIER_OVER_ARRIVAL),
    ),
    *_bugs(
        "flash",
        ("ring overwritten", "", Kind.RACE_SMEM, Kind.PHASE_OVERRUN, Kind.BARRIER_OVER_ARRIVAL),
        ("value freed after the first tile", "", Kind.RACE_SMEM),
        ("published to the other tile", "", Kind.RACE_TMEM, Kind.BARRIER_OVER_ARRIVAL,
         Kind.PHASE_OVERRUN),
        ("published before it is written", "", Kind.RACE_TMEM),
        ("lse of both tiles to the same rows", "gl.store(lse_ptr", Kind.RACE_GLOBAL),
        ("factors not waited for", "factors.index(", *EARLY),
        ("rescales the other tile", "value = o.load()", Kind.RACE_TMEM),
        ("staging overwritten", "staging.store(", Kind.RACE_SMEM),
        ("count too low", "", Kind.RACE_TMEM, Kind.PHASE_OVERRUN, Kind.BARRIER_OVER_ARRIVAL),
    ),
    *_bugs(
        "clc_copy",
        ("too few bytes", "answered", Kind.BARRIER_TX_BYTES),
        ("answer not waited for", "clc.", *EARLY),
        ("never ends", "", Kind.STEP_LIMIT),
    ),
    *_bugs(
        "matmul_two_ctas",
        ("buffer not waited for", "", Kind.RACE_SMEM, Kind.PHASE_OVERRUN,
         Kind.BARRIER_OVER_ARRIVAL),
        ("bytes of the whole cluster", "mbarrier.wait(full", Kind.DEADLOCK,
         Kind.BARRIER_TX_BYTES),
        ("product not waited for", "acc.load()", Kind.RACE_TMEM, Kind.IN_FLIGHT),
    ),
    *_bugs(
        "matmul_multicast",
        ("one user counted", "", Kind.BARRIER_OVER_ARRIVAL, Kind.RACE_SMEM),
        ("the other CTA not waited for", "tcgen05_mma(", Kind.BARRIER_OVER_ARRIVAL),
        ("buffer not waited for", "", Kind.RACE_SMEM, Kind.PHASE_OVERRUN,
         Kind.BARRIER_OVER_ARRIVAL),
        ("bytes of the whole cluster", "mbarrier.wait(full", Kind.DEADLOCK,
         Kind.BARRIER_TX_BYTES),
        ("product not waited for", "acc.load()", Kind.RACE_TMEM, Kind.IN_FLIGHT),
    ),
    *_bugs(
        "attention_pair",
        ("ring overwritten", "_ring.index(at)", Kind.RACE_SMEM),
        ("bytes of both CTAs", "", Kind.BARRIER_TX_BYTES, Kind.DEADLOCK),
        ("bias overwritten", "bias, multicast=True", Kind.RACE_SMEM),
        ("bias announced by each CTA", "mbarrier.expect(bias_full", Kind.BARRIER_OVER_ARRIVAL),
        ("queries not waited for", "tcgen05_mma(q,", *EARLY),
        ("ring handed back before the second product", "v_ring.index(at)", Kind.RACE_SMEM),
        ("probabilities not waited for", "_weights(s", Kind.RACE_TMEM),
        ("scores read too early", "s.load(layout)", Kind.RACE_TMEM),
        ("published before it is written", "_weights(s", Kind.RACE_TMEM),
        ("published twice", "p_full", Kind.BARRIER_OVER_ARRIVAL),
        ("only one CTA publishes", "mbarrier.wait(p_full", Kind.DEADLOCK),
        ("count too high", "mbarrier.wait(p_full", Kind.DEADLOCK),
        ("output not waited for", "o.load()", Kind.RACE_TMEM),
        ("no fence", "tma.async_store(", Kind.MISSING_FENCE),
    ),
    *_bugs(
        "pair_query_gradient",
        ("no fence", "tcgen05_mma(a.permute", Kind.MISSING_FENCE),
        ("only one CTA says that it has stored", "mbarrier.wait(ready", Kind.DEADLOCK),
        ("halves not waited for", "tcgen05_mma(a.permute", Kind.RACE_SMEM),
        ("product not waited for", "dq.load()", Kind.RACE_TMEM),
    ),
    *_bugs(
        "resplit_stores",
        ("CTAs do not wait for each other", "async_store(buffer", Kind.RACE_SMEM),
        ("relaxed barrier", "async_store(buffer", Kind.RACE_SMEM),
        ("barrier in one branch", "async_store(buffer", Kind.RACE_SMEM),
        ("bytes of both CTAs", "mbarrier.wait(come", Kind.DEADLOCK, Kind.BARRIER_TX_BYTES),
        ("bytes of one quarter", "async_store(buffer", Kind.BARRIER_TX_BYTES),
        ("quarters not waited for", "buffer.load(", *EARLY),
    ),
    *_bugs(
        "resplit_loads",
        ("read before it is there", "kept.load(by_cols)", *EARLY),
        ("relaxed barrier", "kept.load(by_rows)", Kind.RACE_SMEM),
    ),
    *_bugs(
        "skewed_turns",
        ("acknowledged by each", "mbarrier.arrive(turn", Kind.BARRIER_OVER_ARRIVAL),
        ("acknowledgement not waited for", "mbarrier.arrive(", Kind.BARRIER_NOT_INITIALISED),
        ("arrives twice", "mbarrier.arrive(turn", Kind.BARRIER_OVER_ARRIVAL),
        ("count too low", "mbarrier.arrive(turn", Kind.BARRIER_OVER_ARRIVAL),
        ("given up while the other uses it", "", Kind.BARRIER_NOT_INITIALISED,
         Kind.BARRIER_REINIT),
    ),
    *_bugs(
        "matmul_wgmma_cluster",
        ("own buffer not waited for", "_ring.index(at)", Kind.RACE_SMEM),
        ("other buffer not waited for", "_ring.index(at)", Kind.RACE_SMEM),
        ("B announced on one CTA", "", Kind.BARRIER_TX_BYTES, Kind.RACE_SMEM),
        ("operands not waited for", "_ring.index(at)", *EARLY),
        ("freed while products run", "b_ring.index(at)", Kind.RACE_SMEM),
        ("count too high", "mbarrier.wait(both_empty", Kind.DEADLOCK),
        ("no fence", "tma.async_store(", Kind.MISSING_FENCE),
    ),
    *(
        bug
        for name in ("copied_start", "copied_start_pair")
        for bug in _bugs(
            name,
            ("copied before it has come", "tcgen05_copy(start", *EARLY),
            ("start overwritten while it is copied", "start.store(", Kind.RACE_SMEM),
            ("product not waited for", "acc.load()", Kind.RACE_TMEM),
        )
    ),
    *_bugs(
        "clc_copy_cluster",
        ("too few bytes", "answered", Kind.BARRIER_TX_BYTES),
        ("announced for the first answer only", "", Kind.BARRIER_TX_BYTES, Kind.DEADLOCK),
        ("answer not waited for", "clc.", *EARLY),
        ("CTAs do not wait for each other", "", Kind.RACE_SMEM, Kind.DEADLOCK),
    ),
)  # fmt: skip
