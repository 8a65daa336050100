"""What a ``blackwell`` schedule must satisfy: one small predicate per rule, each with its reason.

In: a schedule, the target, and what is known of the attention. Out: None, or a ``Broken``: which
rule, why, which fields it is about, and what to write instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flash4gen.ir.hardware import Feature
from flash4gen.schedule.blackwell.memory import TILE, memory_plan, roles
from flash4gen.schedule.blackwell.model import RowMax, TensorPlan
from flash4gen.schedule.blackwell.registers import (
    FIELDS,
    SOFTMAX_FLOOR,
    Split,
    equation,
    pool,
    used,
)
from flash4gen.schedule.blackwell.resolve import most_stages
from flash4gen.schedule.blackwell.short import able, one_tile
from flash4gen.schedule.blackwell.space import DOMAINS, LEAST_STAGES
from flash4gen.schedule.blackwell.traits import NARROW, WIDE, WIDEST
from flash4gen.schedule.model import Family

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.traits import Traits

PAIR_WIDTHS = ((128, 128), WIDE)
"""Padded widths at which two CTAs may share products (those of FlashAttention-4's table)."""


class Broken(NamedTuple):
    """A broken rule.

    Attributes:
        constraint: its name.
        reason: what is broken, in words.
        fields: the fields that it is about, the likeliest culprit first.
        fix: what to write instead, if that is known.
        details: the sum that is too large, by part.
    """

    constraint: str
    reason: str
    fields: tuple[str, ...]
    fix: str = ""
    details: tuple[str, ...] = ()


def instructions(schedule: BlackwellSchedule, hardware: Hardware) -> Broken | None:
    """Products are tcgen05 instructions, and copies go through the copy engine."""
    for feature in (Feature.TCGEN05, Feature.TMA):
        if not hardware.has(feature):
            return Broken("instructions", f"{hardware.doc} has no {feature}", ())
    if schedule.row_max is RowMax.LOAD and not hardware.has(Feature.TMEM_REDUCE):
        reason = (
            f"{hardware.doc} cannot reduce while it loads from tensor memory (tmem_reduce): that "
            "came with sm_103"
        )
        return Broken("instructions", reason, ("row_max",), "row_max = reduce")
    return None


def domains(schedule: BlackwellSchedule, _hardware: Hardware) -> Broken | None:
    """Every free field has one of its values."""
    for name, domain in DOMAINS.items():
        if name == "emulation_share":
            continue  # pinned in place of `emulated`
        value = getattr(schedule, name)
        if domain.read(value) is None:
            return Broken("domains", f"{name} = {value}: {domain.rule}", (name,))
    if schedule.element == 1 and schedule.rescale_threshold:
        reason = (
            f"rescale_threshold = {schedule.rescale_threshold}: 8-bit weights are scaled to reach "
            "2⁸, and e4m3 ends at 448, so that there is no room for a maximum that has grown"
        )
        return Broken("domains", reason, ("rescale_threshold",), "rescale_threshold = 0")
    return None


def widths(schedule: BlackwellSchedule, _hardware: Hardware) -> Broken | None:
    """Heads are padded to widths that the family has a memory plan for."""
    pair = schedule.head_pad, schedule.value_pad
    known = all(side in (16, 32, 64, NARROW) for side in pair) or pair in (WIDE, WIDEST)
    return None if known else Broken("widths", f"no plan for heads padded to {pair}", ())


def tiles(schedule: BlackwellSchedule, _hardware: Hardware) -> Broken | None:
    """Two score slots in turn are for a single query tile, and a single tile uses them."""
    if schedule.query_tiles == 2 and (schedule.head_pad, schedule.value_pad) == WIDEST:
        reason = "two accumulators of 256 columns leave tensor memory no room for scores"
        return Broken("tiles", reason, ("query_tiles", "plan"), "query_tiles = 1")
    if schedule.query_tiles == 1 and schedule.plan is not TensorPlan.DOUBLE_S:
        reason = f"{schedule.plan} is for two query tiles that take turns; one uses double_s"
        return Broken("tiles", reason, ("plan", "query_tiles"), "plan = double_s")
    if schedule.query_tiles == 2 and schedule.plan is TensorPlan.DOUBLE_S:
        reason = "double_s gives both score slots to one query tile"
        return Broken("tiles", reason, ("plan", "query_tiles"), "query_tiles = 1")
    return None


def pair(schedule: BlackwellSchedule, _hardware: Hardware) -> Broken | None:
    """Two CTAs share products where both have the same steps and the plan was laid out for it."""
    if schedule.ctas == 1:
        return None
    fix = "ctas = 1"
    if schedule.element == 1:
        return Broken("pair", "a pair of CTAs shares products of 16-bit elements", ("ctas",), fix)
    if schedule.query_tiles != 2 or schedule.plan is not TensorPlan.P_IN_S:
        reason = "a pair of CTAs works on two query tiles each, with plan = p_in_s"
        return Broken("pair", reason, ("ctas", "plan", "query_tiles"), fix)
    if (schedule.head_pad, schedule.value_pad) not in PAIR_WIDTHS:
        reason = (
            "a pair of CTAs shares products of heads padded to 128, or of 192 with 128; here they "
            f"are {schedule.head_pad} and {schedule.value_pad}"
        )
        return Broken("pair", reason, ("ctas",), fix)
    if schedule.stages % 2:
        reason = (
            f"stages = {schedule.stages}: the CTAs of a pair hold half of the keys and half of the "
            "value columns, in slots of two kinds that take turns; their number is even"
        )
        fields = ("stages", "ctas")
        return Broken("pair", reason, fields, f"stages = {schedule.stages - 1}")
    return None


def tensor_memory(schedule: BlackwellSchedule, hardware: Hardware) -> Broken | None:
    """Scores, weights and accumulators fit into tensor memory."""
    regions = memory_plan(schedule).regions
    needed = max(region.first + region.columns for region in regions)
    if max(needed, schedule.tmem_columns) <= hardware.tmem_columns:
        return None
    parts = " + ".join(f"{region.name} {region.columns}" for region in regions if not region.inside)
    reason = f"needs {needed} columns of tensor memory, an SM has {hardware.tmem_columns}"
    fields = ("plan", "query_tiles")
    return Broken("tensor_memory", reason, fields, "plan = p_in_s", (f"columns: {parts}",))


def registers(schedule: BlackwellSchedule, hardware: Hardware) -> Broken | None:
    """The roles' registers add up to the pool, and a softmax row fits."""
    split = Split(*(getattr(schedule, name) for name in FIELDS))
    if split.softmax < SOFTMAX_FLOOR:
        reason = (
            f"softmax_registers = {split.softmax}: a softmax thread holds a row of {TILE} scores, "
            f"and below {SOFTMAX_FLOOR} registers it spills in the loop"
        )
        return Broken("registers", reason, FIELDS)
    total = used(split, schedule.query_tiles)
    if total == pool(schedule.query_tiles, hardware):
        return None
    rule = equation(schedule.query_tiles, hardware)
    reason = f"{split.text()} registers add up to {total}, and {rule}"
    return Broken("registers", reason, FIELDS)


def threads(schedule: BlackwellSchedule, hardware: Hardware) -> Broken | None:
    """A CTA has a limited number of threads; roles of one warp share a group of four."""
    count = 32 * 4 * (sum(role.warps // 4 for role in roles(schedule)) + 1)
    if count <= hardware.threads_per_block:
        return None
    reason = f"needs {count} threads, a block may have {hardware.threads_per_block}"
    return Broken("threads", reason, ("query_tiles",))


def shared_memory(schedule: BlackwellSchedule, hardware: Hardware) -> Broken | None:
    """A CTA's buffers fit into what one block may ask for."""
    plan = memory_plan(schedule)
    if plan.smem_bytes <= hardware.smem_per_block:
        return None
    parts = " + ".join(f"{buffer.name} {buffer.bytes:,}" for buffer in plan.buffers)
    reason = (
        f"needs {plan.smem_bytes:,} bytes of shared memory, a block may have "
        f"{hardware.smem_per_block:,}"
    )
    fields = ("stages", "staging")
    return Broken("shared_memory", reason, fields, _less(schedule, hardware), (f"bytes: {parts}",))


def _less(schedule: BlackwellSchedule, hardware: Hardware) -> str:
    """Return what to write so that the buffers fit, if fewer slots or one staging buffer do."""
    stages = most_stages(schedule, hardware)
    return f"stages = {stages}" if stages >= LEAST_STAGES else ""


def short(schedule: BlackwellSchedule, hardware: Hardware) -> Broken | None:
    """The kernel for short queries has half of the plan, and fits as the other does."""
    one = one_tile(schedule)
    if one is None:
        return None
    if not able(schedule.query_tiles, schedule.ctas, schedule.plan):
        reason = (
            "a kernel for short queries has one of two query tiles, without a pair of CTAs, with "
            f"a plan for two; here query_tiles = {schedule.query_tiles}, ctas = "
            f"{schedule.ctas}, plan = {schedule.plan}"
        )
        return Broken("short", reason, ("short_queries", "plan"), "short_queries = 0")
    for rule in (registers, threads, tensor_memory, shared_memory):
        found = rule(one, hardware)
        if found is not None:
            reason = f"the kernel for short queries: {found.reason}"
            return Broken("short", reason, ("short_queries",), "short_queries = 0", found.details)
    return None


def sums(schedule: BlackwellSchedule, hardware: Hardware) -> Broken | None:
    """What follows from the free fields, follows."""
    plan = memory_plan(schedule)
    expected = {
        "family": Family.BLACKWELL,
        "hardware": hardware.name,
        "smem_bytes": plan.smem_bytes,
        "tmem_columns": plan.tmem_columns,
    }
    for name, value in expected.items():
        if getattr(schedule, name) != value:
            reason = f"{name} is {getattr(schedule, name)}, the plan gives {value}"
            return Broken("sums", reason, (name,))
    return None


RULES: dict[str, Callable[[BlackwellSchedule, Hardware], Broken | None]] = {
    "instructions": instructions,
    "domains": domains,
    "widths": widths,
    "tiles": tiles,
    "pair": pair,
    "registers": registers,
    "threads": threads,
    "tensor_memory": tensor_memory,
    "shared_memory": shared_memory,
    "short": short,
    "sums": sums,
}
"""By name, the sums last."""

NONSENSE = ("domains", "widths")
BASIC = ("instructions", *NONSENSE)
"""Rules that come first. What breaks the latter has no memory plan to speak of."""


def padding(schedule: BlackwellSchedule, traits: Traits) -> Broken | None:
    """Heads are padded as the attention's widths ask for, elements as wide as its type is."""
    for name, what in (("head_pad", "width"), ("value_pad", "width"), ("element", "type")):
        if getattr(schedule, name) != getattr(traits, name):
            reason = f"{name} is {getattr(schedule, name)}, the {what} asks for "
            return Broken("padding", f"{reason}{getattr(traits, name)}", ())
    return None


def packing(schedule: BlackwellSchedule, traits: Traits) -> Broken | None:
    """Packed heads are all heads of a group: they share its keys and values."""
    if schedule.pack in (1, traits.group):
        return None
    fits = traits.group > 1 and TILE % traits.group == 0
    reason = (
        f"pack = {schedule.pack}: the heads that share keys and values are packed together, here "
        f"{traits.group}" + ("" if fits else f", which does not divide a tile's {TILE} rows")
    )
    fix = f"pack = {traits.group}` or `pack = 1" if fits else "pack = 1"
    return Broken("packing", reason, ("pack",), fix)


def packed_ranges(schedule: BlackwellSchedule, traits: Traits) -> Broken | None:
    """The rows of a query tile walk one range of keys, whatever heads they are of."""
    if schedule.pack == 1 or not traits.per_head:
        return None
    reason = "the mask depends on the head, and packed heads walk one range of keys together"
    return Broken("packed_ranges", reason, ("pack",), "pack = 1")


def pair_mask(schedule: BlackwellSchedule, traits: Traits) -> Broken | None:
    """Two CTAs share products in lockstep: neither may skip a key tile that the other needs.

    In a module with both passes they compute both, or neither.
    """
    if schedule.ctas == 1:
        return None
    if traits.unmasked and traits.trained and not traits.paired:
        reason = (
            "gradients are computed by CTAs by themselves, and what both passes call is printed "
            "for pairs or for single CTAs"
        )
        able = traits.head_pad == NARROW
        return Broken(
            "pair_mask", reason, ("ctas",), "ctas = 2  gradient_ctas = 2" if able else "ctas = 1"
        )
    if traits.unmasked:
        return None
    reason = (
        "a pair of CTAs walks the same key tiles in lockstep; under a mask each has its own range, "
        "and one would compute what only the other needs"
    )
    return Broken("pair_mask", reason, ("ctas",), "ctas = 1")


def packed_sequences(schedule: BlackwellSchedule, traits: Traits) -> Broken | None:
    """Packed sequences take two axes of the copy engine's five, and work tiles of one CTA each."""
    if not traits.packed:
        return None
    if schedule.pack > 1:
        reason = (
            "the copy engine has five axes, two of which say where a packed sequence ends; packed "
            "heads would need a sixth"
        )
        return Broken("packed_sequences", reason, ("pack",), "pack = 1")
    if schedule.ctas > 1:
        reason = (
            "a pair of CTAs has 512 rows of one sequence, most of which packed sequences would "
            "leave empty (FlashAttention-4 has no pairs for them either)"
        )
        return Broken("packed_sequences", reason, ("ctas",), "ctas = 1")
    return None


def sigmoid(schedule: BlackwellSchedule, traits: Traits) -> Broken | None:
    """Sigmoid weights have no row maximum and rescale nothing."""
    if schedule.normalised != traits.normalised:
        reason = f"normalised is {schedule.normalised}, the weights ask for {traits.normalised}"
        return Broken("sigmoid", reason, ())
    if schedule.normalised:
        return None
    if schedule.rescale_threshold:
        reason = "sigmoid weights do not depend on a row's maximum: nothing is ever rescaled"
        return Broken("sigmoid", reason, ("rescale_threshold",), "rescale_threshold = 0")
    if schedule.row_max is RowMax.LOAD:
        reason = "sigmoid weights have no row maximum that a load could find"
        return Broken("sigmoid", reason, ("row_max",), "row_max = reduce")
    if schedule.ctas > 1:
        reason = "the barriers of a pair of CTAs are laid out for a softmax"
        return Broken("sigmoid", reason, ("ctas",), "ctas = 1")
    return None


def key_loops(schedule: BlackwellSchedule, traits: Traits) -> Broken | None:
    """Every loop over key tiles is there that some length gives a turn, and no other."""
    if schedule.key_loops is traits.key_loops:
        return None
    reason = f"key_loops is {schedule.key_loops}, the mask asks for {traits.key_loops}"
    return Broken("key_loops", reason, ())


def early_max(schedule: BlackwellSchedule, traits: Traits) -> Broken | None:
    """A load reduces the scores as they are, so that the expression must keep their order."""
    if schedule.row_max is RowMax.REDUCE or traits.monotone:
        return None
    reason = (
        "the load reduces products, before the score expression; this one may order the keys of a "
        "row differently"
    )
    return Broken("early_max", reason, ("row_max",), "row_max = reduce")


MEANING_RULES: dict[str, Callable[[BlackwellSchedule, Traits], Broken | None]] = {
    "padding": padding,
    "packing": packing,
    "packed_ranges": packed_ranges,
    "pair_mask": pair_mask,
    "packed_sequences": packed_sequences,
    "sigmoid": sigmoid,
    "key_loops": key_loops,
    "early_max": early_max,
}
"""Rules that depend on what is computed."""


def broken(
    schedule: BlackwellSchedule, hardware: Hardware, traits: Traits | None = None
) -> tuple[Broken, ...]:
    """Return every rule that a schedule breaks, the ones on which others rely first.

    Args:
        schedule: any schedule of the family.
        hardware: the target.
        traits: what it computes; None leaves out what depends on it.
    """
    basic = [rule(schedule, hardware) for name, rule in RULES.items() if name in BASIC]
    found = [item for item in basic if item is not None]
    if any(item.constraint in NONSENSE for item in found):
        return tuple(found)
    rest = [rule(schedule, hardware) for name, rule in RULES.items() if name not in BASIC]
    if traits is not None:
        rest[-1:-1] = [rule(schedule, traits) for rule in MEANING_RULES.values()]
    return (*found, *(item for item in rest if item is not None))
