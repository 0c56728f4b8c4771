"""The whole DRAM controller for proofs, with all of its registers."""

from functools import reduce

from amaranth.hdl import *

from poblano.dram.controller import DramController

from .dram_slots import Slots
from .harness import Harness

__all__ = ["Cut", "Opened", "Timer", "Whole", "bigger"]


def bigger(*values):
    """The biggest of unsigned values."""
    return reduce(lambda a, b: Mux(Value.cast(a) > b, a, b), values)


class Opened:
    """A component, elaborated with all that is in it: the ``block``, the ``module`` of its hardware, its
    signals by name, its ``parts``."""

    def __init__(self, block):
        self.block, self.module = block, block.elaborate(None)
        self.parts = {}
        if not isinstance(self.module, Module):
            return  # a memory
        self._signals = {signal.name: signal for signal in self.module._driving}
        inside = self.module._named_submodules
        for name, (part, place) in list(inside.items()):
            if not isinstance(part, Module):
                self.parts[name] = Opened(part)
                inside[name] = self.parts[name].module, place

    def __getitem__(self, name):
        return self._signals[name]


class Timer:
    """An opened Countdown: ``wait``, the cycles until it is over."""

    def __init__(self, part):
        self.part, self.times = part, part.block.times
        started = [Mux(bit, time - 1, 0) for bit, time in zip(part.block.start, self.times)]
        self.wait = bigger(part["left"], *started)

    def check(self, harness, name):
        most = max(max(self.times) - 2, 0)
        left, late = self.part["left"], self.part["late"]
        harness.check(f"timer {name}", (late == (left == 0)) & (left <= most))


class Cut(Harness):
    """The controller of ``config`` without the parts ``cut``, whose outputs are free.

    ``top`` is the controller, :class:`Opened`.
    """

    cut: tuple = ("read_splitter", "write_splitter", "read_data", "write_data")

    def __init__(self, config):
        super().__init__()
        self.config = config

    def prove(self, m):
        dut = DramController(self.config)
        top = self.top = Opened(dut)
        for name in self.cut:
            place = top.module._named_submodules[name][1]
            block = top.parts[name].block
            top.module._named_submodules[name] = Module(), place
            for path, member, value in block.signature.flatten(block):
                if member.flow.name == "Out" and len(Value.cast(value)):
                    self._expose("_".join([name, *map(str, path)]), value)
        self.add("dut", dut, module=top.module)


class Whole(Cut):
    """The controller with any bursts, any room, any data.

    Of its slots, its banks and its timers this says what proofs need to know.
    """

    def prove(self, m):
        super().prove(m)
        for name in ("reads", "writes"):
            self._slots_and_banks(name, self.top.parts[name])
        self._timers()

    def _slots_and_banks(self, name, queue):
        timing, ways, slots = (
            self.config.timing,
            self.config.timing.ways,
            Slots(queue.block, queue.__getitem__),
        )
        slots.check(self, f"{name} ")
        for n in range(queue.block.depth):
            at, is_valid, older = slots.place(n), slots.at(n, "valid"), slots.at(n, "older")
            for kind in ("order", "foe"):
                others = slots.at(n, kind) & slots.valid & ~older
                self.check(f"{name} {kind} {n}", ~is_valid | (others == 0))
            for way in range(ways):
                banks = [self.top.parts[f"bank{way + ways * s}"].block for s in range(timing.sets)]
                hit = Cat(bank.open & (bank.row == at.row) for bank in banks).bit_select(at.set, 1)
                self.check(f"{name} hits {n} {way}", ~is_valid | (slots.at(n, "hits")[way] == hit))

    def _timers(self):
        """Those of the banks and of all."""
        self.timers = {}
        for name, part in self.top.parts.items():
            if name.startswith("bank") or name == "windows":
                for kind, timer in part.parts.items():
                    self.timers[name, kind] = timer = Timer(timer)
                    timer.check(self, f"{name} {kind}")
        turn = self.top.parts["windows"]["turn"]
        self.check("turn", Cat(turn == 1 << n for n in range(4)).any())
