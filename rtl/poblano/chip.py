"""The whole chip."""

from dataclasses import replace
from functools import reduce
from operator import add

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .axi.arbiter import AXIReadArbiter
from .axi.lite import AXILiteSignature
from .axi.page_translators import AXIReadTranslator, AXIWriteTranslator
from .axi.read_guard import AXIReadGuard
from .axi.signature import AXISignature, connect_write
from .axi.write_guard import AXIWriteGuard
from .bus.broadcast import BroadcastBus
from .bus.network import MemoryNetwork
from .config import ChipConfig
from .control.processor import CommandProcessor
from .dram.controller import DramController
from .isa.ecc_registers import TILE_PLACES, ecc_places
from .isa.topology import ReadMaster, UnitKind
from .memory.dma import DMAUnit
from .memory.kv_buffer import KVBuffer
from .memory.page_table import PageTable
from .tile import Tile
from .verilog import emit, place

__all__ = ["Chip", "chip_verilog"]


class Chip(wiring.Component):
    """Tiles, DMA engine, command processor and broadcast bus behind an AXI4 master or a DRAM controller for
    each home of memory, and one AXI4-Lite slave.

    Latency: that of its parts.

    In the Verilog of a chip that is the top these have the customary pins, ``m_axi_*`` and ``s_axil_*``; with
    several homes ``m_axi0_*``, ``m_axi1_*`` and so on. Every home has whole addresses.

    Parameters
    ----------
    config : ChipConfig

    Members
    -------
    irq : Out(1), level, see the IRQ registers.
    trace_start, trace_done : Out(units), a unit started or completed a command this cycle.
    s_axil : In(AXILiteSignature), 12-bit byte address: the registers of docs/registers.md.
    m_axi : Out(AXISignature), with several homes an array of them; bursts that do not cross 4 KiB. Bursts
        with different IDs may be answered in any order.
    dram : Out(DramSignature), with several homes an array of them, instead of ``m_axi`` if
        ``config.memory.dram``.
    s_axi : In(AXISignature), if ``config.memory.host_port``: a host's reads and writes of all memory. Its
        bursts are those of ``m_axi``, whole beats that do not cross 4 KiB; it always takes its answers.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        memory = config.memory
        self.merged = axi = AXIReadArbiter.merged(memory.axi, len(config.topology.read_masters[0]))
        name, port = "m_axi", Out(AXISignature(axi))
        if memory.dram is not None:
            self.dram_config = replace(
                memory.dram, id_width=axi.id_width, address_bits=axi.addr_width, ecc=config.ecc
            )
            name, port = "dram", Out(DramController.pins_of(self.dram_config))
        super().__init__(
            {
                "irq": Out(1),
                "trace_start": Out(config.units),
                "trace_done": Out(config.units),
                "s_axil": In(AXILiteSignature()),
                name: port if memory.homes == 1 else port.array(memory.homes),
                **({"s_axi": In(AXISignature(memory.axi))} if memory.host_port else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        processor = place(m, "processor", CommandProcessor(config))
        clear = processor.clear
        tile, count, topology = config.tile, config.tiles, config.topology
        dma = place(m, "dma", DMAUnit(config.memory, tile.local, tiles=count), reset=clear)
        bus = place(
            m, "bus", BroadcastBus(tile.local, sources=len(topology.bus_sources), tiles=count), reset=clear
        )
        tiles = [place(m, f"tile{n}", Tile(config), reset=clear) for n in range(count)]

        unit = lambda *place: processor.units[topology.unit(*place)]
        source = lambda *place: bus.i[topology.bus_source(*place)]
        connect(m, unit(UnitKind.DMA), dma.unit)
        connect(m, dma.bus, source(UnitKind.DMA))
        for n, tile in enumerate(tiles):
            m.d.comb += [tile.number.eq(n), tile.clear.eq(processor.clear_memories)]
            connect(m, unit(UnitKind.STREAM, n), tile.stream)
            connect(m, unit(UnitKind.MATMUL, n), tile.matmul)
            connect(m, unit(UnitKind.VECTOR, n), tile.vector)
            connect(m, tile.bus_matmul, source(UnitKind.MATMUL, n))
            connect(m, tile.bus_vector, source(UnitKind.VECTOR, n))
            connect(m, bus.o[n], tile.bus)
            connect(m, dma.vmem[n], tile.dma_vmem)
            connect(m, dma.amem[n], tile.dma_amem)

        if config.experts is not None:
            for tile in tiles:
                with m.If(tile.table.valid):
                    m.d.comb += processor.table.eq(tile.table)

        connect(m, flipped(self.s_axil), processor.axi_lite)
        guarded = lambda name, port, outstanding=config.memory.outstanding: self._guarded(
            m, name, port, outstanding, clear
        )
        events = dict(self._events(dma, tiles)) if config.ecc else {}
        (load, *streams), write = self._translated(m, dma, tiles, processor, events)
        readers = {
            ReadMaster.FETCH: guarded("fetch_guard", processor.fetch, config.memory.fetch_bursts),
            ReadMaster.DMA: guarded("load_guard", load),
        }
        streams = [guarded(f"stream_guard{n}", port) for n, port in enumerate(streams)]
        write = self._guarded_write(m, write, clear)
        ports = self._memory(m, readers, write, streams, processor, events)
        beats = lambda channels: reduce(add, [channel.valid & channel.ready for channel in channels])
        m.d.comb += [
            self.irq.eq(processor.irq),
            self.trace_start.eq(processor.trace_start),
            self.trace_done.eq(processor.trace_done),
            processor.moved.eq(
                Cat(
                    *(tile.moved for tile in tiles),
                    dma.read.r.valid,
                    *(channel.valid & channel.ready for channel in (dma.write.aw, dma.write.w, dma.write.b)),
                ).any()
            ),
            processor.clearing.eq(Cat(tile.clearing for tile in tiles).any()),
            processor.read_beats.eq(beats(port.read.r for port in ports)),
            processor.write_beats.eq(beats(port.write.w for port in ports)),
        ]
        if config.ecc:
            m.d.comb += [
                to.eq(events[place.name]) for place, to in zip(ecc_places(config), processor.ecc_events)
            ]
        return m

    def _events(self, dma, tiles):
        """The events of words with check bits, by the names of their places."""
        yield "dma", dma.events
        for n, tile in enumerate(tiles):
            yield from ((f"tile{n}.{kind}", of) for kind, of in zip(TILE_PLACES, tile.ecc_events))

    def _translated(self, m, dma, tiles, processor, events):
        """The ports of what executes commands, those that read and the one that writes, behind page tables if
        there are any. Adds to ``events``."""
        memory, reads = self.config.memory, [dma.read, *(tile.axi for tile in tiles)]
        if memory.paging is None:
            return reads, dma.write
        table = PageTable(memory.paging, addr_width=memory.home_bits, ports=len(reads) + 1, ecc=memory.ecc)
        place(m, "page_table", table, reset=processor.clear)
        widths = memory.command_axi, memory.axi, memory.paging
        outside = []
        for n, port in enumerate([*reads, dma.write]):
            kind = AXIWriteTranslator if n == len(reads) else AXIReadTranslator
            translator = kind(*widths, home_bits=memory.home_bits, ecc=memory.ecc)
            place(m, f"translator{n}", translator, reset=processor.clear)
            connect(m, port, translator.i)
            connect(m, translator.lookup, table.lookup[n])
            m.d.comb += [
                translator.answer.eq(table.answer),
                translator.answered.eq(table.answered[n]),
                translator.forget.eq(processor.page_write.valid),
            ]
            outside.append(translator.o)
        m.d.comb += [
            table.write.eq(processor.page_write.valid),
            table.index.eq(processor.page_write.index),
            table.entry.eq(processor.page_write.entry),
        ]
        if memory.ecc:
            events["pages"] = table.events
        return outside[:-1], outside[-1]

    def _guarded(self, m, name, master, outstanding, clear):
        """A read master's port behind a guard, if there is a watchdog: only it ends a reset early."""
        if not self.config.watchdog:
            return master
        guard = place(m, name, AXIReadGuard(self.config.memory.axi, outstanding=outstanding))
        connect(m, master, guard.i)
        m.d.comb += guard.cut.eq(clear)
        return guard.o

    def _guarded_write(self, m, master, clear):
        """As :meth:`_guarded`, of the one that writes."""
        memory = self.config.memory
        if not self.config.watchdog:
            return master
        guard = AXIWriteGuard(
            memory.axi,
            outstanding=memory.outstanding_writes,
            ahead=memory.outstanding,
            longest=memory.burst_beats,
        )
        connect(m, master, place(m, "store_guard", guard).i)
        m.d.comb += guard.cut.eq(clear)
        return guard.o

    def _memory(self, m, readers, write, streams, processor, events):
        """Joins ``readers`` and the writing DMA engine with every home, and each tile's stream with its own;
        the :meth:`_ports`. Adds to ``events``."""
        topology, memory = self.config.topology, self.config.memory
        ports = self._ports(m, processor, events)
        if not memory.several and not memory.host_port:
            arbiter = place(
                m, "read_arbiter", AXIReadArbiter(memory.axi, ports=len(topology.read_masters[0]))
            )
            for kind, reader in readers.items():
                connect(m, reader, arbiter.i[topology.read_master(kind)])
            for n, port in enumerate(streams):
                connect(m, port, arbiter.i[topology.read_master(ReadMaster.STREAM, n)])
            connect(m, arbiter.o, ports[0].read)
            connect_write(m, write, ports[0].write)
            return ports
        network = place(
            m, "network", MemoryNetwork(memory, readers=len(readers), own=len(topology.tiles_of(0)))
        )
        for kind, reader in readers.items():
            connect(m, reader, network.reads[topology.read_master(kind)])
        connect(m, write, network.write)
        if memory.host_port:
            connect(m, flipped(self.s_axi), network.host)
        for home, port in enumerate(ports):
            connect(m, network.o[home], port)
            for own, n in zip(network.streams[home], topology.tiles_of(home)):
                connect(m, streams[n], own)
            if memory.kv_bytes:
                buffer = KVBuffer(self.merged, size=memory.kv_bytes, ecc=memory.ecc)
                place(m, f"kv_buffer{home}", buffer)
                if memory.ecc:
                    events[f"home{home}.kv_buffer"] = buffer.events
                connect(m, network.kv[home], buffer.axi)
        return ports

    def _ports(self, m, processor, events):
        """What a master of each home's memory connects to: a controller's side, or the chip's port."""
        memory = self.config.memory
        several = lambda member: [member] if memory.homes == 1 else list(member)
        if memory.dram is None:
            return [flipped(port) for port in several(self.m_axi)]
        ports = []
        for n, pins in enumerate(several(self.dram)):
            controller = place(m, f"dram_controller{n}", DramController(self.dram_config))
            connect(m, controller.dram, flipped(pins))
            ports.append(controller.s_axi)
            if memory.ecc:
                events[f"home{n}.dram"] = Cat(controller.corrected, controller.failed)
                events[f"home{n}.controller"] = controller.events
                m.d.comb += [
                    processor.dram_events[n].scrubbed.eq(controller.scrubbed),
                    processor.dram_events[n].address.eq(controller.address),
                ]
        return ports


def chip_verilog(config):
    """Verilog of the chip, top module ``chip``."""
    return emit(Chip(config), "chip", clock_gates=config.clock_gates)
