"""Kinds of SASS instructions: what a mnemonic does, coarse enough to compare kernels by."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache


class Kind(StrEnum):
    """What an instruction does."""

    MMA = "mma"
    COMMIT = "mma commit"
    EXP2 = "exp2"
    MUFU = "other special function"
    FMA2 = "fma ×2"
    ADD2 = "add ×2"
    MUL2 = "mul ×2"
    FMA = "fma"
    ADD = "add"
    MUL = "mul"
    HALF = "half arithmetic"
    MAX3 = "max of three"
    MAX = "max"
    SELECT = "select"
    COMPARE = "compare"
    PACK = "pack"
    CONVERT = "convert"
    TENSOR_LOAD = "tensor memory load"
    TENSOR_STORE = "tensor memory store"
    TILE_LOAD = "tile load"
    TILE_STORE = "tile store"
    COPY = "asynchronous copy"
    SHARED = "shared memory"
    GLOBAL = "global memory"
    SPILL = "spill"
    WAIT = "mbarrier wait"
    ARRIVE = "mbarrier arrive"
    BARRIER = "barrier"
    FENCE = "fence"
    SHUFFLE = "shuffle"
    MOVE = "move"
    TRANSFER = "between register files"
    INTEGER = "integer"
    UNIFORM = "uniform integer"
    CONSTANT = "constant"
    BRANCH = "branch"
    SLEEP = "sleep"
    REGISTERS = "register request"
    TRAP = "trap"
    NOTHING = "nothing"
    OTHER = "other"


IDLE = frozenset(
    {
        Kind.SPILL,
        Kind.WAIT,
        Kind.SHUFFLE,
        Kind.MOVE,
        Kind.TRANSFER,
        Kind.INTEGER,
        Kind.UNIFORM,
        Kind.CONSTANT,
        Kind.BRANCH,
        Kind.FENCE,
        Kind.SLEEP,
        Kind.REGISTERS,
        Kind.NOTHING,
    }
)
"""Kinds that a block may consist of that only polls: they prepare, wait, and go round again."""

# Tried in order on the whole mnemonic; each pattern stands for everything that starts with it.
_PATTERNS: tuple[tuple[Kind, str], ...] = (
    (Kind.MMA, r"UTC\w*MMA|HMMA|HGMMA|IMMA|IGMMA|QMMA|QGMMA|OMMA|DMMA"),
    (Kind.COMMIT, r"UTCBAR"),
    (Kind.EXP2, r"MUFU\.EX2"),
    (Kind.MUFU, r"MUFU"),
    (Kind.FMA2, r"FFMA2"),
    (Kind.ADD2, r"FADD2"),
    (Kind.MUL2, r"FMUL2"),
    (Kind.FMA, r"FFMA"),
    (Kind.ADD, r"FADD"),
    (Kind.MUL, r"FMUL"),
    (Kind.MOVE, r"HFMA2\.MMA|IMAD\.(MOV|U32)|MOV|UMOV|CS2R|UCS2R|PRMT"),
    (Kind.HALF, r"H(FMA|MUL|ADD|MNMX|SETP|SET)2"),
    (Kind.MAX3, r"FMNMX3"),
    (Kind.MAX, r"FMNMX"),
    (Kind.SELECT, r"FSEL|SEL\b"),
    (Kind.COMPARE, r"FSET|FCHK"),
    (Kind.PACK, r"F2FP"),
    (Kind.CONVERT, r"F2F|F2I|I2F|I2I|FRND"),
    (Kind.TENSOR_LOAD, r"LDTM"),
    (Kind.TENSOR_STORE, r"STTM"),
    (Kind.TILE_LOAD, r"UTMALDG|UBLKCP"),
    (Kind.TILE_STORE, r"UTMASTG|UTMAREDG|UBLKRED"),
    (Kind.FENCE, r"FENCE|MEMBAR|ERRBAR|DEPBAR|CCTL|LDGDEPBAR|UTMACMDFLUSH|UTMACCTL"),
    (Kind.COPY, r"LDGSTS"),
    (Kind.SHARED, r"LDS|STS|ATOMS"),
    (Kind.SPILL, r"LDL|STL"),
    (Kind.CONSTANT, r"LDC|ULDC"),
    (Kind.GLOBAL, r"LDG|STG|LD\b|ST\b|RED\b|REDG|ATOM"),
    (Kind.WAIT, r"SYNCS\.PHASECHK"),
    (Kind.ARRIVE, r"SYNCS\.(ARRIVE|RED)"),
    (Kind.BARRIER, r"SYNCS|BAR\b|UBAR|WARPGROUP|B2R"),
    (Kind.SHUFFLE, r"SHFL|VOTE|UVOTE|MATCH|REDUX|CREDUX|ELECT"),
    (Kind.TRANSFER, r"R2UR|UR2R|S2R|S2UR|R2P|P2R|UP2UR|UR2UP|R2B"),
    (Kind.REGISTERS, r"USETMAXREG"),
    (Kind.SLEEP, r"NANOSLEEP|YIELD"),
    (Kind.TRAP, r"BPT"),
    (
        Kind.BRANCH,
        r"BRA|BRX|JMP|JMX|BSSY|BSYNC|BREAK|CALL|RET|EXIT|KILL|WARPSYNC",
    ),
    (
        Kind.INTEGER,
        r"IADD|IMAD|IMNMX|IABS|ISETP|LOP3|SHF|LEA|VIADD|VIMNMX|VHMNMX|PLOP3|BMSK|POPC|FLO|SGXT|BREV",
    ),
    (Kind.NOTHING, r"NOP"),
    (Kind.OTHER, r"UTC|UTMA|UBLK|UVIRT"),
    (Kind.UNIFORM, r"U[A-Z]"),
)
_COMPILED = tuple((kind, re.compile(pattern)) for kind, pattern in _PATTERNS)


@lru_cache(maxsize=4096)
def kind_of(mnemonic: str) -> Kind:
    """Return what an instruction does, from its mnemonic with all suffixes."""
    return next((kind for kind, form in _COMPILED if form.match(mnemonic)), Kind.OTHER)
