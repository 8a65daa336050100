"""Loops of SASS as pieces, read from listings small enough to count."""

from __future__ import annotations

from flash4gen.clock.program import Work
from flash4gen.simulate.ways import WINDOW, Do, Way, read_loops

HEAD = """\t.section\t.text.kernel,"ax",@progbits
"""


def listing(*lines: str) -> str:
    """A function whose one loop has these instructions, between its label and its branch."""
    body = [".L_x_0:", *lines, "@P0 BRA `(.L_x_0)", "EXIT"]
    code, address = [], 0
    for line in ("MOV R1, R2", *body):
        if line.endswith(":"):
            code.append(line)
        else:
            code.append(f"        /*{address:04x}*/                   {line} ;")
            address += 16
    return HEAD + "\n".join(code) + "\n"


def way(*lines: str) -> Way:
    (loop,) = read_loops(listing(*lines))
    return loop.ways[0]


def told(found: Way) -> list[tuple[Do, int]]:
    return [(piece.do, piece.bytes) for piece in found.pieces]


def test_arithmetic_is_counted_by_the_pipe_that_takes_it() -> None:
    found = way(
        "MUFU.EX2 R4, R5",
        "FFMA2 R6, R8, R10, R12",
        "FMNMX3 R7, R8, R9, R10",
        "F2FP.BF16.F32.PACK_AB R3, R4, R5",
        "FFMA R1, R2, R3, R4",
        "SHFL.BFLY PT, R1, R2, 0x1, 0x1f",
        "UIADD3 UR4, UPT, UPT, UR4, 0x1, URZ",
    )
    (piece,) = found.pieces
    # The branch itself takes an issue slot.
    assert piece.work == Work(mufu=1, fma2=1, alu=1, cvt=1, fma=1, shuffle=1, other=2)


def test_conversions_from_integers_are_in_the_alu_where_they_are_i2fp() -> None:
    (piece,) = way("I2FP.F32.S32 R4, R5", "I2F.RP R4, R5", "F2I.TRUNC.NTZ R6, R7").pieces
    assert piece.work == Work(alu=1, mufu=2, other=1)


def test_who_reads_a_spilled_register_waits_for_it() -> None:
    found = way("LDL.LU.64 R8, [R1+0x10]", "STL [R1], R5", "FADD R4, R2, R3", "FADD R6, R4, R9")
    assert told(found)[0] == (Do.RELOAD, 256)
    after, *_ = (piece for piece in found.pieces[1:] if piece.loads)
    assert after.loads == (0,)


def test_who_reads_what_a_load_brings_begins_a_new_piece() -> None:
    found = way(
        "LDTM.x32 R32, tmem[UR4]",
        "LDTM.x32 R64, tmem[UR4+0x20]",
        "FADD R1, R2, R3",
        "FMNMX3 R5, R95, R1, R2",
        "FMNMX3 R6, R33, R1, R2",
        "FADD R7, R34, R6",
    )
    assert told(found) == [(Do.TMEM_LOAD, 4096), (Do.TMEM_LOAD, 4096), *[(Do.WORK, 0)] * 3]
    assert [piece.loads for piece in found.pieces] == [(), (), (), (1,), (0,)]


def test_long_stretches_are_cut_into_windows() -> None:
    found = way(*["MUFU.EX2 R4, R5"] * (2 * WINDOW))
    assert [piece.work.mufu for piece in found.pieces] == [WINDOW, WINDOW, 0]


def test_memory_and_synchronisation_are_pieces_of_their_own() -> None:
    found = way(
        "SYNCS.PHASECHK.TRANS64.TRYWAIT P1, [UR7+0x10], R3",
        "STTM.x16 tmem[UR18], R68",
        "FENCE.VIEW.ASYNC.T",
        "BAR.SYNC.DEFER_BLOCKING 0x2, 0x80",
        "SYNCS.ARRIVE.TRANS64.A1T0 RZ, [UR7+0x20], RZ",
        "LDSM.16.MT88.4 R4, [R9]",
        "STS.128 [R9], R4",
        "LDGSTS.E.BYPASS.128 [R9], desc[UR4][R2.64]",
        "LDGDEPBAR",
        "DEPBAR.LE SB0, 0x1",
        "HGMMA.64x128x16.F32.BF16 R24, gdesc[UR20], gdesc[UR24], R24, gsb0",
        "HGMMA.64x64x16.F32 R56, R24, gdesc[UR20], RZ, !UPT, gsb0",
        "WARPGROUP.DEPBAR.LE gsb0, 0x0",
        "UTCHMMA gdesc[UR4], gdesc[UR6], tmem[UR8], tmem[UR10], idesc[UR11], UP0",
        "UTCBAR [UR4], URZ",
        "UTMALDG.4D [UR8], [UR4], desc[UR6]",
    )
    assert told(found)[:-1] == [
        (Do.WAIT, 0),
        (Do.TMEM_STORE, 2048),
        (Do.FENCE, 0),
        (Do.SYNC, 0),
        (Do.ARRIVE, 0),
        (Do.SHARED_LOAD, 512),
        (Do.SHARED_STORE, 512),
        (Do.COPY, 512),
        (Do.COPY_COMMIT, 0),
        (Do.COPY_WAIT, 0),
        (Do.PRODUCT, 0),
        (Do.PRODUCT, 0),
        (Do.PRODUCT_WAIT, 0),
        (Do.PRODUCT, 0),
        (Do.COMMIT, 0),
        (Do.TMA_LOAD, 0),
    ]
    products = [piece for piece in found.pieces if piece.do is Do.PRODUCT]
    assert [(piece.shape, piece.from_shared) for piece in products] == [
        ((64, 128), True),
        ((64, 64), False),
        ((0, 0), False),
    ]
    assert next(p.pending for p in found.pieces if p.do is Do.COPY_WAIT) == 1


def test_products_of_mma_sync_are_work() -> None:
    (piece,) = way("HMMA.16816.F32.BF16 R4, R8, R12, R4").pieces
    assert piece.work == Work(mma=1, other=1)


def test_text_without_loops_has_none() -> None:
    assert read_loops(HEAD + "        /*0000*/                   EXIT ;\n") == ()
