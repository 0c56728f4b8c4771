"""The UART bridge: frames, its configuration, and the hardware on Verilator."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
import pytest

from poblano.bridge.bridge import BridgeConfig
from poblano.bridge.protocol import ESCAPE, FLAG, Operation, Request, Status, decode_frame, encode_frame
from poblano.config import ConfigError
from tb.bridge.configs import CONFIGS
from tb.bridge.tops import BridgeTop
from tb.common.runner import run_bench

DOCUMENT = Path(__file__).parents[1] / "docs" / "bridge.md"


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "fast" else pytest.mark.nightly) for n in CONFIGS]
)
def test_bridge(name):
    env = {"CONFIG": name, "LENGTH": "24" if name == "large" else "60"}
    assert run_bench(BridgeTop(CONFIGS[name]), name=f"bridge_{name}", module="tb.bridge.bench", env=env) == 10


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
        (dict(chip=True, payload=128), "payload must be at least 256 before a chip, not 128"),
        (dict(addr_width=33), "addr_width must be 12 to 32, not 33"),
    ],
)
def test_bad_configuration(options, message):
    with pytest.raises(ConfigError, match=message):
        BridgeConfig(**{"clock_hz": 24_000_000, "baud": 3_000_000, **options})
