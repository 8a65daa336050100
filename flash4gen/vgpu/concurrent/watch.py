"""Checks the accesses of one program to global memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.vgpu.concurrent.globals import Toucher

if TYPE_CHECKING:
    from torch import Tensor

    from flash4gen.vgpu.concurrent.globals import Found, GlobalLog
    from flash4gen.vgpu.concurrent.machine import Machine
    from flash4gen.vgpu.concurrent.worker import Worker
    from flash4gen.vgpu.transfer import Transfer


class Watch:
    """The link between the partitions of a program and the log of a launch.

    Attributes:
        trusted: whether the program has used atomics: then it may have learned of other programs.
    """

    def __init__(self, machine: Machine, log: GlobalLog) -> None:
        self._machine = machine
        self._log = log
        self.trusted = False

    def reads(self, worker: Worker, address: Tensor, mask: Tensor | None, size: int) -> None:
        """Check a gather by pointers."""
        self._machine.step()
        if not self._log.writing:
            return
        place = self._machine.memory.cells(address, mask, size)
        if place is not None and self._log.watched(place[0]):
            who = self._who(worker, None)
            self._file(worker, self._log.read(self._machine.clocks, *place, who), address)

    def writes(self, worker: Worker, address: Tensor, mask: Tensor | None, size: int) -> None:
        """Check a scatter by pointers."""
        self._machine.step()
        place = self._machine.memory.cells(address, mask, size)
        if place is not None:
            who = self._who(worker, None)
            self._file(worker, self._log.write(self._machine.clocks, *place, who), address)

    def transfer(
        self, worker: Worker, transfer: Transfer, by: tuple[int, int, int], *, write: bool
    ) -> None:
        """Check a TMA transfer."""
        if transfer.atomic or not (write or self._log.writing):
            return
        who = self._who(worker, by)
        clocks = self._machine.clocks
        for cells in transfer.cells(self._machine.memory):
            if write:
                found = self._log.write(clocks, cells, None, who)
            elif self._log.watched(cells):
                found = self._log.read(clocks, cells, None, who)
            else:
                return
            self._file(worker, found, None)

    def _who(self, worker: Worker, by: tuple[int, int, int] | None) -> Toucher:
        count = self._machine.clocks.counts[worker.thread]
        clock, thread, count = by or (worker.clock, worker.thread, count)
        return Toucher(
            program=self._machine.linear,
            clock=clock,
            thread=thread,
            count=count,
            site=worker.at,
            partition=worker.name,
            trusted=self.trusted,
        )

    def _file(self, worker: Worker, found: Found, address: Tensor | None) -> None:
        if found.message:
            where = "global memory"
            if address is not None:
                where += f" of {self._machine.memory.region(int(address.min())).name}"
            worker.report(found.kind, f"{where} {found.message}", found.other)
