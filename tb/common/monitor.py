"""Watches a cocotb bench: says which unit stands still when nothing moves any more, and keeps AXI models
quiet."""

import json
import logging
import os
import random

import cocotb
from cocotb.handle import LogicArrayObject, LogicObject
from cocotb.triggers import ClockCycles

from .stuck import CYCLES, Inside, StuckError

__all__ = ["Monitor"]

STEP = 100
"""Most cycles from a look to the next."""


def _quiet():
    """cocotbext-axi tells of each burst; only its warnings are kept in the log."""
    keep = lambda record: record.levelno >= logging.WARNING or "cocotbext" not in record.pathname
    for handler in logging.getLogger().handlers:
        if keep not in handler.filters:
            handler.addFilter(keep)


class Monitor:
    """Looks at ``dut`` every now and then, in cycles chosen at random; made before a reset of at least two
    cycles.

    It sees the handshakes of the top (``x__valid`` and ``x__ready``, or AXI's ``xvalid`` and ``xready``),
    what it says of itself (busy, done), and the credits and levels of queues inside (``tb.common.probes``).
    If nothing of all this changes for ``cycles`` cycles while a handshake is offered and not taken, or a
    queue is not empty, the test fails with :class:`~tb.common.stuck.StuckError`: what waits for what, and
    the reader whose credit is missing.
    """

    def __init__(self, dut, *, cycles=CYCLES):
        _quiet()
        self.dut, self.cycles = dut, cycles
        self.rng = random.Random(f"monitor {os.environ.get('SEED', '1')}")
        self.handshakes, self.outputs = self._ports()
        self.probes = self._probes()
        self.whole = None
        cocotb.start_soon(self._watch())

    def _ports(self):
        """Pairs of handles by the names of handshakes; what else tells that something goes on."""
        ports = {h._name: h for h in self.dut if isinstance(h, (LogicObject, LogicArrayObject))}
        pairs = {}
        for name, valid in ports.items():
            ready = ports.get(name.removesuffix("valid") + "ready")
            if name.endswith("valid") and ready is not None:
                pairs[name.removesuffix("valid").rstrip("_")] = valid, ready
        watched = ("done", "error", "idle", "busy", "irq", "rx", "tx")
        return pairs, {name: h for name, h in ports.items() if name.split("__")[-1] in watched}

    def _probes(self):
        """(kind of the owner, handle) of what is visible inside, by its path."""
        if not os.path.isfile(os.environ.get("PROBES", "")):
            return {}
        with open(os.environ["PROBES"]) as file:
            paths, found = json.load(file), {}
        for path, (kind, signal) in paths.items():
            handle = self.dut
            try:
                for part in [*path.split("."), signal]:
                    handle = getattr(handle, part)
            except AttributeError:
                continue  # the compiler saw that it is not needed
            found[path] = kind, handle
        return found

    def values(self):
        """What is inside, by path."""
        return {path: int(handle.value) for path, (_, handle) in self.probes.items()}

    def inside(self, values):
        """The same, as credits and queues."""
        credit = {path for path, (_, handle) in self.probes.items() if handle._name == "left"}
        return Inside(
            credits={path: (n, self.whole[path]) for path, n in values.items() if path in credit},
            queues={path: n for path, n in values.items() if path not in credit},
            kinds={path: kind for path, (kind, _) in self.probes.items()},
        )

    async def _watch(self):
        clk, rst = self.dut.clk, getattr(self.dut, "rst", None)
        await ClockCycles(clk, 2)
        self.whole, before, still = self.values(), None, 0  # in the reset all credit is there
        while True:
            step = self.rng.randint(1, STEP)
            await ClockCycles(clk, step)
            if rst is not None and rst.value == 1:
                before = None
                continue
            values = self.values()
            now = values, {name: str(handle.value) for name, handle in self.outputs.items()}
            offers = {name: (str(v.value), str(r.value)) for name, (v, r) in self.handshakes.items()}
            moves = any(pair == ("1", "1") for pair in offers.values())
            still = 0 if moves or now != before else still + step
            before = now
            waits = [name for name, pair in offers.items() if pair == ("1", "0")]
            inside = self.inside(values)
            if still >= self.cycles and (waits or any(inside.queues.values())):
                raise StuckError(inside.report(waits, still))

    def check_idle(self):
        """To be called when all units are done and what they gave has been taken: all credit is there."""
        self.inside(self.values()).check_idle()
