"""The whole chip behind its UART's pins: the host's software, the bridge, a small memory and the chip, bit
for bit the golden model."""

from dataclasses import replace
from fractions import Fraction
import json
import re
import sys

import numpy as np
import pytest

from poblano.board.system import ChipSystem
from poblano.bridge.protocol import CHIP_DESIGN
from poblano.config import ConfigError, MemoryConfig, preset
from poblano.isa.commands import Command, Opcode
from poblano.verilog import emit
from poblano_cli import main as cli
from poblano_fpga.chip_check import check_layer, check_product
from poblano_fpga.on_board import OnBoard
from poblano_host.compiler import MatmulJob
from poblano_host.compiler import model as compiled
from poblano_host.runtime.backend import DeviceBackend, GoldenBackend, open_backend, run_job
from poblano_host.runtime.device import BridgeDevice
from poblano_host.runtime.errors import ChipError, DeviceError, Mismatch
from poblano_host.runtime.overlay import OverlayBackend
from poblano_host.runtime.ring import command_rows
from poblano_host.runtime.session import Session
from poblano_host.serial.bridge import BridgeClient, BridgeError, Identity
from poblano_host.sim.pins import SimulatedPort
from tests.models_tiny import chip, tiny_model
from tests.programs import LOAD, program

REQUESTS = 11
"""Of a decode step, as in docs/bridge.md."""
CLOCK, BAUD, FAST = 40_000_000, 2_000_000, 10_000_000
SMALL = replace(
    chip(4, 4, lanes=2, tiles=1, data_width=64),
    memory=MemoryConfig(data_width=32, bandwidth=Fraction(4), host_port=True),
)


def connect(config, memory_bytes):
    """A client of the system's RTL, at the highest speed."""
    system = ChipSystem(config, memory_bytes=memory_bytes, clock_hz=CLOCK, baud=BAUD, payload=1024)
    client = BridgeClient(SimulatedPort(emit(system, "pins"), clock_hz=CLOCK, baudrate=BAUD))
    assert client.identity == Identity(2, 1024, CHIP_DESIGN, CLOCK, memory_bytes)
    assert client.set_baud(FAST) == FAST
    return client


def on_board(client):
    """What makes a backend of the board."""
    return lambda config, memory_bytes, ring, *, report: OverlayBackend(
        config, memory_bytes, ring, BridgeDevice(client)
    )


def test_product_at_pins():
    """A product whose image is larger than the memory, and the accesses that the memory refuses."""
    client = connect(SMALL, 1 << 13)
    generator = np.random.default_rng(2)
    a, b = (
        generator.normal(size=(5, 70)).astype(np.float32),
        generator.normal(size=(70, 96)).astype(np.float32),
    )
    job = MatmulJob(a, b, SMALL, format="q4_1")
    expected, _ = run_job(job, open_backend("golden", SMALL, job.memory_bytes, job.ring))
    backend = open_backend(on_board(client), SMALL, job.memory_bytes, job.ring)
    product, result = run_job(job, backend)
    np.testing.assert_array_equal(product, expected)
    assert backend.cache.loaded > len(backend.cache.frames) and client.repeats == 0 and result.cycles > 0
    with pytest.raises(BridgeError, match="READ_MEMORY of 4 bytes at 0x2000: decode error"):
        client.read_memory(1 << 13, 4)
    with pytest.raises(BridgeError, match="WRITE_REGISTER of 4 bytes at 0xffc: slave error"):
        client.write_register(0xFFC, 1)
    backend.close()


def test_resident_model(monkeypatch):
    """A model that fits the memory: its programs stay there. Every token and all of memory as the golden
    model's, in a few requests a token."""
    monkeypatch.setattr(compiled, "RINGS", (1024,))
    client = connect(SMALL, 1 << 18)
    client.write_memory(1 << 12, bytes([255]) * 4096)  # memory is not zero at first
    model, device = tiny_model(layers=1), BridgeDevice(client)
    made = lambda config, memory_bytes, ring, *, report: DeviceBackend(config, memory_bytes, ring, device)
    golden, ours = (Session(model, SMALL, backend=name, context=24) for name in ("golden", made))
    prompt, requests, sizes = [3, 14, 15, 9, 26, 5, 35, 8], [], []
    expected = [token for _, token in golden.generate(prompt, 4)]
    for (step, token), wanted in zip(ours.generate(prompt, 4), expected, strict=True):
        assert token == wanted and step.logits is None and step.result.cycles > 0
        requests.append(client.requests)
        sizes.append(client.port.sent + client.port.received)
    assert np.diff(requests)[1:].tolist() == [REQUESTS, REQUESTS]  # the first step brings its program
    assert (np.diff(sizes)[1:] < 4 * model.config.dim + 600).all()
    end = ours.compiled.ring[0]
    assert ours.backend.read(0, end) == golden.backend.read(0, end)
    with pytest.raises(ChipError, match=r"LOCAL_RANGE .* at command 1 \(dma\)"):
        ours.backend.run(program((Opcode.LOAD, LOAD), (Opcode.LOAD, LOAD | dict(dst=2048))))
    with pytest.raises(BridgeError, match="PATCH of 1 entries at 0x0: bad entry"):
        device.patch(0, 1, np.zeros(1, np.uint64))
    with pytest.raises(DeviceError, match="the device has 262144 bytes of memory; 262145 are needed"):
        DeviceBackend(SMALL, (1 << 18) + 1, (0, 4), device)


