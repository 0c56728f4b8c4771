"""The host's end of the UART bridge: registers and memory of a design on a board, or in simulation."""

from dataclasses import dataclass
import struct
import time

import numpy as np

from poblano.bridge.protocol import (
    ANSWER_BYTES,
    ENTRY_BYTES,
    FLAG,
    IDENTITY_WORDS,
    MOST_ENTRIES,
    MOST_VALUES,
    PROTOCOL_VERSION,
    STATISTICS,
    Operation,
    Request,
    Status,
    decode_frame,
    encode_frame,
)

__all__ = ["BridgeClient", "BridgeError", "Identity", "open_port"]

WORD = 4
ENTRY_CYCLES = 200
"""More than an entry of a patch takes."""
LINE_BITS = 10
"""Bits of a byte on the line."""
BREAK_SECONDS = 0.1


class BridgeError(RuntimeError):
    """The design does not answer, is not the one that was expected, or answers a request with an error."""


@dataclass(frozen=True)
class Identity:
    """What a design says of itself: its name (four letters), its clock, its memory, and the most bytes of
    data in a frame."""

    version: int
    payload: int
    design: str
    clock_hz: int
    memory_bytes: int


def open_port(name, baud):
    """The serial port ``name``; BridgeError if it can't be opened."""
    try:
        import serial
    except ImportError:
        raise BridgeError(
            "the package pyserial is not installed: make fpga, or pip install pyserial"
        ) from None
    try:
        return serial.Serial(name, baud, timeout=0)
    except (OSError, ValueError) as error:
        raise BridgeError(f"{name}: {getattr(error, 'strerror', None) or error}") from None


