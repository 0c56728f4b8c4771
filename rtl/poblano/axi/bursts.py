"""Two-dimensional transfers cut into AXI4 bursts."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

__all__ = ["BOUNDARY_BYTES", "Bursts", "TransferLayout"]

BOUNDARY_BYTES = 4096
"""An AXI4 burst must not cross a multiple of this (AXI4 specification, A3.4.1)."""


class TransferLayout(data.StructLayout):
    """``rows`` rows of ``row_bytes`` contiguous bytes, the first at ``addr``, each ``stride`` bytes after
    the one before.

    Either all of them are multiples of a beat, or ``row_bytes`` is a power of two below a beat and ``addr``
    and ``stride`` are multiples of it. Addresses wrap at ``addr_width`` bits.
    """

    def __init__(self, *, addr_width):
        super().__init__({"addr": addr_width, "row_bytes": 32, "stride": 32, "rows": 16})


class Bursts(wiring.Component):
    """Cuts transfers into bursts, one a cycle, in order of rows and addresses.

    Latency: 1 cycle from a transfer to its first burst, 2 from the last burst of the one before.

    No burst crosses a multiple of its greatest size, hence none crosses 4 KiB. A row shorter than a beat is
    a burst of one beat. The next transfer is taken in the cycle after the last burst of the one before.

    Parameters
    ----------
    burst_beats : greatest number of beats, a power of two of at most 4 KiB

    Members
    -------
    cmd : In(stream(TransferLayout))
    o : Out(stream({addr, len, strb, last})): the address of the first beat, the beats less one, the strobes
        of each beat, whether it is the transfer's last burst
    """

    def __init__(self, *, addr_width, data_width, burst_beats):
        exact_log2(burst_beats)
        if burst_beats * data_width // 8 > BOUNDARY_BYTES or burst_beats > 256:
            raise ValueError(
                f"burst_beats must be at most 256 and {BOUNDARY_BYTES} bytes, not {burst_beats!r}"
            )
        self.addr_width, self.data_width, self.burst_beats = addr_width, data_width, burst_beats
        burst = data.StructLayout({"addr": addr_width, "len": 8, "strb": data_width // 8, "last": 1})
        super().__init__(
            {
                "cmd": In(stream.Signature(TransferLayout(addr_width=addr_width))),
                "o": Out(stream.Signature(burst)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beat_bytes = self.data_width // 8
        beat_bits = exact_log2(beat_bytes)

        def beats_of(row_bytes):
            return Mux(row_bytes < beat_bytes, 1, row_bytes[beat_bits:])

        transfer = Signal.like(self.cmd.payload)  # addr is the current row's, rows the rows left
        active = Signal()
        addr = Signal(self.addr_width)  # of the next burst
        left = Signal(32 - beat_bits)  # beats left in the row
        room = Signal(range(self.burst_beats + 1))  # beats to the boundary
        beats = Signal(range(self.burst_beats + 1))
        row_ends = Signal()
        next_row = Signal(self.addr_width)
        room_at = lambda addr: self.burst_beats - addr[beat_bits:][: exact_log2(self.burst_beats)]
        m.d.comb += [
            row_ends.eq((left[len(room) :] == 0) & (left[: len(room)] <= room)),
            beats.eq(Mux(row_ends, left, room)),
            next_row.eq(transfer.addr + transfer.stride),
            self.o.valid.eq(active),
            self.o.payload.addr.eq(Cat(C(0, beat_bits), addr[beat_bits:])),
            self.o.payload.len.eq(beats - 1),
            self.o.payload.last.eq(row_ends & (transfer.rows == 1)),
            self.cmd.ready.eq(~active),
            self.o.payload.strb.eq(-1),
        ]
        for bits in range(beat_bits):
            with m.If(transfer.row_bytes == 1 << bits):
                m.d.comb += self.o.payload.strb.eq(((1 << (1 << bits)) - 1) << addr[:beat_bits])
        with m.If(active & self.o.ready):
            with m.If(self.o.payload.last):
                m.d.sync += active.eq(0)
            with m.Elif(row_ends):
                m.d.sync += [
                    transfer.addr.eq(next_row),
                    transfer.rows.eq(transfer.rows - 1),
                    addr.eq(next_row),
                    room.eq(room_at(next_row)),
                    left.eq(beats_of(transfer.row_bytes)),
                ]
            with m.Else():
                m.d.sync += [
                    addr.eq(addr + (beats << beat_bits)),
                    room.eq(self.burst_beats),
                    left.eq(left - beats),
                ]
        with m.If(self.cmd.valid & self.cmd.ready):
            m.d.sync += [
                active.eq(1),
                transfer.eq(self.cmd.payload),
                addr.eq(self.cmd.payload.addr),
                room.eq(room_at(self.cmd.payload.addr)),
                left.eq(beats_of(self.cmd.payload.row_bytes)),
            ]
        return m
