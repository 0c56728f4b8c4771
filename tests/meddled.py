"""A chip in simulation whose memory can be made silent, and whose units can be made to hang."""

from dataclasses import replace
from fractions import Fraction
from functools import partial
from unittest import mock

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped
import pytest

from poblano import chip as chips
from poblano.config import preset
from poblano.verilog import emit, place
from poblano_host.runtime.device import SimulatedDevice
from poblano_host.sim.errors import SimulationError
from poblano_host.sim.simulation import Simulation

__all__ = ["CHANNELS", "LIMIT", "LOST", "SILENT", "TAKEN", "config", "device", "meddle"]

CHANNELS = ("ar", "r", "aw", "w", "b")
SILENT, TAKEN, LOST = 0xFF0, 0xFF4, 0xFF8
"""Addresses of AXI4-Lite that the chip has no register at: masks of channels that are silent, of units that
take commands and do nothing, of units whose ``done`` is lost."""
LIMIT = 2000
"""Of the watchdog."""
PROCESSOR = chips.CommandProcessor


def config(**changes):
    """``nano`` with a memory of a beat a cycle."""
    nano = preset("nano")
    return replace(nano.with_memory(bandwidth=Fraction(nano.memory.data_bytes)), watchdog=LIMIT, **changes)


def meddle(simulation, at, mask):
    """Set a mask; the chip answers the write with an error."""
    with pytest.raises(SimulationError, match="response 2"):
        simulation.write(at, mask)


def device(config, memory_bytes):
    """A :class:`SimulatedDevice` whose chip can be meddled with."""
    with mock.patch.object(chips, "CommandProcessor", _Processor):
        verilog = emit(_Chip(config), "chip", clock_gates=config.clock_gates)
    return SimulatedDevice(config, memory_bytes, simulation=partial(Simulation, verilog=verilog))


def _mask(m, port, at, width):
    """A register that is written at the address ``at``."""
    mask = Signal(width, name=f"mask_{at:x}")
    with m.If(port.w.valid & port.w.ready & (port.aw.payload.addr == at)):
        m.d.sync += mask.eq(port.w.payload.data)
    return mask


def _members(component):
    """Those of a component that is not used for anything else."""
    component._MustUse__used = True
    return dict(component.signature.members.items())


def _join(m, outer, inner, members):
    """The members of the same names of a component and of one inside."""
    for name, member in members:
        one, other = getattr(outer, name), getattr(inner, name)
        if member.is_signature:
            connect(m, flipped(one), other)
        else:
            m.d.comb += other.eq(one) if member.flow is In else one.eq(other)


class _Processor(wiring.Component):
    """The command processor, and units that hang."""

    def __init__(self, config):
        self.config = config
        super().__init__(_members(PROCESSOR(config)))

    def elaborate(self, platform):
        m = Module()
        inside = place(m, "inside", PROCESSOR(self.config))
        _join(m, self, inside, [pair for pair in self.signature.members.items() if pair[0] != "units"])
        taken, lost = (_mask(m, inside.axi_lite, at, self.config.units) for at in (TAKEN, LOST))
        for n, (inner, outer) in enumerate(zip(inside.units, self.units)):
            for name in ("error", "code", "busy", "stall_in", "stall_out", "idle"):
                m.d.comb += getattr(inner, name).eq(getattr(outer, name))
            m.d.comb += [
                outer.cmd.payload.eq(inner.cmd.payload),
                outer.cmd.valid.eq(inner.cmd.valid & ~taken[n]),
                inner.cmd.ready.eq(outer.cmd.ready | taken[n]),
                outer.flush.eq(inner.flush),
                inner.done.eq(outer.done & ~lost[n]),
            ]
        return m


class _Chip(wiring.Component):
    """The chip, and a memory with silent channels: a transfer that was offered before is still made."""

    def __init__(self, config):
        self.config = config
        super().__init__(_members(chips.Chip(config)))

    def elaborate(self, platform):
        m = Module()
        inside = place(m, "inside", chips.Chip(self.config))
        _join(m, self, inside, [pair for pair in self.signature.members.items() if pair[0] != "m_axi"])
        silent = _mask(m, inside.s_axil, SILENT, len(CHANNELS))
        for n, (name, half) in enumerate(zip(CHANNELS, ("read", "read", "write", "write", "write"))):
            inner, outer = (getattr(getattr(port, half), name) for port in (inside.m_axi, self.m_axi))
            source, target = (outer, inner) if name in "rb" else (inner, outer)
            stalled, off = Signal(name=f"stalled_{name}"), Signal(name=f"off_{name}")
            m.d.sync += stalled.eq(target.valid & ~target.ready)
            m.d.comb += [
                off.eq(silent[n] & ~stalled),
                target.payload.eq(source.payload),
                target.valid.eq(source.valid & ~off),
                source.ready.eq(target.ready & ~off),
            ]
        return m
