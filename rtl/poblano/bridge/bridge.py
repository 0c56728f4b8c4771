"""A host on a UART becomes an AXI4-Lite master of registers and an AXI4 master of memory."""

from dataclasses import dataclass

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from ..axi.bursts import BOUNDARY_BYTES
from ..axi.lite import AXILiteSignature
from ..axi.signature import AXIConfig, AXIReadSignature, AXIWriteSignature
from ..config import ConfigError
from ..memory.sram import SRAM
from ..verilog import place
from .answer import AnswerSender
from .execution import DATA_BITS, REGISTER_BITS, WORD, Execution
from .framing import FrameReceiver, FrameTransmitter
from .patcher import Patcher
from .protocol import HEADER_BYTES, MOST_VALUES, PROTOCOL_VERSION, VALUE_BYTES, WAIT_BITS, Operation, Status
from .uart import DIVIDER_BITS, LEAST_DIVIDER, UARTReceiver, UARTTransmitter

__all__ = ["Bridge", "BridgeConfig"]


@dataclass(frozen=True, kw_only=True)
class BridgeConfig:
    """``payload``: most bytes of data in a frame; ``design``: four characters that say what is behind the
    bridge; ``memory_bytes``: of the memory, as IDENTIFY tells the host. ``baud`` is the speed after a reset
    and after a break, a line that is 0 for ``2**break_bits`` cycles. ``chip``: the bridge is before a chip
    and also has WAIT and PATCH, and reads several registers at once.
    """

    clock_hz: int
    baud: int
    payload: int = 256
    addr_width: int = 32
    design: str = "none"
    memory_bytes: int = 0
    break_bits: int = 20
    chip: bool = False

    def __post_init__(self):
        if not 16 <= self.payload <= 1024 or self.payload & (self.payload - 1):
            raise ConfigError(f"bridge payload must be a power of two from 16 to 1024, not {self.payload!r}")
        if self.chip and self.payload < MOST_VALUES * VALUE_BYTES:
            raise ConfigError(
                f"bridge payload must be at least {MOST_VALUES * VALUE_BYTES} before a chip, not "
                f"{self.payload!r}"
            )
        if not 12 <= self.addr_width <= DATA_BITS:
            raise ConfigError(f"bridge addr_width must be 12 to {DATA_BITS}, not {self.addr_width!r}")
        if len(self.design.encode("ascii", "replace")) != 4:
            raise ConfigError(f"bridge design must be four ASCII characters, not {self.design!r}")
        if not LEAST_DIVIDER <= self.divider < 1 << DIVIDER_BITS:
            raise ConfigError(
                f"{self.baud} baud from {self.clock_hz} Hz needs a divider of {self.divider}; it must be at "
                f"least {LEAST_DIVIDER} "
                f"and below {1 << DIVIDER_BITS}"
            )
        error = abs(self.clock_hz / self.divider / self.baud - 1)
        if error > 0.02:
            raise ConfigError(
                f"{self.clock_hz} Hz gives {self.clock_hz // self.divider} baud, {100 * error:.1f} % from "
                f"{self.baud}"
            )

    @property
    def divider(self):
        """Clock cycles in a bit after a reset."""
        return round(self.clock_hz / self.baud)

    @property
    def identity(self):
        """The words of the answer to IDENTIFY."""
        return (
            PROTOCOL_VERSION | self.payload << 16,
            int.from_bytes(self.design.encode("ascii"), "little"),
            self.clock_hz,
            self.memory_bytes,
        )


