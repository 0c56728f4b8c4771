"""The memory behind the bench's AXI ports, and a monitor of AXI4's rules."""

import random

from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiRam

__all__ = ["BAD", "Ram", "SIZE", "check_protocol"]

SIZE = 1 << 15
BAD = 1 << 15
"""Addresses from here on are answered with an error."""
BOUNDARY = 4096


class Ram(AxiRam):
    """An AxiRam that answers accesses above :data:`BAD` with SLVERR, and stalls all channels at random."""

    def __init__(self, dut, rng):
        super().__init__(AxiBus.from_prefix(dut, "axi"), dut.clk, dut.rst, size=SIZE)
        self.stall = 0.0
        read, write = self.read_if, self.write_if
        for port, name in ((read, "_read"), (write, "_write")):
            setattr(port, name, self.guard(getattr(port, name)))
        for channel in (read.ar_channel, read.r_channel, write.aw_channel, write.w_channel, write.b_channel):
            channel.set_pause_generator(self.pauses(random.Random(rng.random())))

    @staticmethod
    def guard(access):
        async def guarded(address, argument):
            if address >= BAD:
                raise ValueError("no memory here")
            return await access(address, argument)

        return guarded

    def pauses(self, rng):
        while True:
            yield rng.random() < self.stall


async def check_protocol(dut, config, violations):
    """Adds to ``violations`` what breaks AXI4's rules: stable while not ready, bursts within 4 KiB and the
    configured length, last where it belongs."""
    port = lambda name: getattr(dut, name)
    channels = {"ar": ("addr", "len", "id"), "aw": ("addr", "len", "id"), "w": ("data", "strb", "last")}
    held = {}
    bursts, written, beat = [], [], 0  # lengths by address, lengths by data
    while True:
        await RisingEdge(dut.clk)
        if not dut.axi_rready.value and dut.axi_rvalid.value:
            violations.append("read data not accepted")
        for channel, names in channels.items():
            valid = bool(port(f"axi_{channel}valid").value)
            payload = tuple(int(port(f"axi_{channel}{n}").value) for n in names) if valid else None
            if channel in held and held[channel] != payload:
                violations.append(f"{channel} changed while not ready")
            held.pop(channel, None)
            if not valid:
                continue
            if not port(f"axi_{channel}ready").value:
                held[channel] = payload
                continue
            if channel == "w":
                beat += 1
                if payload[2]:
                    written.append(beat - 1)
                    beat = 0
                continue
            addr, length, _ = payload
            size = config.memory.data_bytes
            if (
                addr % size
                or addr // BOUNDARY != (addr + length * size) // BOUNDARY
                or length >= config.memory.burst_beats
            ):
                violations.append(f"{channel} burst at {addr:#x} of {length + 1} beats")
            if channel == "aw":
                bursts.append(length)
        # Data may come before their address: only the order counts.
        while bursts and written:
            if bursts.pop(0) != written.pop(0):
                violations.append("wlast in the wrong beat")
