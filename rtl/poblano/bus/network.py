"""The memory ports of a chip with several homes, and the way to them."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..axi.arbiter import AXIReadArbiter
from ..axi.read_split import AXIReadSplit
from ..axi.signature import AXIReadSignature, AXISignature, AXIWriteSignature, connect_write
from ..axi.write_split import AXIWriteSplit
from ..config import MemoryConfig
from ..verilog import place

__all__ = ["MemoryNetwork"]


class MemoryNetwork(wiring.Component):
    """Joins read masters and a write master with every home, and each home with its own tiles' streams.

    Latency: an address of a read takes 1 cycle, all else none.

    At a home its masters take turns, burst by burst: those that read everywhere come first in the ids, then
    the home's own. A master that reads or writes everywhere gives bursts of different homes different ids
    and always takes what comes, and so does each stream unit; hence nothing waits in a circle.

    Parameters
    ----------
    config : MemoryConfig
    readers : masters that read every home
    own : stream units of each home

    Members
    -------
    reads : In(AXIReadSignature(config.axi)).array(readers)
    streams : In(AXIReadSignature(config.axi)).array(homes, streams)
    write : In(AXIWriteSignature(config.axi))
    o : Out(AXISignature).array(homes), with ids of :meth:`AXIReadArbiter.merged` for all masters
    """

    def __init__(self, config: MemoryConfig, *, readers, own):
        self.config, self.readers, self.own = config, readers, own
        read = AXIReadSignature(config.axi)
        merged = AXIReadArbiter.merged(config.axi, readers + own)
        super().__init__(
            {
                "reads": In(read).array(readers),
                "streams": In(read).array(config.homes, own),
                "write": In(AXIWriteSignature(config.axi)),
                "o": Out(AXISignature(merged)).array(config.homes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        memory, axi = self.config, self.config.axi
        split = [
            place(m, f"read_split{n}", AXIReadSplit(axi, homes=memory.home_map)) for n in range(self.readers)
        ]
        write = place(m, "write_split", AXIWriteSplit(axi, homes=memory.home_map, ahead=memory.outstanding))
        connect(m, flipped(self.write), write.i)
        for n, port in enumerate(self.reads):
            connect(m, flipped(port), split[n].i)
        for home, out in enumerate(self.o):
            arbiter = place(m, f"read_arbiter{home}", AXIReadArbiter(axi, ports=self.readers + self.own))
            for n in range(self.readers):
                connect(m, split[n].o[home], arbiter.i[n])
            for n, port in enumerate(self.streams[home]):
                connect(m, flipped(port), arbiter.i[self.readers + n])
            connect(m, arbiter.o, flipped(out.read))
            connect_write(m, write.o[home], out.write)
        return m
