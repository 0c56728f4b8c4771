"""The host's end of the UART bridge over a bad line: a board made up here."""

import random
import struct

import numpy as np
import pytest

from poblano.bridge.protocol import PROTOCOL_VERSION, Operation, Status, decode_frame, encode_frame
from poblano_host.serial.bridge import BridgeClient, BridgeError, open_port


class Board:
    """A design with registers and memory behind a line that loses and spoils what goes over it, in Python."""

    def __init__(self, rng, *, loss=0.0, design=b"fake", version=PROTOCOL_VERSION):
        self.rng, self.loss, self.design, self.version = rng, loss, design, version
        self.baudrate, self.timeout, self.speed = 115200, 0, 115200
        self.memory, self.registers, self.executed = bytearray(4096), {}, 0
        self.waiting, self.last = b"", (None, b"")
        self.waited, self.patches = [], []

    in_waiting = property(lambda self: len(self.waiting))

    def sleep(self, seconds):
        pass

    def reset_input_buffer(self):
        self.waiting = b""

    def send_break(self, duration):
        self.speed = 115200

    def close(self):
        pass

    def write(self, line):
        content = decode_frame(line.strip(b"\x7e"))
        if self.baudrate != self.speed or self.rng.random() < self.loss:
            return
        sequence, operation, count, address = struct.unpack_from("<BBHI", content)
        if sequence == 0 or sequence != self.last[0]:
            self.executed += 1
            self.last = sequence, bytes([sequence]) + self.execute(operation, count, address, content[8:])
        answer = bytearray(encode_frame(self.last[1]))
        kind = self.rng.random() / self.loss if self.loss else 1
        if kind < 0.3:
            answer[self.rng.randrange(len(answer))] ^= 16
        elif kind < 0.6:
            answer = answer[: self.rng.randrange(len(answer))]
        elif kind < 0.8:
            answer = self.rng.randbytes(5) + b"\x7e" + answer  # an old answer's rest
        self.waiting += answer

    def read(self, size):
        data, self.waiting = self.waiting[:size], self.waiting[size:]
        return data

    def execute(self, operation, count, address, data):
        if operation == Operation.IDENTIFY:
            return bytes([0]) + struct.pack("<I4sII", self.version | 64 << 16, self.design, 1_000_000, 4096)
        if operation == Operation.STATISTICS:
            return bytes([0]) + struct.pack("<III", 1, 2, 3)
        if operation == Operation.SET_DIVIDER:
            self.speed = round(1_000_000 / address)
            return bytes([0])
        if operation == Operation.WRITE_REGISTER:
            self.registers[address] = data
            return bytes([0])
        if operation == Operation.READ_REGISTER:
            found = [self.registers.get(address + 4 * n) for n in range(count // 4)]
            return bytes([Status.SLAVE_ERROR]) if None in found else bytes([0]) + b"".join(found)
        if operation == Operation.WAIT:
            self.waited.append(address)
            return bytes([0]) + struct.pack("<I", address > 1000)
        if operation == Operation.PATCH:
            self.patches.append((address, count, data))
            return bytes([Status.BAD_ENTRY if address == 0x30 else Status.OK])
        if address + count > len(self.memory):
            return bytes([Status.DECODE_ERROR])
        if operation == Operation.WRITE_MEMORY:
            self.memory[address : address + count] = data
            return bytes([0])
        return bytes([0]) + bytes(self.memory[address : address + count])


def test_bad_line():
    rng = random.Random(1)
    board = Board(rng, loss=0.3)
    client = BridgeClient(board, retries=30)
    before = board.executed
    for n in range(50):
        data = rng.randbytes(4 * rng.randrange(1, 40))
        client.write_memory(4 * n, data)
        assert client.read_memory(4 * n, len(data)) == data
        client.write_register(4 * n, n)
        assert client.read_register(4 * n) == n
        before += 2 * -(-len(data) // 64) + 2
    assert client.read_registers(4, 40) == list(range(1, 41))
    before += 3
    assert client.repeats > 20 and board.executed == before == client.requests
    assert client.statistics() == {"dropped": 1, "line_errors": 2, "repeats": 3}


def test_speed():
    board = Board(random.Random(2))
    client = BridgeClient(board)
    assert client.set_baud(250_000) == 250_000 and board.baudrate == board.speed == 250_000
    # The next host begins at the board's first speed, with a break.
    board.baudrate = 115200
    assert BridgeClient(board, retries=0).identity.design == "fake" and board.speed == 115200


def test_chip():
    """WAIT and PATCH: what they send, and long tables in parts."""
    board = Board(random.Random(6), loss=0.3)
    client = BridgeClient(board, retries=30)
    assert [client.wait(cycles) for cycles in (1001, 10)] == [True, False]
    client.patch(0x100, 70000, np.array([5, 1 << 63], np.uint64))
    data = struct.pack("<QQ", 5, 1 << 63)
    assert board.waited == [1001, 10]
    assert board.patches == [(0x100, 65535, data), (0x100 + 16 * 65535, 70000 - 65535, data)]
    with pytest.raises(BridgeError, match="PATCH of 1 entries at 0x30: bad entry"):
        client.patch(0x30, 1, [1])
    for values in ([], [0] * 33):
        with pytest.raises(ValueError, match=f"a patch has 1 to 32 values, not {len(values)}"):
            client.patch(0x100, 1, values)


def test_errors():
    board = Board(random.Random(3))
    client = BridgeClient(board)
    for access, message in (
        (lambda: client.read_register(8), "READ_REGISTER of 4 bytes at 0x8: slave error"),
        (lambda: client.write_memory(4092, bytes(8)), "WRITE_MEMORY of 8 bytes at 0xffc: decode error"),
    ):
        with pytest.raises(BridgeError, match=message):
            access()
    with pytest.raises(ValueError, match="multiples of 4"):
        client.read_memory(2, 4)
    board.speed = 1
    with pytest.raises(
        BridgeError, match="no answer from the board to READ_REGISTER at 115200 baud, asked 5 times"
    ):
        client.read_register(0)
    with pytest.raises(BridgeError, match="version 7 of the bridge's protocol"):
        BridgeClient(Board(random.Random(4), version=7))
    with pytest.raises(BridgeError, match="no answer"):
        BridgeClient(Board(random.Random(5), loss=1.0))
    with pytest.raises(BridgeError, match="/dev/none: "):
        open_port("/dev/none", 115200)
