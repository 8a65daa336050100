"""Loops of hand-written SASS: roles, ways through, what is left out, and what is counted."""

from __future__ import annotations

import pytest

from flash4gen.build.sass.analyse import analyse_sass
from flash4gen.build.sass.kinds import Kind
from flash4gen.build.sass.model import LoopSass, Role
from tests.build.sass.listings import listing, retry_of, softmax, wait

COUNT = ["VIADD R50, R50, 0x1", "ISETP.NE.U32.AND P3, PT, R50, R51, PT"]


def only_loop(sass: str) -> LoopSass:
    (loop,) = analyse_sass(sass).loops
    return loop


def test_a_softmax_loop_has_its_figures() -> None:
    loop = only_loop(softmax())
    assert (loop.role, loop.innermost, loop.depth) == (Role.SOFTMAX, True, 0)
    assert loop.header == 0x10
    assert loop.registers == 0xC8
    # wait 2, load 1, max 1, compare and branch 2, block 3, exp2 32, packs 16, stores 2, end 4
    assert (loop.instructions, loop.least_instructions) == (63, 60)
    assert loop.elements == 32
    assert loop.slots_per_element == 63 / 32
    assert not loop.masked
    assert loop.exp2_at_store == ((8, 20), (8, 32))
    assert loop.count(Kind.EXP2, Kind.PACK) == 48
    assert sum(count for _, count in loop.histogram) == loop.instructions


def test_a_loop_that_hides_elements_is_masked() -> None:
    assert only_loop(softmax(masked=True)).masked
    other = softmax(masked=True).replace("-INF", "2")  # selects, but between other things
    assert not only_loop(other).masked


def test_spills_count_in_the_loop_and_not_in_its_retry() -> None:
    assert only_loop(softmax()).spills == 0
    kernel = analyse_sass(softmax(spill=True))
    assert kernel.loops[0].spills == kernel.loop_spills == 1
    assert (kernel.spill_loads, kernel.spill_stores) == (2, 0)


def test_a_wait_that_loops_in_line_is_part_of_the_turn_and_no_loop_inside() -> None:
    loop = only_loop(
        listing(
            ".L_x_1:",
            "UTMALDG.2D [UR8], [UR4], desc[URZ]",
            ".L_x_2:",
            "SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR7], R4",
            "@!P0 BRA `(.L_x_2)",
            *COUNT,
            "@P3 BRA `(.L_x_1)",
            "EXIT",
        )
    )
    assert (loop.role, loop.innermost) == (Role.LOAD, True)
    assert (loop.instructions, loop.least_instructions) == (6, 6)


def test_out_of_line_work_is_not_taken_for_a_retry() -> None:
    work = retry_of("[UR7]", ".L_x_9", ".L_x_2")
    work.insert(2, "UTCHMMA gdesc[UR8], gdesc[UR26], tmem[UR39], tmem[UR48], idesc[UR49], UPT")
    lines = [
        ".L_x_1:",
        "UTMALDG.2D [UR8], [UR4], desc[URZ]",
        *wait("[UR7]", ".L_x_9", ".L_x_2"),
        *COUNT,
        "@P3 BRA `(.L_x_1)",
        "EXIT",
    ]
    plain = only_loop(listing(*lines, *retry_of("[UR7]", ".L_x_9", ".L_x_2")))
    assert (plain.role, plain.instructions) == (Role.LOAD, 6)
    working = only_loop(listing(*lines, *work))
    assert (working.role, working.instructions) == (Role.MMA, 11)


def test_a_retry_that_ends_a_turn_leaves_the_way_back() -> None:
    """The wait stands last: going round is what follows it, or what follows its retry."""
    loop = only_loop(
        listing(
            ".L_x_1:",
            "UTMALDG.2D [UR8], [UR4], desc[URZ]",
            *COUNT,
            "@!P3 EXIT",
            "SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR7], R4",
            "@P0 BRA `(.L_x_1)",
            ".L_x_2:",
            "SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR7], R4",
            "@!P0 BRA `(.L_x_2)",
            "BRA `(.L_x_1)",
        )
    )
    assert (loop.instructions, loop.least_instructions) == (6, 6)


