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
from .framing import FrameReceiver, FrameTransmitter
from .protocol import AXI_ERROR, HEADER_BYTES, PROTOCOL_VERSION, STATISTICS, Operation, Status
from .uart import DIVIDER_BITS, LEAST_DIVIDER, UARTReceiver, UARTTransmitter

__all__ = ["Bridge", "BridgeConfig"]

DATA_BITS = 32
WORD = DATA_BITS // 8
REGISTER_BITS = 12
"""Of the address of a register."""
COUNTER_BITS = 16


@dataclass(frozen=True, kw_only=True)
class BridgeConfig:
    """``payload``: most bytes of data in a frame; ``design``: four characters that say what is behind the
    bridge;
    ``memory_bytes``: of the memory, as IDENTIFY tells the host. ``baud`` is the speed after a reset and
        after a break, a line that is 0
    for ``2**break_bits`` cycles."""

    clock_hz: int
    baud: int
    payload: int = 256
    addr_width: int = 32
    design: str = "none"
    memory_bytes: int = 0
    break_bits: int = 20

    def __post_init__(self):
        if not 16 <= self.payload <= 1024 or self.payload & (self.payload - 1):
            raise ConfigError(f"bridge payload must be a power of two from 16 to 1024, not {self.payload!r}")
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
                "registers": Out(AXILiteSignature(addr_width=REGISTER_BITS)),
                "read": Out(AXIReadSignature(axi)),
                "write": Out(AXIWriteSignature(axi)),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, payload = self.config, self.config.payload
        receiver, transmitter = (
            place(m, "uart_receiver", UARTReceiver()),
            place(m, "uart_transmitter", UARTTransmitter()),
        )
        frame = place(m, "frame_receiver", FrameReceiver(longest=HEADER_BYTES + payload))
        answer = place(m, "frame_transmitter", FrameTransmitter())
        sender = place(m, "answer_sender", AnswerSender(payload=payload))
        buffer = place(m, "buffer", SRAM(width=8, depth=2 * payload))  # a request's data, then its answer's
        divider, new_divider = (
            Signal(DIVIDER_BITS, init=config.divider),
            Signal(DIVIDER_BITS, init=config.divider),
        )
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

        sequence, operation, count, address = (
            Signal(bits, name=name)
            for name, bits in (("sequence", 8), ("operation", 8), ("count", 16), ("address", DATA_BITS))
        )
        header = Cat(sequence, operation, count, address)
        size = Signal(range(payload + 1))  # bytes of data in the request
        last_sequence, answer_bytes = Signal(8), Signal(range(payload + 1))
        status = Signal(Status)
        dropped, line_errors, repeats = counters = [Signal(COUNTER_BITS, name=name) for name in STATISTICS]

        def increment(counter):
            m.d.sync += counter.eq(counter + ~counter.all())

        with m.If(frame.write & (frame.index < HEADER_BYTES)):
            m.d.sync += header.eq(Cat(header[8:], frame.byte))
        with m.If(frame.end & (~frame.good | (frame.length < HEADER_BYTES))):
            increment(dropped)
        with m.If(receiver.error):
            increment(line_errors)

        # A word and the buffer's bytes: `got` bytes of the request have been read, `answer_bytes` of the
        # answer written.
        word, left = Signal(DATA_BITS), Signal(range(WORD + 1))
        got, byte = Signal(range(payload + 1)), Signal(8)
        put, address_pending = Signal(), Signal()
        register_pending, value_pending = Signal(), Signal()
        m.d.comb += [
            buffer.write.addr.eq(
                Mux(put, payload | answer_bytes, (frame.index - HEADER_BYTES)[: (payload - 1).bit_length()])
            ),
            buffer.write.data.eq(Mux(put, word[:8], frame.byte)),
            buffer.write.en.eq(
                put | (frame.write & (frame.index >= HEADER_BYTES) & (frame.index < HEADER_BYTES + payload))
            ),
            buffer.read.addr.eq(Mux(sender.start, payload | sender.addr, got)),
            buffer.read.en.eq(1),
            sender.sequence.eq(last_sequence),
            sender.status.eq(status),
            sender.size.eq(Mux(status == Status.OK, answer_bytes, 0)),
            sender.data.eq(buffer.read.data),
        ]
        m.d.sync += byte.eq(buffer.read.data)

        # Words that are left of a burst and after it.
        words = count[2:]
        burst = Signal(range(payload // WORD + 1))
        to_page = (BOUNDARY_BYTES // WORD) - address[2:12]
        first = Signal.like(burst)
        beats = Signal.like(burst)
        m.d.comb += first.eq(Mux(words > to_page, to_page, words))
        read, write, registers = self.read, self.write, self.registers
        m.d.comb += [
            read.ar.payload.addr.eq(address),
            read.ar.payload.len.eq(burst - 1),
            write.aw.payload.addr.eq(address),
            write.aw.payload.len.eq(burst - 1),
            write.w.payload.data.eq(word),
            write.w.payload.strb.eq(~0),
            write.w.payload.last.eq(beats == 1),
            registers.ar.payload.addr.eq(address[:REGISTER_BITS]),
            registers.aw.payload.addr.eq(address[:REGISTER_BITS]),
            registers.w.payload.data.eq(word),
            registers.w.payload.strb.eq(~0),
        ]

        # These channels are valid until they are taken, whatever happens to the others.
        for channel, pending in (
            (write.aw, address_pending),
            (registers.aw, register_pending),
            (registers.w, value_pending),
        ):
            m.d.comb += channel.valid.eq(pending)
            with m.If(channel.ready):
                m.d.sync += pending.eq(0)

        def finish(code):
            """Answer without data."""
            m.d.sync += [status.eq(code), answer_bytes.eq(0)]
            m.next = "ANSWER"

        def note(response):
            """Keep the first error."""
            with m.If(response[1] & (status == Status.OK)):
                m.d.sync += status.eq(Cat(response, C(AXI_ERROR >> 2)))

        def accepted(channel, state):
            m.d.comb += channel.valid.eq(1)
            with m.If(channel.ready):
                m.next = state

        # A frame's data are less than a page: they pass the last address only from the last page.
        passes = address[12 : config.addr_width].all() & (address[:12] + count > BOUNDARY_BYTES)
        bad_address = (address[:2] != 0) | (address[config.addr_width :] != 0) | passes
        facts = {
            "bad_address": bad_address,
            "bad_register": (address[:2] != 0) | (address[REGISTER_BITS:] != 0),
            "bad_divider": (address < LEAST_DIVIDER) | (address[DIVIDER_BITS:] != 0),
            "bad_count": (count[:2] != 0) | (count == 0) | (count > payload),
            "no_count": count == 0,
            "one_word": count == WORD,
            "no_data": size == 0,
            "all_data": size == count,
        }
        facts |= {f"is_{known.name.lower()}": operation == known for known in Operation} | {
            "unknown": operation > max(Operation)
        }
        known = {name: Signal(name=name) for name in facts}
        is_op = lambda which: known[f"is_{which.name.lower()}"]
        m.d.comb += self.active.eq(~frame.en)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += frame.en.eq(1)
                m.d.sync += got.eq(0)
                with m.If(low.all()):
                    m.d.sync += [divider.eq(config.divider), new_divider.eq(config.divider)]
                with m.If(frame.end & frame.good & (frame.length >= HEADER_BYTES)):
                    with m.If((sequence == last_sequence) & (sequence != 0)):
                        increment(repeats)
                        m.next = "ANSWER"
                    with m.Else():
                        m.d.sync += [
                            last_sequence.eq(sequence),
                            status.eq(Status.OK),
                            answer_bytes.eq(0),
                            size.eq(frame.length - HEADER_BYTES),
                        ]
                        m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [known[name].eq(fact) for name, fact in facts.items()] + [left.eq(0)]
                m.next = "DECIDE"
            with m.State("DECIDE"):
                for which in Operation:
                    with m.If(is_op(which)):
                        self._decide(m, which, finish, known)
                with m.If(known["unknown"]):
                    finish(Status.UNKNOWN_OPERATION)

            with m.State("WORDS"):  # of IDENTIFY and STATISTICS
                for choice, values in (
                    (Operation.IDENTIFY, config.identity),
                    (Operation.STATISTICS, counters),
                ):
                    with m.If(is_op(choice)):
                        m.d.sync += word.eq(
                            Array(
                                [C(value, DATA_BITS) if isinstance(value, int) else value for value in values]
                            )[answer_bytes[2:4]]
                        )
                        with m.If(answer_bytes == WORD * len(values)):
                            m.next = "ANSWER"
                        with m.Else():
                            m.next = "PUT"
            with m.State("SET"):
                m.d.sync += new_divider.eq(address)
                m.next = "ANSWER"

            # A word of the request. Cycle 1: a byte is read. Cycle 2: it is registered.
            with m.State("GET"):
                m.next = "GET KEEP"
            with m.State("GET KEEP"):
                m.next = "GET BYTE"
            with m.State("GET BYTE"):
                m.d.sync += [word.eq(Cat(word[8:], byte)), got.eq(got + 1), left.eq(left + 1)]
                m.next = "GET"
                with m.If(left == WORD - 1):
                    m.d.sync += left.eq(0)
                    m.next = "WRITE"
            with m.State("PUT"):  # a word of the answer
                m.d.comb += put.eq(1)
                m.d.sync += [word.eq(word >> 8), answer_bytes.eq(answer_bytes + 1), left.eq(left + 1)]
                with m.If(left == WORD - 1):
                    m.d.sync += left.eq(0)
                    with m.If(is_op(Operation.READ_REGISTER)):
                        m.next = "ANSWER"
                    with m.Elif(~is_op(Operation.READ_MEMORY)):
                        m.next = "WORDS"
                    with m.Elif(beats != 0):
                        m.next = "READ DATA"
                    with m.Else():
                        m.next = "NEXT"

            with m.State("READ REGISTER"):
                accepted(registers.ar, "REGISTER DATA")
            with m.State("REGISTER DATA"):
                m.d.comb += registers.r.ready.eq(1)
                m.d.sync += word.eq(registers.r.payload.data)
                with m.If(registers.r.valid):
                    note(registers.r.payload.resp)
                    m.next = "PUT"
            with m.State("WRITE REGISTER"):
                # A slave may wait for both before it takes either.
                m.d.comb += registers.b.ready.eq(~register_pending & ~value_pending)
                with m.If(registers.b.valid & registers.b.ready):
                    note(registers.b.payload.resp)
                    m.next = "ANSWER"

            with m.State("NEXT"):  # burst
                m.d.sync += [burst.eq(first), beats.eq(first), count[2:].eq(words - first)]
                with m.If(words == 0):
                    m.next = "ANSWER"
                with m.Elif(is_op(Operation.READ_MEMORY)):
                    m.next = "READ"
                with m.Else():
                    m.d.sync += address_pending.eq(1)
                    m.next = "GET"
            with m.State("READ"):
                accepted(read.ar, "READ DATA")
                with m.If(read.ar.ready):
                    m.d.sync += address[2:].eq(address[2:] + burst)
            with m.State("READ DATA"):
                m.d.comb += read.r.ready.eq(1)
                m.d.sync += word.eq(read.r.payload.data)
                with m.If(read.r.valid):
                    note(read.r.payload.resp)
                    m.d.sync += beats.eq(beats - 1)
                    m.next = "PUT"
            with m.State("WRITE"):
                with m.If(is_op(Operation.WRITE_REGISTER)):
                    m.d.sync += [register_pending.eq(1), value_pending.eq(1)]
                    m.next = "WRITE REGISTER"
                with m.Else():
                    m.d.comb += write.w.valid.eq(1)
                    with m.If(write.w.ready):
                        m.d.sync += beats.eq(beats - 1)
                        m.next = "GET"
                        with m.If(beats == 1):
                            m.next = "WRITE DONE"
            with m.State("WRITE DONE"):
                m.d.comb += write.b.ready.eq(1)
                with m.If(write.b.valid):
                    note(write.b.payload.resp)
                    m.d.sync += address[2:].eq(address[2:] + burst)
                    m.next = "NEXT"

            with m.State("ANSWER"):
                m.d.comb += sender.start.eq(1)
                with m.If(sender.done):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                with m.If(answer.idle & ((new_divider == divider) | transmitter.idle)):
                    m.d.sync += divider.eq(new_divider)
                    m.next = "IDLE"
        return m

    def _decide(self, m, operation, finish, known):
        """What is wrong with a request of which ``known`` are the facts, or its first state."""
        writes = operation in (Operation.WRITE_REGISTER, Operation.WRITE_MEMORY)
        if operation in (Operation.IDENTIFY, Operation.STATISTICS, Operation.SET_DIVIDER):
            bad_length, bad, first = (
                ~known["no_count"],
                known["bad_divider"] if operation == Operation.SET_DIVIDER else C(0),
                "WORDS",
            )
        elif operation in (Operation.READ_REGISTER, Operation.WRITE_REGISTER):
            bad_length, bad, first = (
                ~known["one_word"],
                known["bad_register"],
                "GET" if writes else "READ REGISTER",
            )
        else:
            bad_length, bad, first = known["bad_count"], known["bad_address"], "NEXT"
        with m.If(bad_length | ~known["all_data" if writes else "no_data"]):
            finish(Status.BAD_LENGTH)
        with m.Elif(bad):
            finish(Status.BAD_ADDRESS)
        with m.Else():
            m.next = "SET" if operation == Operation.SET_DIVIDER else first
