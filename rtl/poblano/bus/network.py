"""The memories of a chip, and the ways to them."""

from dataclasses import replace

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi.arbiter import AXIReadArbiter
from ..axi.home_order import HomeOrder
from ..axi.read_split import AXIReadSplit
from ..axi.signature import AXIReadSignature, AXISignature, AXIWriteSignature, connect_write
from ..axi.write_arbiter import AXIWriteArbiter
from ..axi.write_split import AXIWriteSplit
from ..config import MemoryConfig
from ..verilog import place

__all__ = ["MemoryNetwork"]

HOST_BURSTS = 16
"""Reads, and writes, of the host that are not answered."""


class MemoryNetwork(wiring.Component):
    """Joins read masters, a write master and the host with every memory, which are the homes and their KV
    buffers, and each home's with its own tiles' streams.

    Latency: an address of a read takes 1 cycle; of a write too, if there is a host; all else none.

    At a memory its masters take turns, burst by burst: those that read everywhere come first in the ids, the
    host last of these, then the home's own. A master that reads or writes everywhere gives bursts of
    different memories different ids and always takes what comes, and so does each stream unit; hence nothing
    waits in a circle. The host and the streams may use ids as they like: their bursts for another memory
    wait until all before them are answered. A home and its KV buffer each give a beat a cycle.

    Parameters
    ----------
    config : MemoryConfig; the host has a port if ``config.host_port``
    readers : masters that read every home, beside the host
    own : stream units of each home

    Members
    -------
    reads : In(AXIReadSignature(config.axi)).array(readers)
    streams : In(AXIReadSignature(config.axi)).array(homes, own)
    write : In(AXIWriteSignature(config.axi))
    host : In(AXISignature(config.axi)), if it has a port
    o : Out(AXISignature).array(homes), with ids of :meth:`AXIReadArbiter.merged` for all masters
    kv : Out(AXISignature).array(homes), the same for the KV buffers, if there are any
    """

    def __init__(self, config: MemoryConfig, *, readers, own):
        self.config, self.readers, self.own = config, readers, own
        read = AXIReadSignature(config.axi)
        merged = AXIReadArbiter.merged(config.axi, readers + config.host_port + own)
        host = {"host": In(AXISignature(config.axi))} if config.host_port else {}
        kv = {"kv": Out(AXISignature(merged)).array(config.homes)} if config.kv_bytes else {}
        super().__init__(
            {
                "reads": In(read).array(readers),
                "streams": In(read).array(config.homes, own),
                "write": In(AXIWriteSignature(config.axi)),
                **host,
                "o": Out(AXISignature(merged)).array(config.homes),
                **kv,
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        reads = [
            self._read_ways(m, f"read{n}", flipped(port), config.home_map)
            for n, port in enumerate(self.reads)
        ]
        writes = [self._write_ways(m, "write", flipped(self.write))]
        if config.host_port:
            host = self._ordered_read(m, "host", flipped(self.host.read), config.home_map, HOST_BURSTS)
            reads.append(self._read_ways(m, "host_read", host, config.home_map))
            writes.append(self._write_ways(m, "host_write", self._host_writes(m)))
        for home, out in enumerate(self.o):
            streams = [
                self._stream_ways(m, f"stream{home}_{n}", flipped(port))
                for n, port in enumerate(self.streams[home])
            ]
            places = [(home, out), *([(config.homes + home, self.kv[home])] if config.kv_bytes else ())]
            for own, (place_, port) in enumerate(places):
                masters = [*(ways[place_] for ways in reads), *(ways[own] for ways in streams)]
                self._merge_reads(m, place_, masters, port.read)
                self._merge_writes(m, place_, [ways[place_] for ways in writes], port.write)
        return m

    def _merge_reads(self, m, number, masters, port):
        """Joins masters' ways to a memory with its ``port``."""
        arbiter = place(m, f"read_arbiter{number}", AXIReadArbiter(self.config.axi, ports=len(masters)))
        for inside, master in zip(arbiter.i, masters):
            connect(m, master, inside)
        connect(m, arbiter.o, flipped(port))

    def _merge_writes(self, m, number, masters, port):
        """As :meth:`_merge_reads`."""
        if len(masters) == 1:
            connect_write(m, masters[0], port)
            return
        merge = AXIWriteArbiter(self.config.axi, ports=len(masters), ahead=self.config.outstanding)
        place(m, f"write_arbiter{number}", merge)
        for inside, master in zip(merge.i, masters):
            connect(m, master, inside)
        connect_write(m, merge.o, port)

    def _read_ways(self, m, name, master, homes):
        """A read master's way to each memory of ``homes``."""
        if homes.places == 1:
            return [master]
        split = place(m, f"{name}_split", AXIReadSplit(self.config.axi, homes=homes))
        connect(m, master, split.i)
        return list(split.o)

    def _stream_ways(self, m, name, master):
        """A stream's way to its home and to that home's KV buffer."""
        own = replace(self.config.home_map, count=1)
        ordered = self._ordered_read(m, name, master, own, self.config.outstanding)
        return self._read_ways(m, name, ordered, own)

    def _write_ways(self, m, name, master):
        """A write master's way to each memory."""
        if not self.config.several:
            return [master]
        split = AXIWriteSplit(self.config.axi, homes=self.config.home_map, ahead=self.config.outstanding)
        connect(m, master, place(m, f"{name}_split", split).i)
        return list(split.o)

    def _ordered_read(self, m, name, master, homes, outstanding):
        """A read master that may use any ids as one whose bursts in flight are all at one memory."""
        if homes.places == 1:
            return master
        ordered = AXIReadSignature(self.config.axi).create(path=(f"{name}_read",))
        order = self._order(m, f"{name}_read_order", master.ar, ordered.ar, homes, outstanding)
        m.d.comb += [
            master.r.valid.eq(ordered.r.valid),
            master.r.payload.eq(ordered.r.payload),
            ordered.r.ready.eq(master.r.ready),
            order.answered.eq(master.r.valid & master.r.ready & master.r.payload.last),
        ]
        return ordered

    def _host_writes(self, m):
        """The host as a write master that may use any ids."""
        host = self.host.write
        if not self.config.several:
            return flipped(host)
        ordered = AXIWriteSignature(self.config.axi).create(path=("host_write",))
        order = self._order(m, "host_write_order", host.aw, ordered.aw, self.config.home_map, HOST_BURSTS)
        m.d.comb += [
            ordered.w.valid.eq(host.w.valid),
            ordered.w.payload.eq(host.w.payload),
            host.w.ready.eq(ordered.w.ready),
            host.b.valid.eq(ordered.b.valid),
            host.b.payload.eq(ordered.b.payload),
            ordered.b.ready.eq(host.b.ready),
            order.answered.eq(host.b.valid & host.b.ready),
        ]
        return ordered

    def _order(self, m, name, source, target, homes, outstanding):
        """A master's addresses through a :class:`HomeOrder`."""
        order = place(m, name, HomeOrder(self.config.axi, homes=homes, outstanding=outstanding))
        m.d.comb += [
            order.i.valid.eq(source.valid),
            order.i.payload.eq(source.payload),
            source.ready.eq(order.i.ready),
            target.valid.eq(order.o.valid),
            target.payload.eq(order.o.payload),
            order.o.ready.eq(target.ready),
        ]
        return order
