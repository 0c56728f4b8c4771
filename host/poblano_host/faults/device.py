"""A simulated chip whose runs split: a process for each fault."""

import os

from ..runtime.device import SimulatedDevice
from ..runtime.errors import HangError
from ..sim.faults import FaultySimulation

__all__ = ["FaultyDevice"]


class FaultyDevice(SimulatedDevice):
    """A simulated chip. While it runs, each of the faults that are planned comes over a copy of this process
    (``fork``), in the fault's cycle of the run; this process goes on without faults.

    Members
    -------
    fault : the one that this process has; None in the process that goes on
    lost : faults whose processes ended without an exit code of 0
    planned : faults that are still to come, the next last
    limit : cycles from the run's start in which the chip must end; None: any
    """

    def __init__(self, config, memory_bytes, *, report=lambda text: None):
        super().__init__(config, memory_bytes, report=report, simulation=FaultySimulation)
        self.fault = self.limit = self._begun = None
        self.lost, self.planned = [], []

    def plan(self, faults):
        """From the next wait on, which begins a run, the faults come in their cycles of it."""
        self.planned = sorted(faults, key=lambda fault: fault.cycle, reverse=True)
        self._begun = None

    def wait(self, brief=False):
        if self._begun is None:
            self._begun = self.clock()
        end = self.clock() + (self.BRIEF if brief else self.SLICE)
        while self.planned and self._begun + self.planned[-1].cycle < end:
            fault = self.planned.pop()
            self._run_to(self._begun + fault.cycle)
            if self._splits(fault):
                self.planned, self.fault, self.lost = [], fault, []
                fault.apply(self)
                end = self.clock() + self.SLICE
        self._run_to(end)
        if self.limit is not None and self.clock() - self._begun > self.limit:
            raise HangError(f"the chip goes on after {self.limit} cycles", [])
        return self.simulation.irq

    def _run_to(self, cycle):
        if cycle > self.clock():
            self.simulation.run(cycle - self.clock())

    def _splits(self, fault):
        """Whether this is the new process, which has the fault; the old one waits for its end."""
        child = os.fork()
        if not child:
            return True
        if os.waitpid(child, 0)[1]:
            self.lost.append(fault)
        return False
