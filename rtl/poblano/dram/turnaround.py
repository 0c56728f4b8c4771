"""Whether a DRAM's data pins are for reads or for writes."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .config import DramConfig

__all__ = ["Turnaround"]


class Turnaround(wiring.Component):
    """Gathers writes into batches, as turning the pins around costs tens of cycles.

    Latency: 1 cycle from a reason to ``writing``.

    Reads go on until there is none, or ``write_batch`` beats of writes are ready with their row open, or
    some have been ready for ``write_wait`` cycles, or the oldest write is aged, or one is in a ``hurry``.
    Writes then go on until none is ready or, if reads wait, ``write_beats`` have been written. An aged burst
    of the present direction is served before. With ``config.ecc`` writes whose data are not there yet wait
    for these cycles too: reads that complete them are made meanwhile.

    Parameters
    ----------
    config : DramConfig

    Members
    -------
    reads, writes : In(1), bursts are there
    beats : In, beats of write data that are there
    write_hit : In(1), the row of the next write is open
    read_aged, write_aged : In(1)
    hurry : In(1), with ``config.ecc``: writes are not to wait any longer
    issue : In(1), a column command is given in this cycle
    writing : Out(1)
    """

    def __init__(self, config: DramConfig):
        self.config = config
        super().__init__(
            {
                "reads": In(1),
                "writes": In(1),
                "beats": In(range(config.write_beats + 1)),
                "write_hit": In(1),
                "read_aged": In(1),
                "write_aged": In(1),
                "issue": In(1),
                "writing": Out(1),
            }
            | ({"hurry": In(1)} if config.ecc else {})
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        ready = Signal()
        count = Signal(range(max(config.write_beats, config.write_wait) + 1))  # of beats, or of cycles
        m.d.comb += ready.eq(self.writes & (self.beats != 0))
        with m.If(self.writing):
            enough = count >= config.write_beats
            with m.If(self.reads & (~ready | (enough | self.read_aged) & ~self.write_aged)):
                m.d.sync += [self.writing.eq(0), count.eq(0)]
            with m.Elif(self.issue & ~enough):
                m.d.sync += count.eq(count + 1)
        with m.Else():
            waited = count >= config.write_wait
            batch = (self.beats >= config.write_batch) & self.write_hit
            reasons = ~self.reads | batch | waited | self.write_aged
            if config.ecc:
                reasons |= self.hurry
            with m.If(ready & reasons & (~self.read_aged | ~self.reads)):
                m.d.sync += [self.writing.eq(1), count.eq(0)]
            with m.Elif((self.writes if config.ecc else ready) & ~waited):
                m.d.sync += count.eq(count + 1)
        return m