def test_refusals():
    with pytest.raises(ConfigError, match="a chip on a board has a memory port of 32 bits, not 256"):
        ChipSystem(preset("desk"), memory_bytes=1 << 18, clock_hz=CLOCK, baud=BAUD)
    homes = replace(SMALL, tiles=2).with_memory(homes=2, home_bytes=4096)
    with pytest.raises(ConfigError, match="a chip on a board has one home of memory, not 2"):
        ChipSystem(homes, memory_bytes=1 << 18, clock_hz=CLOCK, baud=BAUD)
    with pytest.raises(ConfigError, match="a chip on a board has a port for its host: memory host_port"):
        ChipSystem(SMALL.with_memory(host_port=False), memory_bytes=1 << 18, clock_hz=CLOCK, baud=BAUD)
    with pytest.raises(ConfigError, match="the chip's DRAM has 33554432 bytes, not 262144"):
        ChipSystem(preset("ulx3s"), memory_bytes=1 << 18, clock_hz=CLOCK, baud=BAUD)
    with pytest.raises(
        ConfigError, match="the chip's DRAM is for 30 MHz, and the board's clock is of 40 MHz"
    ):
        ChipSystem(preset("ulx3s"), memory_bytes=1 << 25, clock_hz=CLOCK, baud=BAUD)
    with pytest.raises(ConfigError, match="a chip on a board has no KV buffer: the bridge does not reach it"):
        ChipSystem(SMALL.with_memory(kv_bytes=4096), memory_bytes=1 << 18, clock_hz=CLOCK, baud=BAUD)
    client = type("Client", (), {"identity": Identity(2, 256, "PENG", CLOCK, 4096)})()
    with pytest.raises(BridgeError, match=r"the board holds the design 'PENG', not the whole chip \(PBLN\)"):
        BridgeDevice(client)


def test_checks(monkeypatch):
    """The checks find a wrong bit."""
    overlay = lambda config, memory_bytes, ring, *, report: Overlay(config, memory_bytes, ring)
    monkeypatch.setattr("poblano_fpga.chip_check.load_model", lambda name: tiny_model(dim=128))
    assert check_product(overlay, SMALL)["bit_exact"] and check_layer(overlay, SMALL)["bytes_to_board"] == 0
    Overlay.flip = 1
    with pytest.raises(Mismatch, match="the product differs from the golden model's, first in element"):
        check_product(overlay, SMALL)
    with pytest.raises(Mismatch, match="memory differs from the golden model's, first in element"):
        check_layer(overlay, SMALL)


class Overlay(GoldenBackend):
    """The golden model with the members of a board's backend."""

    device = type("Device", (), {"bytes_up": 0, "bytes_down": 0})
    flip = 0

    def run(self, commands, *, progress=None):
        result = super().run(commands, progress=progress)
        stores = (c for c in map(Command.decode, command_rows(commands)) if c.opcode is Opcode.STORE)
        *_, last = stores
        self.memory[last.operands["mem_addr"] + 3] ^= self.flip
        return result


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["--port", "x"], "--port, --baud and --simulate need --board"),
        (["--board", "ulx3s"], "--board needs either --port or --simulate"),
        (["--board", "ulx3s", "--simulate", "--port", "x"], "--board needs either --port or --simulate"),
        (["--board", "abc", "--simulate"], "no board 'abc' holds the whole chip; ulx3s does"),
        (
            ["--board", "ulx3s", "--simulate", "--trace", "x.json"],
            "a board's chip is as it is and has no timeline: --trace, .* can't go with --board",
        ),
        (
            ["--board", "ulx3s", "--port", "/dev/none"],
            "/dev/none: could not open port|the package pyserial is not installed",
        ),
    ],
)
def test_run_refuses(monkeypatch, capfd, arguments, message):
    monkeypatch.setattr(sys, "argv", ["poblano", "run", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    error = capfd.readouterr().err
    assert (
        left.value.code in (2, 3)
        and re.search(f"^poblano: {message}", error, re.MULTILINE)
        and "Traceback" not in error
    ), error


def test_run(monkeypatch, capfd, tmp_path):
    """The command with a golden model in the board's place: the same tokens as those of another chip."""
    monkeypatch.setattr(
        OnBoard,
        "__call__",
        lambda self, config, memory_bytes, ring, *, report: GoldenBackend(config, memory_bytes, ring),
    )
    texts = []
    for chosen in (["--board", "ulx3s", "--simulate"], ["--backend", "golden"]):
        figures = tmp_path / "figures.json"
        monkeypatch.setattr(
            sys,
            "argv",
            ["poblano", "run", "--prompt", "And the LORD", "--tokens", "3", "--json", str(figures), *chosen],
        )
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert not left.value.code, capfd.readouterr().err
        texts.append(json.loads(figures.read_text()))
    assert (
        texts[0]["text"] == texts[1]["text"]
        and texts[0]["preset"] == "ulx3s"
        and texts[0]["backend"] == "board"
    )


@pytest.mark.slow
def test_sdram_at_pins():
    """A product on the board's chip, whose memory is the SDRAM at its pins."""
    board = OnBoard("ulx3s")
    assert check_product(board, board.config)["bit_exact"] and board.device.client.repeats == 0
    board.device.close()


@pytest.mark.nightly
def test_layer_at_pins():
    """The first layer of the default model on the board's chip: K and V in memory, and all of the
    residual."""
    board = OnBoard("ulx3s")
    assert check_layer(board, board.config)["bytes_to_board"] > 200_000
    assert board.device.client.repeats == 0


@pytest.mark.nightly
@pytest.mark.timeout(4 * 3600)
def test_netlist_at_pins():
    """The netlist of the ULX3S."""
    board = OnBoard("ulx3s", netlist=True)
    assert check_product(board, board.config)["bit_exact"]
