"""Frames and requests of the UART bridge: the one source of the numbers in ``docs/bridge.md``, for hardware
and software."""

from dataclasses import dataclass
import enum
import struct
import zlib

__all__ = [
    "ANSWER_BYTES",
    "AXI_ERROR",
    "CHIP_DESIGN",
    "CHIP_OPERATIONS",
    "ENTRY_BYTES",
    "ESCAPE",
    "FCS_BYTES",
    "FLAG",
    "FLIP",
    "HEADER_BYTES",
    "IDENTITY_WORDS",
    "KIND_BIT",
    "MOST_ENTRIES",
    "MOST_VALUES",
    "Operation",
    "PROTOCOL_VERSION",
    "Request",
    "STATISTICS",
    "Status",
    "VALUE_BYTES",
    "WAIT_BITS",
    "decode_frame",
    "encode_frame",
]

FLAG, ESCAPE, FLIP = 0x7E, 0x7D, 0x20
"""RFC 1662's: between frames; before a byte that is one of the two, of which bit 5 is inverted."""
FCS_BYTES = 4
HEADER_BYTES = 8
"""Of a request: sequence number, operation, count (2), address (4), low bytes first."""
ANSWER_BYTES = 2
"""Before an answer's data: sequence number, status."""
PROTOCOL_VERSION = 2
CHIP_DESIGN = "PBLN"
"""The design that IDENTIFY tells where the bridge's is the whole chip."""

IDENTITY_WORDS = ("protocol", "design", "clock_hz", "memory_bytes")
"""Words of 32 bits in the answer to IDENTIFY; ``protocol``: the version, and from bit 16 on the most bytes
of data in a frame."""
STATISTICS = ("dropped", "line_errors", "repeats")
"""Words in the answer to STATISTICS: frames with a wrong FCS or length, bytes without a stop bit, requests
answered again."""

ENTRY_BYTES, VALUE_BYTES = 16, 8
"""Of PATCH: an entry of its table, two words of 64 bits; a value in its request."""
KIND_BIT = 48
"""Of an entry's second word: its kind from here on, below an address. Its first word plus the kind's value is
written to the address."""
MOST_ENTRIES, MOST_VALUES = (1 << 16) - 1, 32
"""Of a PATCH."""
WAIT_BITS = 24
"""Of the cycles that a WAIT may take."""


class Operation(enum.IntEnum):
    """What a request asks for."""

    IDENTIFY = 0
    STATISTICS = 1
    READ_REGISTER = 2
    WRITE_REGISTER = 3
    READ_MEMORY = 4
    WRITE_MEMORY = 5
    SET_DIVIDER = 6
    WAIT = 7
    PATCH = 8


CHIP_OPERATIONS = (Operation.WAIT, Operation.PATCH)
"""Those of a bridge before a chip alone."""


class Status(enum.IntEnum):
    """Of an answer."""

    OK = 0
    UNKNOWN_OPERATION = 1
    BAD_LENGTH = 2
    BAD_ADDRESS = 3
    BAD_ENTRY = 4
    SLAVE_ERROR = 0x12
    DECODE_ERROR = 0x13


AXI_ERROR = 0x10
"""Added to AXI's response, a status."""


@dataclass(frozen=True)
class Request:
    """``count``: bytes of data in the request or its answer, a multiple of 4; of PATCH, entries of the
    table."""

    sequence: int
    operation: int
    count: int = 0
    address: int = 0
    data: bytes = b""

    def encode(self):
        return struct.pack("<BBHI", self.sequence, self.operation, self.count, self.address) + self.data


def encode_frame(content):
    """The bytes of a frame on the line."""
    body = content + zlib.crc32(content).to_bytes(FCS_BYTES, "little")
    escaped = b"".join(
        bytes([ESCAPE, byte ^ FLIP]) if byte in (FLAG, ESCAPE) else bytes([byte]) for byte in body
    )
    return bytes([FLAG]) + escaped + bytes([FLAG])


def decode_frame(body):
    """The content of a frame, from what is between its flags; None if that is no frame."""
    parts = body.split(bytes([ESCAPE]))
    if any(not part for part in parts[1:]) or FLAG in body:
        return None
    plain = parts[0] + b"".join(bytes([part[0] ^ FLIP]) + part[1:] for part in parts[1:])
    content, fcs = plain[:-FCS_BYTES], plain[-FCS_BYTES:]
    return (
        content
        if len(fcs) == FCS_BYTES and zlib.crc32(content).to_bytes(FCS_BYTES, "little") == fcs
        else None
    )
