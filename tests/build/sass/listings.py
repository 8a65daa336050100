"""SASS texts for tests, written by hand in the form that nvdisasm prints."""

from __future__ import annotations


def listing(*lines: str, name: str = "kernel") -> str:
    """Return a disassembly of one function; a line that ends with a colon is a label."""
    text = [f'\t.section\t.text.{name},"ax",@progbits', f".text.{name}:"]
    address = 0
    for line in lines:
        if line.endswith(":"):
            text.append(line)
        else:
            text.append(f"        /*{address:04x}*/                   {line} ;")
            address += 16
    return "\n".join(text)


def wait(barrier: str, retry: str, back: str) -> list[str]:
    """Return a wait that tries in line; ``retry_of`` gives the rest of it."""
    return [f"SYNCS.PHASECHK.TRANS64.TRYWAIT P0, {barrier}, R4", f"@!P0 BRA `({retry})", f"{back}:"]


def retry_of(barrier: str, retry: str, back: str) -> list[str]:
    """Return the loop out of line that tries again, with the way back."""
    return [
        f"{retry}:",
        "LDL R4, [R1]",
        f"{retry}0:",
        f"SYNCS.PHASECHK.TRANS64.TRYWAIT P0, {barrier}, R4",
        f"@!P0 BRA `({retry}0)",
        f"BRA `({back})",
    ]


def softmax(*, masked: bool = False, spill: bool = False) -> str:
    """Return a function with one softmax loop: 32 elements, two stores of P, one optional block.

    17 instructions are always run, and 64 for the elements; the optional block has 3, a mask 32.
    """
    elements = [f"MUFU.EX2 R{n}, R{n}" for n in range(32)]
    packs = [f"F2FP.BF16.F32.PACK_AB R{n}, R{n + 1}, R{n}" for n in range(16)]
    hidden = [f"FSEL R{n}, R{n}, -INF, P2" for n in range(32)] if masked else []
    barrier = "[UR7+0x10]"
    return listing(
        "USETMAXREG.TRY_ALLOC.CTAPOOL UP1, 0xc8",
        ".L_x_1:",
        *wait(barrier, ".L_x_9", ".L_x_2"),
        "LDTM.x32 R0, tmem[UR9]",
        "NOP",
        *hidden,
        "FMNMX3 R40, R0, R1, R40",
        "FSETP.GT.AND P1, PT, R40, R41, PT",
        "@P1 BRA `(.L_x_3)",
        "FADD R41, R41, -R40",
        "LDL R44, [R1+0x8]" if spill else "FMUL R44, R41, R41",
        "FMUL R42, R42, R43",
        ".L_x_3:",
        *elements[:20],
        *packs[:8],
        "STTM.x8 tmem[UR9+0x40], R0",
        *elements[20:],
        *packs[8:],
        "STTM.x8 tmem[UR9+0x48], R8",
        "SYNCS.ARRIVE.TRANS64.A1T0 RZ, [UR7+0x20], RZ",
        "VIADD R50, R50, 0x1",
        "ISETP.NE.U32.AND P3, PT, R50, R51, PT",
        "@P3 BRA `(.L_x_1)",
        "STG.E desc[UR8][R2.64], R0",
        "EXIT",
        *retry_of(barrier, ".L_x_9", ".L_x_2"),
    )
