"""Frames as RFC 1662 has them: flags between them, escapes within, and an FCS of 32 bits at the end."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from .protocol import ESCAPE, FCS_BYTES, FLAG, FLIP

__all__ = ["FrameReceiver", "FrameTransmitter"]


class FrameReceiver(wiring.Component):
    """Removes flags and escapes, and checks each frame.

    Latency: 1 cycle.

    Bytes are given as they come, those of the FCS too, with their index in the frame; only ``end`` with
    ``good`` says that they were a frame. A frame of no bytes (flag after flag) is nothing. What comes
    before the first flag after a reset, an ``abort`` or a cycle without ``en`` is skipped. Takes a byte every
    third cycle at most.

    Parameters
    ----------
    longest : most bytes of a frame, without its FCS

    Members
    -------
    i : In(stream(8)), always accepted
    en, abort : In(1), take what comes; what came so far of this frame is not to be believed
    byte : Out(8), index : Out, write : Out(1), the byte of that index is here
    end, good : Out(1), a frame has ended; it has a right FCS and 1 to ``longest`` bytes
    length : Out, at ``end``, bytes of the frame without its FCS
    """

    def __init__(self, *, longest):
        self.longest = longest
        index = range(longest + FCS_BYTES + 2)
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "en": In(1),
                "abort": In(1),
                "byte": Out(8),
                "index": Out(index),
                "write": Out(1),
                "end": Out(1),
                "good": Out(1),
                "length": Out(range(longest + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=8).create()
        inside, escaped, bad = Signal(), Signal(), Signal()
        byte, flag, escape = self.i.payload, Signal(), Signal()
        plain, is_byte, index, begins = Signal(8), Signal(), Signal.like(self.index), Signal()
        too_long = self.longest + FCS_BYTES + 1
        m.d.comb += [
            self.i.ready.eq(1),
            flag.eq(self.i.valid & (byte == FLAG)),
            escape.eq(self.i.valid & (byte == ESCAPE)),
            plain.eq(byte ^ Mux(escaped, FLIP, 0)),
            is_byte.eq(self.i.valid & ~flag & ~escape & inside),
            crc.data.eq(self.byte),
            crc.valid.eq(self.write),
            crc.start.eq(begins),
        ]
        m.d.sync += [
            self.byte.eq(plain),
            self.write.eq(is_byte),
            self.index.eq(index),
            begins.eq(flag),
            self.end.eq(self.en & flag & inside & ((index != 0) | escaped | bad)),
            self.good.eq(crc.match_detected & ~escaped & ~bad & (index > FCS_BYTES) & (index != too_long)),
            self.length.eq(index - FCS_BYTES),
        ]
        with m.If(flag):
            m.d.sync += [inside.eq(1), escaped.eq(0), bad.eq(0), index.eq(0)]
        with m.Elif(escape):
            # An escape after an escape is none of RFC 1662's.
            m.d.sync += [escaped.eq(1), bad.eq(bad | escaped)]
        with m.Elif(self.i.valid):
            m.d.sync += escaped.eq(0)
            with m.If(inside & (index != too_long)):
                m.d.sync += index.eq(index + 1)
        with m.If(self.abort):
            m.d.sync += bad.eq(1)
        with m.If(~self.en):
            m.d.sync += inside.eq(0)
        return m


class FrameTransmitter(wiring.Component):
    """Puts flags around a frame's bytes, escapes them, and adds the FCS.

    Latency: 1 cycle to a frame's first flag.

    Members
    -------
    i : In(stream), ``data`` and ``last``
    o : Out(stream(8))
    idle : Out(1), no frame is under way
    """

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"data": 8, "last": 1}))),
                "o": Out(stream.Signature(8)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = CRC32_ISO_HDLC(data_width=8).create()
        byte, escaped, last, in_fcs = Signal(8), Signal(), Signal(), Signal()
        fcs = Signal(8 * FCS_BYTES)
        left = Signal(range(FCS_BYTES + 1))
        free, special = Signal(), Signal()
        m.d.comb += [
            free.eq(~self.o.valid),
            special.eq(((byte == FLAG) | (byte == ESCAPE)) & ~escaped),
            crc.data.eq(self.i.payload.data),
            crc.valid.eq(self.i.valid & self.i.ready),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        def put(value, state):
            """``value``, and then ``state``, when there is room."""
            with m.If(free):
                m.d.sync += [self.o.payload.eq(value), self.o.valid.eq(1)]
                m.next = state

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(free), crc.start.eq(1)]
                m.d.sync += in_fcs.eq(0)
                with m.If(self.i.valid):
                    put(FLAG, "LOAD")
            with m.State("LOAD"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [byte.eq(self.i.payload.data), last.eq(self.i.payload.last)]
                with m.If(self.i.valid):
                    m.next = "BYTE"
            with m.State("BYTE"):
                put(byte ^ Mux(escaped, FLIP, 0), "LOAD")
                with m.If(free):
                    m.d.sync += escaped.eq(special)
                    with m.If(special):
                        m.d.sync += self.o.payload.eq(ESCAPE)
                        m.next = "BYTE"
                    with m.Elif(in_fcs):
                        m.next = "LOAD FCS"
                    with m.Elif(last):
                        m.next = "FCS"
            with m.State("FCS"):
                m.d.sync += [fcs.eq(crc.crc), left.eq(FCS_BYTES), in_fcs.eq(1)]
                m.next = "LOAD FCS"
            with m.State("LOAD FCS"):
                m.d.sync += [byte.eq(fcs[:8]), fcs.eq(fcs >> 8), left.eq(left - 1)]
                m.next = "BYTE"
                with m.If(left == 0):
                    m.next = "END"
            with m.State("END"):
                put(FLAG, "IDLE")
        return m
