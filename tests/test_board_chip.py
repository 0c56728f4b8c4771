"""The whole chip behind its UART's pins: the host's software, the bridge, a small memory and the chip, bit for bit the golden model."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from poblano.board.system import DESIGN, ChipSystem
from poblano.config import LINE_BYTES, LINE_WORDS, ConfigError, MemoryConfig, preset
from poblano.control.commands import Command, Opcode, UnitKind, unit_index
from poblano.verilog import emit
from poblano_host.bridge import BridgeError, Identity, Link
from poblano_host.compiler import CompiledModel, MatmulJob
from poblano_host.models import load_model
from poblano_host.paging import PagedBackend
from poblano_host.paging.link import LinkDevice
from poblano_host.runtime import open_backend, run_job
from poblano_host.sim.pins import SimulatedPort

from .models_tiny import chip

CLOCK, BAUD, FAST = 40_000_000, 2_000_000, 10_000_000
SMALL = replace(chip(4, 4, lanes=2, tiles=1, data_width=64), memory=MemoryConfig(data_width=32, bandwidth=Fraction(4)))


def connect(config, memory_bytes):
    """A link to the system's RTL, at the highest speed."""
    system = ChipSystem(config, memory_bytes=memory_bytes, clock_hz=CLOCK, baud=BAUD, payload=1024)
    link = Link(SimulatedPort(emit(system, "pins"), clock_hz=CLOCK, baudrate=BAUD))
    assert link.identity == Identity(1, 1024, DESIGN, CLOCK, memory_bytes)
    assert link.set_baud(FAST) == FAST
    return link


def on_board(link):
    """What makes a backend of the board."""
    return lambda config, memory_bytes, ring, *, report: PagedBackend(config, memory_bytes, ring, LinkDevice(link))


def test_product_at_pins():
    """A product whose image is larger than the memory, and the accesses that the memory refuses."""
    link = connect(SMALL, 1 << 13)
    generator = np.random.default_rng(2)
    a, b = generator.normal(size=(5, 70)).astype(np.float32), generator.normal(size=(70, 96)).astype(np.float32)
    job = MatmulJob(a, b, SMALL, format="q4_1")
    expected, _ = run_job(job, open_backend("golden", SMALL, job.memory_bytes, job.ring))
    backend = open_backend(on_board(link), SMALL, job.memory_bytes, job.ring)
    product, result = run_job(job, backend)
    np.testing.assert_array_equal(product, expected)
    assert backend.cache.loaded > len(backend.cache.frames) and link.repeats == 0 and result.cycles > 0
    with pytest.raises(BridgeError, match="READ_MEMORY of 4 bytes at 0x2000: decode error"):
        link.read_memory(1 << 13, 4)
    with pytest.raises(BridgeError, match="WRITE_REGISTER of 4 bytes at 0xffc: slave error"):
        link.write_register(0xFFC, 1)
    backend.close()


def test_refusals():
    with pytest.raises(ConfigError, match="a chip on a board has a memory port of 32 bits, not 256"):
        ChipSystem(preset("desk"), memory_bytes=1 << 18, clock_hz=CLOCK, baud=BAUD)
    link = type("Link", (), {"identity": Identity(1, 256, "PENG", CLOCK, 4096)})()
    with pytest.raises(BridgeError, match=r"the board holds the design 'PENG', not the whole chip \(PBLN\)"):
        LinkDevice(link)


def first_layer(compiled, tokens):
    """What a step needs in memory, and its commands to the end of the first layer; then the residual is stored as the logits."""
    step, c = compiled.step(tokens, 0), compiled.model.config
    end = next(n for n, command in enumerate(step.commands) if command.label == "layer1.attn_norm.squares")
    # Weights of the next layer would have no room.
    commands = [command for command in step.commands[:end] if not (command.opcode is Opcode.STREAM and command.label.startswith("layer1"))]
    vector = unit_index(UnitKind.VECTOR)
    lines = c.dim // LINE_WORDS
    commands.append(Command(Opcode.STORE, unit_index(UnitKind.DMA), dict(
        mem_addr=compiled.logits, mem_stride=LINE_BYTES * lines, src=compiled.buffers.x, src_stride=lines, rows=len(tokens), lines=lines,
        tile=0), ((vector, sum(command.unit == vector for command in commands)),)))
    return step.inputs, b"".join(command.encode() for command in commands)


@pytest.mark.nightly
def test_layer_at_pins():
    """The first layer of the default model on the board's chip: K and V in memory, and all of the residual."""
    config = preset("ulx3s")
    compiled = CompiledModel(load_model("default"), config, context=64)
    link = connect(config, 1 << 17)
    chips = [open_backend(name, config, compiled.memory_bytes, compiled.ring) for name in (on_board(link), "golden")]
    inputs, commands = first_layer(compiled, [5, 6, 7])
    for backend in chips:
        for address, data in compiled.image + inputs:
            backend.write(address, data)
        backend.run(commands)
    np.testing.assert_array_equal(*(backend.memory for backend in chips))
    residual = np.frombuffer(chips[0].read(compiled.logits, 4 * 3 * 128), np.float32)
    assert np.isfinite(residual).all() and residual.std() > 0.01
    chips[0].close()
