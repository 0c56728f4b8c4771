"""The model of a DRAM in Verilog, ``dram_device.v``, with a controller before it."""

from pathlib import Path

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from poblano.axi.signature import AXISignature
from poblano.dram.address import AddressMap
from poblano.dram.controller import DramController
from poblano.verilog import place, source

__all__ = ["DEVICE", "DramSystem", "device_parameters"]

DEVICE = Path(__file__).with_name("dram_device.v")


def device_parameters(config, *, memory_bits):
    """The parameters of the module ``poblano_dram_device`` behind a controller of ``config`` (a
    :class:`~poblano.dram.config.DramConfig`), with 2 to the ``memory_bits`` bytes."""
    timing, cycles, bits = config.timing, config.cycles, AddressMap(config.timing).bits
    return {
        **{f"{name.upper()}_BITS": bits[name] for name in ("way", "row", "column")},
        "GROUP_BITS": exact_log2(timing.groups),
        "BANK_BITS": exact_log2(timing.banks),
        "BURST_BYTES": timing.burst_bytes,
        "BURST_CYCLES": cycles.burst,
        "SIDEBAND_BITS": timing.sideband_bits,
        "READ_LATENCY": cycles.read_latency,
        "WRITE_LATENCY": cycles.write_latency,
        "MEMORY_BITS": memory_bits,
    }


class DramSystem(wiring.Component):
    """A DRAM controller and the DRAM behind it, in Verilog only.

    Members
    -------
    s_axi : In(AXISignature(config.axi))
    errors : Out(32), commands that the DRAM's state did not allow
    """

    def __init__(self, config, *, memory_bits):
        self.config, self.memory_bits = config, memory_bits
        super().__init__({"s_axi": In(AXISignature(config.axi)), "errors": Out(32)})

    def elaborate(self, platform):
        m = Module()
        controller = place(m, "controller", DramController(self.config))
        connect(m, flipped(self.s_axi), controller.s_axi)
        ports = {"i_rst": ResetSignal("sync"), "o_errors": self.errors}
        for name, value, flow in controller.dram.signature.pins(controller.dram):
            signal = Signal.like(value, name=f"dram_{name}")
            m.d.comb += signal.eq(value) if flow == Out else value.eq(signal)
            ports[f"{'i' if flow == Out else 'o'}_dram_{name}"] = signal
        parameters = device_parameters(self.config, memory_bits=self.memory_bits)
        source(m, "device", DEVICE, parameters=parameters, **ports)
        return m