def test_loops_nest_and_the_inner_one_is_gone_through_once() -> None:
    kernel = analyse_sass(
        listing(
            "USETMAXREG.DEALLOC.CTAPOOL 0x18",
            ".L_x_1:",
            "LDTM.x32 R0, tmem[UR9]",
            ".L_x_2:",
            "LDTM.x16 R0, tmem[UR9]",
            "STTM.x16 tmem[UR9], R0",
            "STL [R1], R0",
            *COUNT,
            "@P3 BRA `(.L_x_2)",
            "STL [R1], R0",
            "@P4 BRA `(.L_x_1)",
            "EXIT",
        )
    )
    outer, inner = kernel.loops
    assert (outer.depth, outer.innermost, outer.instructions) == (0, False, 9)
    assert (inner.depth, inner.innermost, inner.instructions) == (1, True, 6)
    assert outer.registers == inner.registers == 0x18
    assert (outer.spills, inner.spills) == (2, 1)
    assert kernel.loop_spills == 1
    assert kernel.spill_stores == 2
    assert kernel.main_loops(Role.CORRECTION) == (inner,)


def test_a_slow_path_is_left_out_with_the_move_of_its_result() -> None:
    loop = only_loop(
        listing(
            ".L_x_1:",
            "BSSY.RECONVERGENT B2, `(.L_x_3)",
            "FCHK P0, R100, 30",
            "FFMA R3, R101, -R138, 1",
            "@!P0 BRA `(.L_x_2)",
            "MOV R101, R100",
            "MOV R148, 0x53f0",
            "CALL.REL.NOINC `($__internal_3_$__div_slowpath)",
            "MOV R141, R3",
            ".L_x_2:",
            "BSYNC.RECONVERGENT B2",
            ".L_x_3:",
            "STG.E desc[UR8][R2.64], R141",
            "@P3 BRA `(.L_x_1)",
            "EXIT",
            "$__internal_3_$__div_slowpath:",
            "RET.REL.NODEC R148 `(kernel)",
        )
    )
    assert (loop.role, loop.instructions, loop.least_instructions) == (Role.STORE, 7, 7)


def test_a_call_that_every_turn_makes_is_part_of_the_turn() -> None:
    loop = only_loop(
        listing(
            ".L_x_1:",
            "MOV R148, 0x30",
            "CALL.REL.NOINC `(helper)",
            "STG.E desc[UR8][R2.64], R141",
            "@P3 BRA `(.L_x_1)",
            "EXIT",
        )
    )
    assert loop.instructions == 4


@pytest.mark.parametrize(
    ("line", "role"),
    [
        ("UTCHMMA gdesc[UR8], gdesc[UR4], tmem[UR6], tmem[UR50], idesc[UR51], UPT", Role.MMA),
        ("HMMA.16816.F32 R4, R8, R10, R4", Role.MMA),
        ("UTMALDG.4D [UR8], [UR4], desc[URZ]", Role.LOAD),
        ("LDGSTS.E.BYPASS.128 [R4], desc[UR8][R2.64]", Role.LOAD),
        ("UTMASTG.4D [UR8], [UR4]", Role.STORE),
        ("LDTM.x32 R0, tmem[UR9]", Role.STORE),
        ("ATOMS.OR RZ, [UR6+0x14], R2", Role.OTHER),
    ],
)
def test_the_key_instruction_gives_the_role(line: str, role: Role) -> None:
    loop = only_loop(listing(".L_x_1:", line, *COUNT, "@P3 BRA `(.L_x_1)", "EXIT"))
    assert loop.role is role


def test_softmax_and_products_in_the_same_warps_are_fused() -> None:
    product = "HMMA.16816.F32 R4, R8, R10, R4"
    fused = softmax().replace("FMNMX3 R40, R0, R1, R40", product)
    assert only_loop(fused).role is Role.FUSED


def test_a_loop_without_work_is_none() -> None:
    spin = [".L_x_1:", "USETMAXREG.TRY_ALLOC.CTAPOOL UP1, 0xc8", "BRA.U !UP1, `(.L_x_1)", "EXIT"]
    assert analyse_sass(listing(*spin)).loops == ()


def test_main_loops_leave_out_a_remainder() -> None:
    product = "UTCHMMA gdesc[UR8], gdesc[UR4], tmem[UR6], tmem[UR50], idesc[UR51], UPT"
    lines = []
    for number, products in ((1, 8), (2, 3), (3, 8)):
        lines += [f".L_x_{number}:", *[product] * products, f"@P3 BRA `(.L_x_{number})"]
    kernel = analyse_sass(listing(*lines, "EXIT"))
    assert len(kernel.loops) == 3
    assert [loop.count(Kind.MMA) for loop in kernel.main_loops(Role.MMA)] == [8, 8]
    assert kernel.main_loops(Role.SOFTMAX) == ()