class Bridge(wiring.Component):
    """Executes the requests of ``protocol.py``, one at a time, and answers each.

    Latency: about 8 cycles from the middle of a request's last bit to its answer's first, and the
    request's own accesses.

    A request acts only after all of it has come with a right FCS. While one is executed and answered, what
    comes in is skipped. One with the sequence number of the one before is not executed again but gets the
    same answer again; sequence number 0 is always executed. A break sets the divider to its reset value.
    One AXI transaction is in flight at most; bursts of whole words, which do not cross 4 KiB. A slave that
    never answers hangs the bridge.

    Parameters
    ----------
    config : BridgeConfig

    Members
    -------
    rx : In(1), synchronised to the clock
    tx : Out(1)
    irq : In(1), the chip's interrupt, which ends a WAIT
    registers : Out(AXILiteSignature())
    read, write : Out(AXIReadSignature), Out(AXIWriteSignature), 32-bit data
    active : Out(1), a request is executed or answered
    """

    def __init__(self, config: BridgeConfig):
        self.config = config
        axi = AXIConfig(addr_width=config.addr_width, data_width=DATA_BITS)
        super().__init__(
            {
                "rx": In(1),
                "tx": Out(1, init=1),
                "irq": In(1),
                "registers": Out(AXILiteSignature(addr_width=REGISTER_BITS)),
                "read": Out(AXIReadSignature(axi)),
                "write": Out(AXIWriteSignature(axi)),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, payload = self.config, self.config.payload
        receiver = place(m, "uart_receiver", UARTReceiver())
        transmitter = place(m, "uart_transmitter", UARTTransmitter())
        frame = place(m, "frame_receiver", FrameReceiver(longest=HEADER_BYTES + payload))
        answer = place(m, "frame_transmitter", FrameTransmitter())
        sender = place(m, "answer_sender", AnswerSender(payload=payload))
        buffer = place(m, "buffer", SRAM(width=8, depth=2 * payload))  # a request's data, then its answer's
        divider = Signal(DIVIDER_BITS, init=config.divider)
        new_divider = Signal(DIVIDER_BITS, init=config.divider)
        low = Signal(config.break_bits)
        connect(m, receiver.o, frame.i)
        connect(m, answer.o, transmitter.i)
        connect(m, sender.o, answer.i)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            receiver.divider.eq(divider),
            transmitter.divider.eq(divider),
            frame.abort.eq(receiver.error),
        ]
        m.d.sync += low.eq(Mux(self.rx, 0, low + ~low.all()))

        request = Execution(m, config)
        with m.If(frame.write & (frame.index < HEADER_BYTES)):
            m.d.sync += request.header.eq(Cat(request.header[8:], frame.byte))
        with m.If(frame.end & (~frame.good | (frame.length < HEADER_BYTES))):
            request.increment("dropped")
        with m.If(receiver.error):
            request.increment("line_errors")
        self._buffer(m, request, buffer, frame, sender)
        self._channels(m, request)
        if config.chip:
            patcher = self._patcher(m, request, buffer)
        m.d.comb += self.active.eq(~frame.en)
        with m.FSM():
            with m.State("IDLE"):
                with m.If(low.all()):
                    m.d.sync += [divider.eq(config.divider), new_divider.eq(config.divider)]
                self._receive(m, request, frame)
            self._decide(m, request)
            self._words(m, request)
            with m.State("SET"):
                m.d.sync += new_divider.eq(request.address)
                m.next = "ANSWER"
            self._bytes(m, request)
            self._registers(m, request)
            self._memory(m, request)
            if config.chip:
                self._chip(m, request, patcher)
            with m.State("ANSWER"):
                m.d.comb += sender.start.eq(1)
                with m.If(sender.done):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                with m.If(answer.idle & ((new_divider == divider) | transmitter.idle)):
                    m.d.sync += divider.eq(new_divider)
                    m.next = "IDLE"
        return m

    def _buffer(self, m, request, buffer, frame, sender):
        """The buffer's data: from a frame, and to and from words."""
        payload, status = self.config.payload, request.status
        index = (frame.index - HEADER_BYTES)[: (payload - 1).bit_length()]
        data = frame.write & (frame.index >= HEADER_BYTES) & (frame.index < HEADER_BYTES + payload)
        m.d.comb += [
            buffer.write.addr.eq(Mux(request.put, payload | request.answer_bytes, index)),
            buffer.write.data.eq(Mux(request.put, request.word[:8], frame.byte)),
            buffer.write.en.eq(request.put | data),
            buffer.read.addr.eq(Mux(sender.start, payload | sender.addr, request.got)),
            buffer.read.en.eq(1),
            sender.sequence.eq(request.last_sequence),
            sender.status.eq(status),
            sender.size.eq(Mux(status == Status.OK, request.answer_bytes, 0)),
            sender.data.eq(buffer.read.data),
        ]
        m.d.sync += request.byte.eq(buffer.read.data)

    def _channels(self, m, request):
        """What the AXI channels carry, and those that are valid until they are taken, whatever happens to the
        others."""
        read, write, registers, address = self.read, self.write, self.registers, request.address
        to_page = (BOUNDARY_BYTES // WORD) - address[2:12]
        m.d.comb += [
            request.first.eq(Mux(request.words > to_page, to_page, request.words)),
            read.ar.payload.addr.eq(address),
            read.ar.payload.len.eq(request.burst - 1),
            write.aw.payload.addr.eq(address),
            write.aw.payload.len.eq(request.burst - 1),
            write.w.payload.data.eq(request.word),
            write.w.payload.strb.eq(~0),
            write.w.payload.last.eq(request.beats == 1),
            registers.ar.payload.addr.eq(address[:REGISTER_BITS]),
            registers.aw.payload.addr.eq(address[:REGISTER_BITS]),
            registers.w.payload.data.eq(request.word),
            registers.w.payload.strb.eq(~0),
        ]
        for channel, pending in (
            (write.aw, request.address_pending),
            (registers.aw, request.register_pending),
            (registers.w, request.value_pending),
        ):
            m.d.comb += channel.valid.eq(pending)
            with m.If(channel.ready):
                m.d.sync += pending.eq(0)

    def _receive(self, m, request, frame):
        """Wait for a request; one that is repeated gets its answer again."""
        m.d.comb += frame.en.eq(1)
        m.d.sync += request.got.eq(0)
        with m.If(frame.end & frame.good & (frame.length >= HEADER_BYTES)):
            with m.If((request.sequence == request.last_sequence) & (request.sequence != 0)):
                request.increment("repeats")
                m.next = "ANSWER"
            with m.Else():
                m.d.sync += [
                    request.last_sequence.eq(request.sequence),
                    request.status.eq(Status.OK),
                    request.answer_bytes.eq(0),
                    request.size.eq(frame.length - HEADER_BYTES),
                ]
                m.next = "CHECK"

    def _decide(self, m, request):
        """What is wrong with a request, or its first state."""
        with m.State("CHECK"):
            m.d.sync += [request.known[name].eq(fact) for name, fact in request.facts.items()]
            m.d.sync += request.left.eq(0)
            m.next = "DECIDE"
        with m.State("DECIDE"):
            for operation in request.operations:
                with m.If(request.is_op(operation)):
                    self._judge(m, request, operation)
            with m.If(request.known["unknown"]):
                request.finish(Status.UNKNOWN_OPERATION)

    def _judge(self, m, request, operation):
        known, bad = request.known, C(0)
        writes = operation in (Operation.WRITE_REGISTER, Operation.WRITE_MEMORY)
        all_data = known["all_data" if writes else "no_data"]
        if operation in (Operation.IDENTIFY, Operation.STATISTICS):
            bad_length, first = ~known["no_count"], "WORDS"
        elif operation == Operation.SET_DIVIDER:
            bad_length, bad, first = ~known["no_count"], known["bad_divider"], "SET"
        elif operation == Operation.WAIT:
            bad_length, bad, first = ~known["one_word"], known["bad_wait"], "WAIT"
        elif operation == Operation.PATCH:
            all_data, bad_length, bad, first = C(1), known["bad_values"], known["bad_table"], "PATCH"
        elif operation == Operation.READ_REGISTER and self.config.chip:
            bad_length, bad, first = known["bad_count"], known["bad_registers"], "READ REGISTER"
        elif operation in (Operation.READ_REGISTER, Operation.WRITE_REGISTER):
            bad_length, bad = ~known["one_word"], known["bad_register"]
            first = "GET" if writes else "READ REGISTER"
        else:
            bad_length, bad, first = known["bad_count"], known["bad_address"], "NEXT"
        with m.If(bad_length | ~all_data):
            request.finish(Status.BAD_LENGTH)
        with m.Elif(bad):
            request.finish(Status.BAD_ADDRESS)
        with m.Else():
            m.next = first

    def _words(self, m, request):
        """A word of the answer to IDENTIFY and STATISTICS."""
        with m.State("WORDS"):
            for choice, values in (
                (Operation.IDENTIFY, [C(value, DATA_BITS) for value in self.config.identity]),
                (Operation.STATISTICS, request.counters),
            ):
                with m.If(request.is_op(choice)):
                    m.d.sync += request.word.eq(Array(values)[request.answer_bytes[2:4]])
                    with m.If(request.answer_bytes == WORD * len(values)):
                        m.next = "ANSWER"
                    with m.Else():
                        m.next = "PUT"

    def _bytes(self, m, request):
        """Bytes of the request to a word, and of a word to the answer."""
        word, left = request.word, request.left
        # A word of the request. Cycle 1: a byte is read. Cycle 2: it is registered.
        with m.State("GET"):
            m.next = "GET KEEP"
        with m.State("GET KEEP"):
            m.next = "GET BYTE"
        with m.State("GET BYTE"):
            m.d.sync += [word.eq(Cat(word[8:], request.byte)), request.got.eq(request.got + 1)]
            m.d.sync += left.eq(left + 1)
            m.next = "GET"
            with m.If(left == WORD - 1):
                m.d.sync += left.eq(0)
                m.next = "WRITE"
        with m.State("PUT"):  # a word of the answer
            m.d.comb += request.put.eq(1)
            m.d.sync += [word.eq(word >> 8), request.answer_bytes.eq(request.answer_bytes + 1)]
            m.d.sync += left.eq(left + 1)
            with m.If(left == WORD - 1):
                m.d.sync += left.eq(0)
                with m.If(request.is_op(Operation.READ_REGISTER)):
                    m.next = "ANSWER"
                    if self.config.chip:
                        with m.If(request.words != 0):
                            m.next = "READ REGISTER"
                if self.config.chip:
                    with m.Elif(request.is_op(Operation.WAIT)):
                        m.next = "ANSWER"
                with m.Elif(~request.is_op(Operation.READ_MEMORY)):
                    m.next = "WORDS"
                with m.Elif(request.beats != 0):
                    m.next = "READ DATA"
                with m.Else():
                    m.next = "NEXT"

    def _registers(self, m, request):
        """An access of a register."""
        registers = self.registers
        with m.State("READ REGISTER"):
            request.accepted(registers.ar, "REGISTER DATA")
            if self.config.chip:
                with m.If(registers.ar.ready):
                    m.d.sync += request.address[2:].eq(request.address[2:] + 1)
                    m.d.sync += request.words.eq(request.words - 1)
        with m.State("REGISTER DATA"):
            m.d.comb += registers.r.ready.eq(1)
            m.d.sync += request.word.eq(registers.r.payload.data)
            with m.If(registers.r.valid):
                request.note(registers.r.payload.resp)
                m.next = "PUT"
        with m.State("WRITE REGISTER"):
            # A slave may wait for both before it takes either.
            m.d.comb += registers.b.ready.eq(~request.register_pending & ~request.value_pending)
            with m.If(registers.b.valid & registers.b.ready):
                request.note(registers.b.payload.resp)
                m.next = "ANSWER"

    def _memory(self, m, request):
        """Bursts of memory, one after the other; in WRITE a word goes to memory, or to a register."""
        read, write, address = self.read, self.write, request.address
        with m.State("NEXT"):
            m.d.sync += [request.burst.eq(request.first), request.beats.eq(request.first)]
            m.d.sync += request.words.eq(request.words - request.first)
            with m.If(request.words == 0):
                m.next = "ANSWER"
            with m.Elif(request.is_op(Operation.READ_MEMORY)):
                m.next = "READ"
            with m.Else():
                m.d.sync += request.address_pending.eq(1)
                m.next = "GET"
        with m.State("READ"):
            request.accepted(read.ar, "READ DATA")
            with m.If(read.ar.ready):
                m.d.sync += address[2:].eq(address[2:] + request.burst)
        with m.State("READ DATA"):
            m.d.comb += read.r.ready.eq(1)
            m.d.sync += request.word.eq(read.r.payload.data)
            with m.If(read.r.valid):
                request.note(read.r.payload.resp)
                m.d.sync += request.beats.eq(request.beats - 1)
                m.next = "PUT"
        with m.State("WRITE"):
            with m.If(request.is_op(Operation.WRITE_REGISTER)):
                m.d.sync += [request.register_pending.eq(1), request.value_pending.eq(1)]
                m.next = "WRITE REGISTER"
            with m.Else():
                m.d.comb += write.w.valid.eq(1)
                with m.If(write.w.ready):
                    m.d.sync += request.beats.eq(request.beats - 1)
                    m.next = "GET"
                    with m.If(request.beats == 1):
                        m.next = "WRITE DONE"
        with m.State("WRITE DONE"):
            m.d.comb += write.b.ready.eq(1)
            with m.If(write.b.valid):
                request.note(write.b.payload.resp)
                m.d.sync += address[2:].eq(address[2:] + request.burst)
                m.next = "NEXT"

    def _patcher(self, m, request, buffer):
        """What patches, the AXI channels and the buffer its own while it does."""
        patcher = place(m, "patcher", Patcher(addr_width=self.config.addr_width, payload=self.config.payload))
        m.d.comb += [
            patcher.table.eq(request.address),
            patcher.count.eq(request.count),
            patcher.size.eq(request.size),
            patcher.data.eq(buffer.read.data),
        ]
        for mine, its in (
            (self.read.ar, patcher.read.ar),
            (self.write.aw, patcher.write.aw),
            (self.write.w, patcher.write.w),
        ):
            m.d.comb += its.ready.eq(mine.ready)
            with m.If(patcher.start):
                m.d.comb += [mine.valid.eq(its.valid), mine.payload.eq(its.payload)]
        for mine, its in ((self.read.r, patcher.read.r), (self.write.b, patcher.write.b)):
            m.d.comb += [its.valid.eq(mine.valid), its.payload.eq(mine.payload)]
            with m.If(patcher.start):
                m.d.comb += mine.ready.eq(its.ready)
        with m.If(patcher.start):
            m.d.comb += buffer.read.addr.eq(patcher.addr)
        return patcher

    def _chip(self, m, request, patcher):
        """What only a bridge before a chip does."""
        left = request.address[:WAIT_BITS]
        with m.State("WAIT"):
            m.d.sync += [left.eq(left - 1), request.word.eq(self.irq)]
            with m.If(self.irq | (left == 0)):
                m.next = "PUT"
        with m.State("PATCH"):
            m.d.comb += patcher.start.eq(1)
            with m.If(patcher.done):
                m.d.sync += request.status.eq(patcher.status)
                m.next = "ANSWER"
