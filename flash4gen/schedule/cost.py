"""Modelled cycles of a schedule: a rank among candidates, not a prediction of a run.

In: a schedule that fits, the workload, the hardware. Out: ``Cost``: cycles of one SM for one head
at the nominal length, and which unit they are spent on.

One step of a block is one key tile. Each unit of the SM is busy for so many cycles in a step, and
the block itself needs at least its serial chain: scores, softmax, weights times values, hand-offs,
and what of the load latency the pipeline does not hide. Blocks that share an SM overlap, so that a
step costs the busiest unit's cycles or the chain divided by the blocks, whichever is more. Wave
quantisation is left out: it depends on batch and length, which a kernel learns at run time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.schedule.model import Load
from flash4gen.schedule.registers import thread_limit
from flash4gen.schedule.units import Unit, best_unit, matrix_unit, warp_grid
from flash4gen.schedule.workload import Operations

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.model import Schedule
    from flash4gen.schedule.workload import Workload

HALF = 2
"""Bytes of the elements that rates of matrix instructions are given for; of half the size, twice as
many are multiplied (vendor spec sheets of all targets that have them)."""

SOFTMAX_PLAIN = 5.5
"""Instructions per score: scale, max, subtract, sum, half a conversion, and exp2 itself."""

MAX_RATE = 64
"""Maxima, comparisons and selections per clock and SM."""

ISSUE_RATE = {Unit.MMA_SYNC: 128, Unit.WGMMA: 128, Unit.TCGEN05: 128, Unit.MFMA: 64}
"""Thread instructions issued per clock and SM: four schedulers, one warp each; AMD's four SIMDs
take four clocks for a wave of 64 lanes (CDNA 3 ISA)."""

CAPPED = Operations(1, 2)
"""Of A − 2A · 1 / (1 + 2^x), beside a softmax: product, exp2, sum, reciprocal, without a maximum.
The last multiply-add stands for the softmax's own."""

ROW_PLAIN = 16
"""Instructions per row, step and thread that holds part of the row: exchanges of the maximum and
the sum, the safe maximum, the rescaling factor."""

ROW_HOLDERS = {Unit.MMA_SYNC: 4, Unit.WGMMA: 4, Unit.TCGEN05: 1, Unit.MFMA: 4}
"""Threads of a warp that hold part of one row."""

SYNC_FLOPS = 4096
"""Operations of one mma.sync of a warp: 16×8×16 products and sums."""

LDMATRIX_BYTES = 512
"""Bytes that one ldmatrix of a warp brings from shared memory."""

STEP_PLAIN = 60
"""Instructions per step and warp for loop counters, barriers and addresses."""

LEAK = 0.15
"""Share of the less busy units' cycles that does not hide behind the busiest one."""

BRINK = 8
"""Registers below the limit from which on a schedule counts as being at it."""

BRINK_COST = 1.05
"""Factor on such a schedule: ptxas had no register left to load ahead with, and the next change of
an instruction spills. It decides between near equals only."""

SHADOW = 0.05
"""Share of the lesser of the two bounds, busiest unit and serial chain, that still shows."""

SYNC_FALLBACK = {Unit.WGMMA: 0.63, Unit.TCGEN05: 0.25}
"""Share of the peak that mma.sync reaches where there is a newer unit (arXiv 2402.13499; B300
microbenchmarks give a quarter)."""

STEP_LATENCY = {Unit.MMA_SYNC: 300, Unit.WGMMA: 400, Unit.TCGEN05: 450, Unit.MFMA: 300}
"""Cycles of hand-offs in one step: block barriers; the latency of a chain of matrix instructions,
of shared-memory reads, of the exchanges inside a row (25 each); with tcgen05 the completion barrier
(136 to 170 on B200) and the way of the weights back (92). MFMA's is a guess from mma.sync's."""

CROSS_WARP_LATENCY = 160
"""Cycles for a row maximum and a row sum that cross warps through shared memory."""

LOAD_LATENCY = {Load.POINTER: 600, Load.TMA: 750}
"""Cycles from asking for a tile to having it, mostly from L2 (790 on gfx950 from memory)."""

L2_RATE = {Unit.MMA_SYNC: 18, Unit.WGMMA: 30, Unit.TCGEN05: 70, Unit.MFMA: 54}
"""Bytes per clock and SM from L2, by the newest unit of the target (A100 2008, H800 3942 bytes per
clock in all; B200 20.4 TB/s; an XCD of CDNA 3 2048 for 38 compute units, its white paper)."""

