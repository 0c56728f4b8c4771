"""The UART bridge: frames, its configuration, the host's end over a bad line, and the hardware on
Verilator."""

from pathlib import Path
import random
import struct

from hypothesis import given
from hypothesis import strategies as st
import pytest

from poblano.bridge.bridge import BridgeConfig
from poblano.bridge.protocol import ESCAPE, FLAG, Operation, Request, Status, decode_frame, encode_frame
from poblano.config import ConfigError
from poblano_host.serial.bridge import BridgeClient, BridgeError, open_port
from tb.bridge.configs import CONFIGS
from tb.bridge.tops import BridgeTop
from tb.common.runner import run_bench

DOCUMENT = Path(__file__).parents[1] / "docs" / "bridge.md"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow if n == "small" else pytest.mark.nightly) if n != "fast" else n
        for n in CONFIGS
    ],
)
def test_bridge(name):
    env = {"CONFIG": name, "LENGTH": "24" if name == "large" else "60"}
    assert run_bench(BridgeTop(CONFIGS[name]), name=f"bridge_{name}", module="tb.bridge.bench", env=env) == 7


def test_document():
    """The example in the document is what the software sends."""
    lines = DOCUMENT.read_text().splitlines()
    assert encode_frame(Request(5, Operation.READ_REGISTER, 4, 0x14).encode()).hex(" ") in lines
    assert encode_frame(bytes([5, Status.OK, 0x7E, 0, 0, 0])).hex(" ") in lines
    for operation in Operation:
        assert any(line.startswith(f"| {operation:d} | {operation.name} |") for line in lines)


@given(st.binary(max_size=40))
def test_frames(content):
    line = encode_frame(content)
    assert line[0] == line[-1] == FLAG and FLAG not in line[1:-1]
    assert decode_frame(line[1:-1]) == content


@given(st.binary(min_size=1, max_size=40), st.data())
def test_no_frames(content, data):
    """A flipped bit, a byte less, or an escape without its byte is no frame."""
    body = bytearray(encode_frame(content)[1:-1])
    at = data.draw(st.integers(0, len(body) - 1))
    flipped = bytearray(body)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    assert decode_frame(bytes(flipped)) in (None, content)  # an escape may be of a byte that needs none
    if decode_frame(bytes(flipped)) == content:
        assert FLAG in flipped or ESCAPE in body
    del body[at]
    assert decode_frame(bytes(body)) is None
    assert decode_frame(encode_frame(content)[1:-1] + bytes([ESCAPE])) is None


@pytest.mark.parametrize(
    "options,message",
    [
        (dict(baud=12_000_000), "a divider of 2; it must be at least 4"),
        (dict(baud=100), "must be at least 4 and below 65536"),
        (dict(baud=4_400_000), r"gives 4800000 baud, 9\.1 % from 4400000"),
        (dict(payload=48), "payload must be a power of two .* not 48"),
        (dict(design="long one"), "four ASCII characters, not 'long one'"),
        (dict(addr_width=33), "addr_width must be 12 to 32, not 33"),
    ],
)
def test_bad_configuration(options, message):
    with pytest.raises(ConfigError, match=message):
        BridgeConfig(**{"clock_hz": 24_000_000, "baud": 3_000_000, **options})


class Board:
    """A design with registers and memory behind a line that loses and spoils what goes over it, in Python."""

    def __init__(self, rng, *, loss=0.0, design=b"fake", version=1):
        self.rng, self.loss, self.design, self.version = rng, loss, design, version
        self.baudrate, self.timeout, self.speed = 115200, 0, 115200
        self.memory, self.registers, self.executed = bytearray(4096), {}, 0
        self.waiting, self.last = b"", (None, b"")

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
            return (
                bytes([0]) + self.registers[address]
                if address in self.registers
                else bytes([Status.SLAVE_ERROR])
            )
        if address + count > len(self.memory):
            return bytes([Status.DECODE_ERROR])
        if operation == Operation.WRITE_MEMORY:
            self.memory[address : address + count] = data
            return bytes([0])
        return bytes([0]) + bytes(self.memory[address : address + count])


def test_link_over_a_bad_line():
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
    assert client.repeats > 20 and board.executed == before
    assert client.statistics() == {"dropped": 1, "line_errors": 2, "repeats": 3}


def test_link_speed():
    board = Board(random.Random(2))
    client = BridgeClient(board)
    assert client.set_baud(250_000) == 250_000 and board.baudrate == board.speed == 250_000
    # The next host begins at the board's first speed, with a break.
    board.baudrate = 115200
    assert BridgeClient(board, retries=0).identity.design == "fake" and board.speed == 115200


def test_link_errors():
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
