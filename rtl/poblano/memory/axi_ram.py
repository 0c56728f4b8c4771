"""A memory on the chip or in the FPGA with AXI4 ports for several masters."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..axi.signature import AXIConfig, AXIReadSignature, AXIWriteSignature
from ..ecc.events import ECCEvents, uses
from ..stream.round_robin import RoundRobin
from ..stream.select import select
from .sram import sram

__all__ = ["AXIRam"]

OKAY, SLVERR, DECERR = 0, 2, 3
BYTE = 8


class AXIRam(wiring.Component):
    """``size`` bytes of memory behind ``len(id_widths)`` AXI4 ports: a beat read and a beat written each
    cycle.

    Latency: 2 cycles from an address to its first beat, 1 from a write's last beat to its response.

    The ports take turns, burst by burst, for reads and for writes; a burst that waits comes after at most
    one of each other port. INCR bursts of whole beats, aligned to a beat; a write stores the bytes of its
    strobes. The beats of a read come back to back, the next burst's right behind, and those of a write are
    taken so if it is answered in time. Data of a write that come before the address wait. Beats past
    ``size`` are answered with DECERR (a write's with that of any of its beats), and not written. A beat that
    is read in the cycle of its write has the old bytes.

    Parameters
    ----------
    size : bytes, a power of two of beats
    addr_width, data_width : of all ports
    id_widths : of each port
    ecc : whether every byte has check bits; a beat of which one failed is answered with SLVERR

    Members
    -------
    read0, read1, ... : In(AXIReadSignature)
    write0, write1, ... : In(AXIWriteSignature)
    events : Out(ECCEvents), with ``ecc``
    """

    READ, ANSWER = 2, 1
    """Cycles from an address to its first beat, and from a write's last beat to its response."""

    def __init__(self, *, size, addr_width, data_width=32, id_widths=(1, 1), ecc=False):
        beats = size // (data_width // BYTE)
        if beats < 2 or beats & beats - 1 or size * BYTE % data_width:
            raise ValueError(
                f"size must be a power of two of at least two beats of {data_width} bits, not {size!r} bytes"
            )
        if size > 1 << addr_width:
            raise ValueError(f"size {size!r} is more than {addr_width} bits address")
        self.size, self.addr_width, self.data_width, self.id_widths = (
            size,
            addr_width,
            data_width,
            tuple(id_widths),
        )
        self.ecc = ecc
        members = {"events": Out(ECCEvents())} if ecc else {}
        for n, id_width in enumerate(self.id_widths):
            axi = AXIConfig(addr_width=addr_width, data_width=data_width, id_width=id_width)
            members |= {f"read{n}": In(AXIReadSignature(axi)), f"write{n}": In(AXIWriteSignature(axi))}
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        depth = self.size * BYTE // self.data_width
        m.submodules.ram = ram = sram(width=self.data_width, depth=depth, granularity=BYTE, ecc=self.ecc)
        self._reads(m, ram.read, ram.failed.any() if self.ecc else None)
        if self.ecc:
            fresh = Signal()
            m.d.sync += [fresh.eq(ram.read.en), self.events.eq(uses((fresh, ram)))]
        self._writes(m, ram.write)
        return m

    @property
    def _burst(self):
        """The burst of a port in progress: its port, one-hot, the beat's number and the beats after it."""
        beat_bits = (self.data_width // BYTE - 1).bit_length()
        return data.StructLayout(
            {
                "port": len(self.id_widths),
                "id": max(self.id_widths),
                "beat": self.addr_width - beat_bits,
                "left": 8,
            }
        )

    def _take(self, m, side, channels, free):
        """Takes a burst of one of ``channels`` in turn when ``free``; the :attr:`_burst`, and whether one
        is taken."""
        layout = self._burst
        m.submodules[f"{side}_turn"] = turn = RoundRobin(count=len(channels))
        burst, taken = Signal(layout, name=f"{side}_burst"), Signal(name=f"{side}_taken")
        m.d.comb += [
            turn.request.eq(Cat(channel.valid for channel in channels)),
            turn.accept.eq(free),
            taken.eq(free & turn.grant.any()),
        ]
        m.d.comb += [channel.ready.eq(turn.grant[n] & free) for n, channel in enumerate(channels)]
        beat_bits = self.addr_width - len(burst.beat)
        with m.If(taken):
            m.d.sync += [
                burst.port.eq(turn.grant),
                burst.id.eq(select(turn.grant, [channel.payload.id for channel in channels])),
                burst.beat.eq(select(turn.grant, [channel.payload.addr[beat_bits:] for channel in channels])),
                burst.left.eq(select(turn.grant, [channel.payload.len for channel in channels])),
            ]
        return burst, taken

    def _outside(self, burst, memory):
        return burst.beat[len(memory.addr) :].any()

    def _reads(self, m, memory, failed):
        ports = [getattr(self, f"read{n}") for n in range(len(self.id_widths))]
        active, issue, free = Signal(name="reading"), Signal(), Signal(name="read_free")
        answer = Signal(
            data.StructLayout({"port": len(ports), "id": max(self.id_widths), "resp": 2, "last": 1})
        )
        burst, taken = self._take(m, "read", [port.ar for port in ports], free)
        # Cycle 1: the memory reads. Cycle 2: its data are the answer, until they are taken.
        accepted = Signal()
        m.d.comb += [
            accepted.eq(Cat(answer.port[n] & port.r.ready for n, port in enumerate(ports)).any()),
            issue.eq(active & (~answer.port.any() | accepted)),
            free.eq(~active | issue & (burst.left == 0)),
            memory.en.eq(issue),
            memory.addr.eq(burst.beat),
        ]
        with m.If(accepted):
            m.d.sync += answer.port.eq(0)
        with m.If(issue):
            m.d.sync += [
                answer.port.eq(burst.port),
                answer.id.eq(burst.id),
                answer.last.eq(burst.left == 0),
                answer.resp.eq(Mux(self._outside(burst, memory), DECERR, OKAY)),
                active.eq(burst.left != 0),
            ]
            with m.If(burst.left != 0):
                m.d.sync += [burst.beat.eq(burst.beat + 1), burst.left.eq(burst.left - 1)]
        with m.If(taken):
            m.d.sync += active.eq(1)
        for n, port in enumerate(ports):
            m.d.comb += [
                port.r.valid.eq(answer.port[n]),
                port.r.payload.id.eq(answer.id),
                port.r.payload.resp.eq(
                    answer.resp
                    if failed is None
                    else Mux(failed & (answer.resp == OKAY), SLVERR, answer.resp)
                ),
                port.r.payload.last.eq(answer.last),
                port.r.payload.data.eq(memory.data),
            ]

    def _writes(self, m, memory):
        ports = [getattr(self, f"write{n}") for n in range(len(self.id_widths))]
        active, free = Signal(name="writing"), Signal(name="write_free")
        answer = Signal(
            data.StructLayout({"port": len(ports), "id": max(self.id_widths), "resp": 2}), name="written"
        )
        burst, taken = self._take(m, "write", [port.aw for port in ports], free)
        answered, takes, ends = Signal(), Signal(), Signal()
        w, valid = Signal.like(ports[0].w.payload), Signal()
        bad, outside = Signal(), Signal()
        m.d.comb += [
            answered.eq(Cat(answer.port[n] & port.b.ready for n, port in enumerate(ports)).any()),
            # The last beat is taken when its answer has a place.
            takes.eq(active & ((burst.left != 0) | ~answer.port.any() | answered)),
            free.eq(~active | ends),
            w.eq(select(burst.port, [port.w.payload for port in ports])),
            valid.eq(takes & Cat(burst.port[n] & port.w.valid for n, port in enumerate(ports)).any()),
            outside.eq(self._outside(burst, memory)),
            ends.eq(valid & (burst.left == 0)),
            memory.addr.eq(burst.beat),
            memory.data.eq(w.data),
            memory.en.eq(Mux(valid & ~outside, w.strb, 0)),
        ]
        with m.If(answered):
            m.d.sync += answer.port.eq(0)
        with m.If(valid & (burst.left != 0)):
            m.d.sync += [burst.beat.eq(burst.beat + 1), burst.left.eq(burst.left - 1), bad.eq(bad | outside)]
        with m.If(ends):
            m.d.sync += [
                active.eq(0),
                answer.port.eq(burst.port),
                answer.id.eq(burst.id),
                answer.resp.eq(Mux(bad | outside, DECERR, OKAY)),
            ]
        with m.If(taken):
            m.d.sync += [active.eq(1), bad.eq(0)]
        for n, port in enumerate(ports):
            m.d.comb += [
                port.w.ready.eq(takes & burst.port[n]),
                port.b.valid.eq(answer.port[n]),
                port.b.payload.id.eq(answer.id),
                port.b.payload.resp.eq(answer.resp),
            ]