HIDDEN_STEPS = {Unit.MMA_SYNC: 2, Unit.WGMMA: 2, Unit.TCGEN05: 1, Unit.MFMA: 1}
"""Stages that hide nothing: with mma.sync and wgmma a tile is asked for at the end of a step, with
tcgen05 before its last product, with MFMA at its beginning."""

POINTER_INSTRUCTIONS = 6
"""Instructions per 16-byte copy: address, predicate and the copy."""

BLOCK_OVERHEAD = 2500
"""Cycles of a block outside its loops: launch, first loads, last product, division, store."""

MOST_BLOCKS = 32
"""Resident blocks of an SM at most."""

REGISTER_UNIT = {Unit.MMA_SYNC: 256, Unit.WGMMA: 256, Unit.TCGEN05: 256, Unit.MFMA: 512}
"""Registers are handed to a warp in this many: 8 for each thread, or lane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Modelled cycles.

    Attributes:
        cycles: of one SM, for one head at the nominal length.
        step: of one SM, for one key tile.
        chain: serial cycles of one block for one key tile.
        blocks: blocks that share an SM.
        bound: what a step waits for: a unit, or the chain.
        units: busy cycles of each unit in a step.
    """

    cycles: float
    step: float
    chain: float
    blocks: int
    bound: str
    units: tuple[tuple[str, float], ...]


def cost(schedule: Schedule, work: Workload, hardware: Hardware) -> Cost:
    """Return the modelled cycles of a schedule that satisfies every constraint."""
    units = _busy(schedule, work, hardware)
    chain = _chain(schedule, units, hardware)
    blocks = resident_blocks(schedule, hardware)
    unit, busiest = max(units.items(), key=lambda item: item[1])
    overlapped = busiest + LEAK * (sum(units.values()) - busiest)
    alone = chain / blocks
    step = max(overlapped, alone) + SHADOW * min(overlapped, alone)
    tiles = work.key_tiles(schedule.tile_q, schedule.tile_k)
    mask = schedule.tile_q * schedule.tile_k * work.mask.plain / MAX_RATE
    cycles = tiles.visited * step + tiles.masked * mask
    cycles += tiles.query_tiles * BLOCK_OVERHEAD / blocks
    if schedule.registers > thread_limit(hardware, schedule.warps) - BRINK:
        cycles *= BRINK_COST
    return Cost(
        cycles=cycles,
        step=step,
        chain=chain,
        blocks=blocks,
        bound=unit if overlapped >= alone else "serial chain",
        units=tuple(units.items()),
    )


