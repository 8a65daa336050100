"""What the roles of a kernel do, step by step: the input of the clock.

A role walks its steps in order. A step that *occupies* something (arithmetic, a load) ends when its
last instruction is issued, and its result comes a latency later. Who reads the result says so in
``needs``; a step without needs starts as soon as the one before has ended. Waits know the number of
the completion that they wait for, so that loops are unrolled and no phase is ever ambiguous.

Counts of arithmetic are *instructions of one warp*; bytes are those of *the whole role*; products
are those of the CTA. ``line`` is a line of the generated module, 0 where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum


class Operand(StrEnum):
    """Where the tensor core reads the left operand of a product from."""

    SMEM = "smem"
    TMEM = "tmem"
    REGISTERS = "registers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Warp instructions by the pipe that takes them. They may be fractions: a mean is as good.

    Attributes:
        mufu: ex2, lg2, rcp, rsqrt, tanh.
        fma: fp32 multiplications, additions, multiply-adds; integer multiply-adds.
        fma2: the same on pairs (``f32x2``).
        alu: minimum, maximum, comparison, selection, logic, shifts, integer additions.
        cvt: conversions to 16 bits, two elements each.
        cvt8: conversions to 8 bits, two elements each.
        shuffle: exchanges between lanes.
        mma: mma.m16n8k16 and their equals.
        other: what takes an issue slot and no pipe of these.
    """

    mufu: float = 0
    fma: float = 0
    fma2: float = 0
    alu: float = 0
    cvt: float = 0
    cvt8: float = 0
    shuffle: float = 0
    mma: float = 0
    other: float = 0

    @property
    def issue(self) -> float:
        """Issue slots: one for each instruction."""
        return sum(self.counts())

    def counts(self) -> tuple[float, ...]:
        """Return the counts in the order of the fields."""
        return tuple(getattr(self, item.name) for item in fields(self))

    def __add__(self, other: Work) -> Work:
        """Return both, which a warp may interleave."""
        return Work(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )

    def __mul__(self, times: float) -> Work:
        """Return the work done so many times."""
        return Work(**{f.name: getattr(self, f.name) * times for f in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that a role does.

    Attributes:
        label: what it is, for people.
        line: line of the generated module.
        needs: results (``gives`` of earlier steps of this role) that it starts with.
        gives: name of its result. A name may be given again; it then means the later one.
        elected: done by the first four warps of a role alone, as what one thread issues for all.
    """

    label: str = ""
    line: int = 0
    needs: tuple[str, ...] = ()
    gives: str | None = None
    elected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute(Step):
    """Arithmetic that a warp may interleave as it likes, such as a basic block.

    It takes as long as the pipe that is busiest with it. Its result comes a pipe's latency after
    its end, and ``latency`` cycles later still: a chain of dependent instructions.
    """

    work: Work
    latency: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TmemLoad(Step):
    """Tensor memory to registers (``tcgen05.ld``); goes on in the background until it is needed."""

    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TmemStore(Step):
    """Registers to tensor memory (``tcgen05.st``)."""

    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLoad(Step):
    """Shared memory to registers. ``conflicts``: how often its bytes pass the port."""

    bytes: int
    conflicts: float = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedStore(Step):
    """Registers to shared memory."""

    bytes: int
    conflicts: float = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalLoad(Step):
    """Global memory to registers, or with cp.async to shared memory (``to_shared``)."""

    bytes: int
    to_shared: bool = False
    cold: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalStore(Step):
    """Registers to global memory; nobody waits for it."""

    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TmaLoad(Step):
    """Global to shared memory; completes its announced part of a phase of ``barrier`` when done.

    Attributes:
        bytes: of the box.
        barrier: counts one arrival when the bytes are there, besides those of threads.
        inner_bytes: width of one row of a TMA request, bytes.
        cold: share of the bytes that come from memory and not from L2.
    """

    bytes: int
    barrier: str
    inner_bytes: int = 128
    cold: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TmaStore(Step):
    """Shared to global memory. Its result is that shared memory may be written again."""

    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mma(Step):
    """Products for the tensor core, which does them in the order in which they were issued.

    Attributes:
        m: rows of one instruction (of both CTAs where ``ctas`` is 2).
        n: columns.
        count: instructions, each of 32 bytes of K (16 elements of 16 bits).
        a_from: where the left operand lies.
        ctas: CTAs that work on one instruction.
    """

    m: int
    n: int
    count: int
    a_from: Operand = Operand.SMEM
    ctas: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit(Step):
    """Arrives at a barrier when all products that this role has issued so far are done."""

    barrier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(Step):
    """Waits until a barrier has completed its use number ``use``; not if that is negative."""

    barrier: str
    use: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrive(Step):
    """Arrives at a barrier, once for the role. ``remote``: it is another CTA's."""

    barrier: str
    count: int = 1
    remote: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence(Step):
    """Waits for ``needs``, or, where that is empty, for what the role has begun in memory.

    Attributes:
        copies: whether that includes copies by cp.async. A fence orders what has been written; a
            copy is written when its group has been waited for (PTX ISA, cp.async.wait_group).
    """

    copies: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync(Step):
    """Waits for all warps of the role (``bar.sync``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn(Step):
    """Takes no time: the role begins turn ``number`` of its loop over key tiles."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Warps that do the same.

    Attributes:
        name: such as ``softmax 0``.
        warps: how many. One to four of them are one *agent*, with one warp on each SMSP; more
            are several agents, each of four warps, that walk the same steps on their own.
        steps: what each agent does.
    """

    name: str
    warps: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A CTA on its SM.

    Attributes:
        roles: all run at once.
        barriers: arrivals that complete a phase, by name.
        residents: CTAs of this kind that share the SM.
        stagger: cycles by which each of these starts later than the one before.
    """

    roles: tuple[Role, ...]
    barriers: tuple[tuple[str, int], ...] = ()
    residents: int = 1
    stagger: float = 0