class BridgeClient:
    """Requests and answers over a serial port.

    A request without an answer in time is sent again, with the same sequence number, up to ``retries``
    times: it acts only once.

    Parameters
    ----------
    port : pyserial's Serial, or anything with its ``read``, ``write``, ``timeout``, ``baudrate``,
        ``in_waiting``, ``reset_input_buffer`` and ``send_break``
    retries : int
    patience : seconds that an answer may take besides its time on the line

    Members
    -------
    identity : Identity
    requests : made so far
    repeats : requests that had to be sent again
    """

    def __init__(self, port, *, retries=4, patience=0.1):
        self.port, self.retries, self.patience = port, retries, patience
        self.sequence, self.requests, self.repeats = 0, 0, 0
        self._body = bytearray()
        self._sleep = getattr(port, "sleep", time.sleep)
        try:
            self.identity = self._identify()
        except BridgeError:
            # The last host may have left another speed, which a break resets.
            port.send_break(BREAK_SECONDS)
            self._sleep(BREAK_SECONDS)
            self.identity = self._identify()

    def close(self):
        self.port.close()

    def _identify(self):
        """Begins a session: sequence number 0 is never taken for a repeated one."""
        self.sequence = 0
        protocol, design, clock_hz, memory_bytes = self._words(self._ask(Operation.IDENTIFY), IDENTITY_WORDS)
        version, payload = protocol & 0xFFFF, protocol >> 16
        if version != PROTOCOL_VERSION or not payload:
            raise BridgeError(
                f"the board speaks version {version} of the bridge's protocol; this is version "
                f"{PROTOCOL_VERSION}"
            )
        return Identity(
            version, payload, design.to_bytes(4, "little").decode("ascii", "replace"), clock_hz, memory_bytes
        )

    @staticmethod
    def _words(data, names):
        if len(data) != 4 * len(names):
            raise BridgeError(f"an answer has {len(data)} bytes instead of {4 * len(names)}")
        return struct.unpack(f"<{len(names)}I", data)

    def statistics(self):
        """What the bridge has counted, a dict: frames dropped, bytes without a stop bit, requests answered
        again."""
        return dict(zip(STATISTICS, self._words(self._ask(Operation.STATISTICS), STATISTICS)))

    def read_register(self, address):
        return self.read_registers(address, 1)[0]

    def read_registers(self, address, count):
        """The values of ``count`` registers from ``address`` on; more than one only of a chip."""
        values, most = [], self.identity.payload // WORD
        for first in range(0, count, most):
            size = WORD * min(most, count - first)
            data = self._ask(Operation.READ_REGISTER, size, address + WORD * first)
            values += struct.unpack(f"<{size // WORD}I", data)
        return values

    def write_register(self, address, value):
        self._ask(Operation.WRITE_REGISTER, 4, address, struct.pack("<I", value))

    def wait(self, cycles):
        """Whether the chip's interrupt is up, now or within so many cycles."""
        return bool(self._words(self._ask(Operation.WAIT, WORD, cycles, cycles=cycles), ["up"])[0])

    def patch(self, table, count, values):
        """Patch memory with ``values``, uint64, by the ``count`` entries of the table at ``table``."""
        if not 1 <= len(values) <= MOST_VALUES:
            raise ValueError(f"a patch has 1 to {MOST_VALUES} values, not {len(values)}")
        data = np.asarray(values, "<u8").tobytes()
        for first in range(0, count, MOST_ENTRIES):
            some = min(MOST_ENTRIES, count - first)
            self._ask(Operation.PATCH, some, table + ENTRY_BYTES * first, data, cycles=ENTRY_CYCLES * some)

    def read_memory(self, address, size):
        """``size`` bytes from ``address`` on, both multiples of 4."""
        self._aligned(address, size)
        step = self.identity.payload
        return b"".join(
            self._ask(Operation.READ_MEMORY, min(step, size - at), address + at)
            for at in range(0, size, step)
        )

    def write_memory(self, address, data):
        """Write bytes from ``address`` on; it and their number are multiples of 4."""
        data = bytes(data)
        self._aligned(address, len(data))
        for at in range(0, len(data), self.identity.payload):
            part = data[at : at + self.identity.payload]
            self._ask(Operation.WRITE_MEMORY, len(part), address + at, part)

    @staticmethod
    def _aligned(address, size):
        if address % 4 or size % 4:
            raise ValueError(f"address {address} and size {size} must be multiples of 4")

    def set_baud(self, baud):
        """Change the speed at both ends, as near to ``baud`` as the design's clock allows; the speed."""
        divider = max(1, round(self.identity.clock_hz / baud))
        self._ask(Operation.SET_DIVIDER, 0, divider)
        speed = round(self.identity.clock_hz / divider)
        self._sleep(2 * LINE_BITS / self.port.baudrate)
        self.port.baudrate = speed
        self.statistics()
        return speed

    def _ask(self, operation, count=0, address=0, data=b"", *, cycles=0):
        """The data of the answer, which may take ``cycles`` besides; BridgeError if there is none or it is an
        error."""
        self.requests += 1
        request = Request(self.sequence, operation, count, address, data)
        self.sequence = self.sequence % 255 + 1
        frame = encode_frame(request.encode())
        # Twice the bytes: every one might be escaped.
        longest = len(frame) + 2 * (ANSWER_BYTES + (0 if data else max(count, 16)) + 6)
        seconds = self.patience + longest * LINE_BITS / self.port.baudrate
        if cycles:
            seconds += cycles / self.identity.clock_hz
        for attempt in range(self.retries + 1):
            self.repeats += attempt > 0
            self.port.reset_input_buffer()
            self._body.clear()
            self.port.write(frame)
            answer = self._answer(request.sequence, seconds)
            if answer is not None:
                return self._checked(request, *answer)
        raise BridgeError(
            f"no answer from the board to {operation.name} at {self.port.baudrate} baud, asked "
            f"{self.retries + 1} times"
        )

    def _answer(self, sequence, seconds):
        """Status and data of the answer with that sequence number; None if it does not come in time."""
        deadline = time.monotonic() + seconds
        simulated = hasattr(self.port, "sleep")  # its time is not ours
        self.port.timeout = seconds
        while True:
            if not simulated:
                self.port.timeout = max(0.0, deadline - time.monotonic())
            received = self.port.read(max(1, self.port.in_waiting))
            if not received:
                return None
            for byte in received:
                if byte != FLAG:
                    self._body.append(byte)
                    continue
                content = decode_frame(bytes(self._body)) if self._body else None
                self._body.clear()
                if content is not None and len(content) >= ANSWER_BYTES and content[0] == sequence:
                    return content[1], content[ANSWER_BYTES:]

    @staticmethod
    def _checked(request, status, data):
        if status == Status.OK:
            wanted = (
                request.count
                if request.operation in (Operation.READ_REGISTER, Operation.READ_MEMORY)
                else len(data)
            )
            if len(data) != wanted:
                raise BridgeError(
                    f"{request.operation.name} of {request.count} bytes at 0x{request.address:x} gave "
                    f"{len(data)}"
                )
            return data
        name = (
            Status(status).name.lower().replace("_", " ")
            if status in Status._value2member_map_
            else f"status {status}"
        )
        unit = "entries" if request.operation == Operation.PATCH else "bytes"
        raise BridgeError(
            f"{request.operation.name} of {request.count} {unit} at 0x{request.address:x}: {name}"
        )