def resident_blocks(schedule: Schedule, hardware: Hardware) -> int:
    """Return how many blocks share an SM, by registers, memories and warps."""
    threads = schedule.warps * hardware.warp_size
    unit = REGISTER_UNIT[best_unit(hardware)]
    per_warp = -(-schedule.registers * hardware.warp_size // unit) * unit
    limits = [
        hardware.registers_per_sm // (per_warp * schedule.warps),
        hardware.smem_per_sm // (schedule.smem_bytes + hardware.smem_reserved),
        hardware.warps_per_sm * hardware.warp_size // threads,
        MOST_BLOCKS,
    ]
    if schedule.tmem_columns:
        limits.append(hardware.tmem_columns // schedule.tmem_columns)
    return max(1, min(limits))


def _busy(schedule: Schedule, work: Workload, hardware: Hardware) -> dict[str, float]:
    """Return the cycles for which one step keeps each unit of the SM busy."""
    unit = matrix_unit(hardware, schedule.tile_q, schedule.warps)
    scores = schedule.tile_q * schedule.tile_k
    score = CAPPED if schedule.capped else work.score
    # Without a running maximum, what is summed so far is left as it is.
    outputs = 0 if schedule.capped else schedule.tile_q * schedule.value_pad
    tile_bytes = schedule.tile_k * (schedule.head_pad + schedule.value_pad) * schedule.element
    copies = tile_bytes / 16 * POINTER_INSTRUCTIONS if schedule.load is Load.POINTER else 0
    grid = warp_grid(unit, schedule.tile_q, schedule.value_pad, schedule.warps)
    plain = scores * (SOFTMAX_PLAIN + score.plain + score.mufu) + outputs + copies
    plain += schedule.tile_q * ROW_HOLDERS[unit] * grid.columns * ROW_PLAIN
    plain += STEP_PLAIN * schedule.warps * hardware.warp_size
    shared = _shared_bytes(schedule, unit, tile_bytes)
    if unit is Unit.MMA_SYNC:
        flops = 2 * scores * (schedule.head_pad + schedule.value_pad)
        per_mma = SYNC_FLOPS * HALF / schedule.element
        plain += hardware.warp_size * (flops / per_mma + shared / LDMATRIX_BYTES)
    fused = (scores * (3 + score.plain) + outputs) / hardware.fma_rate
    exps = scores * (1 + score.mufu) + schedule.tile_q
    busy = {
        "tensor cores": _tensor(schedule, unit, hardware),
        "exponentials": exps / hardware.exp2_rate,
        "arithmetic": max(plain / ISSUE_RATE[unit], fused, scores / MAX_RATE),
        "shared memory": shared / hardware.smem_read_rate,
        "L2": tile_bytes / L2_RATE[best_unit(hardware)],
    }
    if unit is Unit.TCGEN05:
        lanes_used = min(1, schedule.tile_q / 128)
        words = scores * 1.5 + outputs * 2
        busy["tensor memory"] = words * 4 / (TMEM_RATE * lanes_used)
    return busy


TMEM_RATE = 256
"""Bytes per clock and SM between tensor memory and registers, all lanes together."""


def _tensor(schedule: Schedule, unit: Unit, hardware: Hardware) -> float:
    """Return the cycles of both products of a step.

    An instruction of M×N reads A and B from shared memory at M/4 + N/4 cycles per 16 columns, and
    computes N/2 cycles: narrow tiles wait for the read. tcgen05 with 64 rows runs at half its rate
    (both measured on B200, SemiAnalysis' tables).
    """
    flops = 2 * schedule.tile_q * schedule.tile_k
    rate = hardware.mma_flops * HALF / schedule.element
    best = best_unit(hardware)
    if unit in (Unit.MMA_SYNC, Unit.MFMA):
        return (
            flops * (schedule.head_pad + schedule.value_pad) / (rate * SYNC_FALLBACK.get(best, 1.0))
        )
    rows = 128 if unit is Unit.TCGEN05 else 64
    half = 2 if schedule.tile_q < rows else 1
    narrow = max(1.0, (rows / 4 + schedule.tile_k / 4) / (schedule.tile_k / 2))
    return flops * half * (schedule.head_pad * narrow + schedule.value_pad) / rate


def _shared_bytes(schedule: Schedule, unit: Unit, tile_bytes: float) -> float:
    """Return the bytes that one step moves through shared memory, the arriving tiles included."""
    query = schedule.tile_q * schedule.head_pad * schedule.element
    weights = schedule.tile_q * schedule.tile_k * schedule.element
    grid = warp_grid(unit, schedule.tile_q, schedule.value_pad, schedule.warps)
    if unit is Unit.MFMA:  # the query is in registers, and every warp reads all of the tile
        return tile_bytes * (1 + grid.rows)
    if unit is not Unit.MMA_SYNC:
        rows = 128 if unit is Unit.TCGEN05 else 64
        return tile_bytes * (1 + max(1, schedule.tile_q // rows)) + query
    if grid.columns == 1:
        return tile_bytes * (1 + grid.rows) + query
    return tile_bytes * 2 + grid.columns * (query + weights) + weights


def _chain(schedule: Schedule, busy: dict[str, float], hardware: Hardware) -> float:
    """Return the cycles from one step of a block to its next.

    A group of four warps takes turns between products and softmax. Groups with rows of their own
    are free to be at different points, so that each hides a part of the other; with tcgen05 one
    thread issues for all and there is a single chain. Two warps of one scheduler hide half of what
    a single one leaves unhidden between its own exponentials and arithmetic.
    """
    unit = matrix_unit(hardware, schedule.tile_q, schedule.warps)
    grid = warp_grid(unit, schedule.tile_q, schedule.value_pad, schedule.warps)
    schedulers = min(1.0, schedule.warps / 4)
    exps, plain = busy["exponentials"], busy["arithmetic"]
    sharing = max(1.0, schedule.warps / 4)
    softmax = (max(exps, plain) + min(exps, plain) / (2 * sharing)) / schedulers
    softmax += busy.get("tensor memory", 0.0) / sharing
    product = max(busy["tensor cores"] / schedulers, busy["shared memory"])
    groups = max(1, grid.rows // 4) if unit is not Unit.TCGEN05 else 1
    latency = STEP_LATENCY[unit] + (CROSS_WARP_LATENCY if grid.columns > 1 else 0)
    chain = max(softmax, product) + min(softmax, product) / groups + latency
    ahead = schedule.stages - HIDDEN_STEPS[unit]
    wait = LOAD_LATENCY[schedule.load] + busy["L2"]
    if schedule.stages == 1:
        return chain + 2 * wait
    return chain + max(0.0, wait - max(0, ahead) * chain)
