"""FlashAttention-4's forward pass as a program, written down from its source and not from ours.

Two query tiles of 128 rows, key tiles of 128, weights in the upper half of their scores (`p_in_s`).
Counts are those of `flash_fwd_sm100.py`: three-input maxima, packed multiply-adds, a share of the
exponentials in software.
"""

from __future__ import annotations

from itertools import chain

from flash4gen.clock.program import (
    Arrive,
    Commit,
    Compute,
    Fence,
    Mma,
    Operand,
    Program,
    Role,
    SharedLoad,
    SharedStore,
    Step,
    TmaLoad,
    TmemLoad,
    TmemStore,
    Turn,
    Wait,
    Work,
)

ROWS = 128
KEYS = 128
FRAGMENT = 32


def flash_attention_4(
    turns: int, *, head_dim: int = 128, emulated: float = 0.1875, rescaled: bool = False
) -> Program:
    """A work tile of so many key tiles. `rescaled`: the correction multiplies O in each of them."""
    slots = 3 if head_dim == 128 else 8
    roles = (
        Role(name="softmax 0", warps=4, steps=_softmax(0, turns, emulated)),
        Role(name="softmax 1", warps=4, steps=_softmax(1, turns, emulated)),
        Role(name="correction", warps=4, steps=_correction(turns, head_dim, rescaled)),
        Role(name="mma", warps=1, steps=_mma(turns, head_dim, slots)),
        Role(name="load", warps=1, steps=_load(turns, head_dim, slots)),
    )
    per_tile = ("q_full", 1), ("s_full", 1), ("p_ready", 2), ("p_last", 1), ("o_full", 1)
    stats = ("stats_full", 1), ("stats_empty", 1)
    barriers = [(f"{name}[{t}]", count) for name, count in (*per_tile, *stats) for t in (0, 1)]
    barriers += [
        (f"{name}[{slot}]", 1) for name in ("kv_full", "kv_empty") for slot in range(slots)
    ]
    return Program(roles=roles, barriers=tuple(barriers))


def _softmax(tile: int, turns: int, emulated: float) -> tuple[Step, ...]:
    return tuple(chain.from_iterable(_softmax_turn(tile, n, emulated) for n in range(turns)))


