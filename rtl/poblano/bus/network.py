"""The memory ports of a chip, and the ways to them."""

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
    """Joins read masters, a write master and the host with every home, and each home with its own tiles'
    streams.

    Latency: an address of a read takes 1 cycle; of a write too, if there is a host; all else none.

    At a home its masters take turns, burst by burst: those that read everywhere come first in the ids, the
    host last of these, then the home's own. A master that reads or writes everywhere gives bursts of
    different homes different ids and always takes what comes, and so does each stream unit; hence nothing
    waits in a circle. The host may use ids as it likes: its bursts for another home wait until all before
    them are answered.

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
    """

    def __init__(self, config: MemoryConfig, *, readers, own):
        self.config, self.readers, self.own = config, readers, own
        read = AXIReadSignature(config.axi)
        merged = AXIReadArbiter.merged(config.axi, readers + config.host_port + own)
        host = {"host": In(AXISignature(config.axi))} if config.host_port else {}
        super().__init__(
            {
                "reads": In(read).array(readers),
                "streams": In(read).array(config.homes, own),
                "write": In(AXIWriteSignature(config.axi)),
                **host,
                "o": Out(AXISignature(merged)).array(config.homes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        axi = self.config.axi
        reads = [self._read_ways(m, f"read{n}", flipped(port)) for n, port in enumerate(self.reads)]
        writes = [self._write_ways(m, "write", flipped(self.write))]
        if self.config.host_port:
            reads.append(self._read_ways(m, "host_read", self._host_reads(m)))
            writes.append(self._write_ways(m, "host_write", self._host_writes(m)))
        for home, out in enumerate(self.o):
            ports = [*(ways[home] for ways in reads), *map(flipped, self.streams[home])]
            arbiter = place(m, f"read_arbiter{home}", AXIReadArbiter(axi, ports=len(ports)))
            for port, way in zip(arbiter.i, ports):
                connect(m, way, port)
            connect(m, arbiter.o, flipped(out.read))
            if len(writes) == 1:
                connect_write(m, writes[0][home], out.write)
                continue
            ahead = self.config.outstanding
            merge = place(m, f"write_arbiter{home}", AXIWriteArbiter(axi, ports=len(writes), ahead=ahead))
            for port, ways in zip(merge.i, writes):
                connect(m, ways[home], port)
            connect_write(m, merge.o, out.write)
        return m

    def _read_ways(self, m, name, master):
        """A read master's way to each home."""
        if self.config.homes == 1:
            return [master]
        split = place(m, f"{name}_split", AXIReadSplit(self.config.axi, homes=self.config.home_map))
        connect(m, master, split.i)
        return list(split.o)

    def _write_ways(self, m, name, master):
        """A write master's way to each home."""
        if self.config.homes == 1:
            return [master]
        split = AXIWriteSplit(self.config.axi, homes=self.config.home_map, ahead=self.config.outstanding)
        connect(m, master, place(m, f"{name}_split", split).i)
        return list(split.o)

    def _host_reads(self, m):
        """The host as a read master that may use any ids."""
        host = self.host.read
        if self.config.homes == 1:
            return flipped(host)
        ordered = AXIReadSignature(self.config.axi).create(path=("host_read",))
        order = self._order(m, "host_read_order", host.ar, ordered.ar)
        m.d.comb += [
            host.r.valid.eq(ordered.r.valid),
            host.r.payload.eq(ordered.r.payload),
            ordered.r.ready.eq(host.r.ready),
            order.answered.eq(host.r.valid & host.r.ready & host.r.payload.last),
        ]
        return ordered

    def _host_writes(self, m):
        """The host as a write master that may use any ids."""
        host = self.host.write
        if self.config.homes == 1:
            return flipped(host)
        ordered = AXIWriteSignature(self.config.axi).create(path=("host_write",))
        order = self._order(m, "host_write_order", host.aw, ordered.aw)
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

    def _order(self, m, name, source, target):
        """The host's addresses through a :class:`HomeOrder`."""
        order = place(
            m, name, HomeOrder(self.config.axi, homes=self.config.home_map, outstanding=HOST_BURSTS)
        )
        m.d.comb += [
            order.i.valid.eq(source.valid),
            order.i.payload.eq(source.payload),
            source.ready.eq(order.i.ready),
            target.valid.eq(order.o.valid),
            target.payload.eq(order.o.payload),
            order.o.ready.eq(target.ready),
        ]
        return order