def _softmax_turn(tile: int, n: int, emulated: float) -> list[Step]:
    fragments = range(KEYS // FRAGMENT)
    steps: list[Step] = [Turn(number=n), Wait(barrier=f"s_full[{tile}]", use=n, label="scores")]
    steps += [TmemLoad(bytes=ROWS * FRAGMENT * 4, gives=f"s{f}", label="scores") for f in fragments]
    steps += [
        Compute(work=Work(alu=FRAGMENT / 2), needs=(f"s{f}",), gives="max", label="max")
        for f in fragments
    ]
    steps += [
        Compute(
            work=Work(alu=6, fma=3, mufu=1),
            needs=("max",),
            gives="new",
            latency=20,
            label="new max",
        ),
        SharedStore(bytes=ROWS * 4, needs=("new",)),
        Arrive(barrier=f"stats_full[{tile}]"),
    ]
    pairs = emulated * KEYS / 2 / (len(fragments) - 1)
    for f in fragments:
        soft = pairs if f < len(fragments) - 1 else 0
        work = Work(mufu=FRAGMENT - 2 * soft, fma2=FRAGMENT / 2, cvt=FRAGMENT / 2)
        work += Work(fma2=6, alu=6) * soft
        steps.append(Compute(work=work, needs=("new",), gives=f"p{f}", label="exp2"))
        steps.append(TmemStore(bytes=ROWS * FRAGMENT * 2, needs=(f"p{f}",), label="weights"))
        if f >= len(fragments) - 2:
            name = "p_last" if f == len(fragments) - 1 else "p_ready"
            steps += [Fence(), Arrive(barrier=f"{name}[{tile}]", label=name)]
    steps.append(Wait(barrier=f"stats_empty[{tile}]", use=n, label="turn of the other tile"))
    steps.append(Compute(work=Work(fma2=KEYS / 2), label="row sum"))
    return steps


def _correction(turns: int, head_dim: int, rescaled: bool) -> tuple[Step, ...]:
    steps: list[Step] = []
    for n in range(turns):
        for tile in (0, 1):
            steps += [
                Wait(barrier=f"stats_full[{tile}]", use=n, label="factors"),
                SharedLoad(bytes=ROWS * 4, gives="factor"),
                Compute(work=Work(alu=2, other=4), needs=("factor",), gives="any"),
            ]
            if rescaled and n:
                steps += _rescale(head_dim)
            steps.append(Arrive(barrier=f"p_ready[{tile}]"))
            # Tiles take turns: each may go on once the other has its maximum.
            if n:
                steps.append(Arrive(barrier=f"stats_empty[{1 - tile}]"))
            elif not tile:
                steps.append(Arrive(barrier="stats_empty[0]"))
    steps.append(Arrive(barrier="stats_empty[1]"))
    return tuple(steps)


def _rescale(head_dim: int) -> list[Step]:
    steps: list[Step] = []
    for part in range(head_dim // 16):
        steps += [
            TmemLoad(bytes=ROWS * 16 * 4, gives=f"o{part}"),
            Compute(work=Work(fma2=8), needs=(f"o{part}",), gives=f"o{part}"),
            TmemStore(bytes=ROWS * 16 * 4, needs=(f"o{part}",)),
        ]
    return [*steps, Fence()]


def _mma(turns: int, head_dim: int, slots: int) -> tuple[Step, ...]:
    qk = head_dim // 16
    steps: list[Step] = [Wait(barrier="kv_full[0]", use=0)]
    for tile in (0, 1):
        steps += [Wait(barrier=f"q_full[{tile}]", use=0), *_scores(tile, qk)]
    steps.append(Commit(barrier="kv_empty[0]"))
    for n in range(turns):
        v, k = 2 * n + 1, 2 * n + 2
        steps.append(Wait(barrier=f"kv_full[{v % slots}]", use=v // slots))
        for tile in (0, 1):
            steps += _values(tile, n, head_dim)
            if tile:
                steps.append(Commit(barrier=f"kv_empty[{v % slots}]"))
            if n < turns - 1:
                if not tile:
                    steps.append(Wait(barrier=f"kv_full[{k % slots}]", use=k // slots))
                steps += _scores(tile, qk)
        if n < turns - 1:
            steps.append(Commit(barrier=f"kv_empty[{k % slots}]"))
    return tuple(steps)


def _scores(tile: int, count: int) -> list[Step]:
    product = Mma(m=ROWS, n=KEYS, count=count, label=f"S{tile}")
    return [product, Commit(barrier=f"s_full[{tile}]")]


def _values(tile: int, n: int, head_dim: int) -> list[Step]:
    def product(count: int) -> Mma:
        return Mma(m=ROWS, n=head_dim, count=count, a_from=Operand.TMEM, label=f"O{tile}")

    return [
        Wait(barrier=f"p_ready[{tile}]", use=n),
        product(6),
        Wait(barrier=f"p_last[{tile}]", use=n),
        product(2),
    ]


def _load(turns: int, head_dim: int, slots: int) -> tuple[Step, ...]:
    queries = [TmaLoad(bytes=ROWS * head_dim * 2, barrier=f"q_full[{t}]") for t in (0, 1)]
    steps: list[Step] = []
    for use in range(2 * turns):
        steps += [
            Wait(barrier=f"kv_empty[{use % slots}]", use=use // slots - 1),
            TmaLoad(bytes=KEYS * head_dim * 2, barrier=f"kv_full[{use % slots}]"),
        ]
        if not use:
            steps += queries
    return tuple(steps)
