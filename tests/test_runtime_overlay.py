"""Memory overlays: split programs on the golden model, and the RTL with a small memory, bit for bit the
whole memory's."""

from dataclasses import replace
import random

import numpy as np
import pytest

from poblano.config import PagingConfig, preset
from poblano.isa.check import check
from poblano.isa.commands import Command, Opcode
from poblano.isa.topology import LARGEST, UnitKind
from poblano_host.compiler import CompiledModel, MatmulJob
from poblano_host.golden.chip import GoldenChip
from poblano_host.models import load_model
from poblano_host.runtime.backend import GoldenBackend, run_job
from poblano_host.runtime.device import SimulatedDevice
from poblano_host.runtime.errors import ChipError, DeviceError, OverlayError
from poblano_host.runtime.overlay import OverlayBackend, split
from poblano_host.runtime.overlay.cache import OverlayCache
from tests.models_tiny import Run, chip, tiny_model
from tests.programs import SMALL, chip_errors, program

DMA, STREAM, MATMUL = map(LARGEST.unit, (UnitKind.DMA, UnitKind.STREAM, UnitKind.MATMUL))


def joined(pieces, page_bytes):
    """The split program with each page in its place."""

    def place(piece):
        o = piece.command.operands
        if piece.page is not None:
            assert o["mem_addr"] < page_bytes
            o = o | dict(mem_addr=o["mem_addr"] + piece.page * page_bytes)
        return replace(piece.command, operands=o).encode()

    return b"".join(map(place, pieces))


def touched(piece):
    """The last byte within the page that a piece touches, and one more."""
    o = piece.command.operands
    row = o.get("row_bytes") or (32 * o["lines"] if "lines" in o else o.get("length", 4))
    return o["mem_addr"] + (o["rows"] - 1) * o["mem_stride"] + row


@pytest.mark.parametrize("page_bytes", [256, 2048])
@pytest.mark.parametrize("tiles", [1, 2])
def test_split_model(page_bytes, tiles):
    """A model's steps, split, leave the same memory in whatever order the chip executes them."""
    compiled = CompiledModel(
        tiny_model(formats=("q8_0", "q4_1")), chip(4, 4, lanes=2, tiles=tiles, data_width=64), context=40
    )
    for shuffle in (None, 1):
        whole, parts, position = Run(compiled), Run(compiled), 0
        for tokens in ([1, 2, 3, 4, 5, 6, 7], [9]):
            step = compiled.step(tokens, position)
            position += len(tokens)
            commands = [
                check(command.encode(), compiled.config, compiled.memory_bytes) for command in step.commands
            ]
            pieces = split(commands, compiled.config, page_bytes)
            assert all(piece.page is None or touched(piece) <= page_bytes for piece in pieces)
            for run, data in ((whole, step.encode()), (parts, joined(pieces, page_bytes))):
                for address, content in step.inputs:
                    run.memory[address : address + len(content)] = np.frombuffer(content, np.uint8)
                run.chip.reset_queue()
                run.chip.run(data, **({"shuffle": shuffle} if run is parts else {}))
            np.testing.assert_array_equal(whole.memory, parts.memory)


def test_split_rows():
    """Rows of any stride, repeated and overlapping rows, rows longer than a page."""
    rng = random.Random(3)
    config = chip(4, 4, lanes=2, tiles=1, data_width=64)
    size = 1 << 15
    for _ in range(40):
        rows, lines = rng.randint(1, 9), rng.randint(1, 12)
        stride = 32 * rng.choice((0, 1, lines, lines, 2 * lines, rng.randrange(60)))
        place = lambda: 32 * rng.randrange((size - (rows - 1) * stride) // 32 - lines)
        common = dict(mem_stride=stride, rows=rows, lines=lines)
        local = rng.choice((lines, lines, 2 * lines, 0))
        commands = [
            Command(Opcode.LOAD, DMA, common | dict(mem_addr=place(), dst=3, dst_stride=local, tiles=1)),
            Command(Opcode.STORE, DMA, common | dict(mem_addr=place(), src=3, src_stride=local, tile=0)),
        ]
        length = rng.choice((2, 4, 8, 16, 32))
        commands.append(
            Command(
                Opcode.STORE_BLOCK,
                DMA,
                dict(
                    mem_addr=length * rng.randrange(99),
                    mem_stride=length * rng.randrange(100),
                    src=1,
                    src_stride=1,
                    rows=9,
                    offset=0,
                    length=length,
                    tile=0,
                ),
            )
        )
        commands.append(
            Command(
                Opcode.STORE_SCALE,
                DMA,
                dict(mem_addr=20000, mem_stride=4 * rng.randrange(200), src=1, src_stride=2, rows=9, tile=0),
            )
        )
        chips = []
        start = np.random.default_rng(rng.randrange(99)).integers(0, 256, size, np.uint8)
        pieces = split(commands, config, 512)
        for data in (b"".join(command.encode() for command in commands), joined(pieces, 512)):
            chips.append(GoldenChip(config, start.copy()))
            chips[-1].tiles[0].amem_q[:] = np.arange(32)
            chips[-1].run(data)
        np.testing.assert_array_equal(chips[0].memory, chips[1].memory)
        np.testing.assert_array_equal(
            chips[0].tiles[0].vmem.view(np.uint32), chips[1].tiles[0].vmem.view(np.uint32)
        )


def test_split_errors():
    config = chip(4, 4, lanes=2, tiles=1, data_width=64)
    stream = lambda size, *waits: Command(
        Opcode.STREAM, STREAM, dict(mem_addr=0, mem_stride=0, row_bytes=size, rows=1), waits
    )
    matmul = Command(Opcode.MATMUL, MATMUL, dict(rows=1, k_blocks=1, groups=1, tiles=1))  # of 128 bytes
    matmul = Command.decode(matmul.encode())
    nop = lambda unit, *waits: Command(Opcode.NOP, unit, {}, waits)
    done = lambda *commands: [(p.command.unit, p.command.waits) for p in split(commands, config, 256)]
    # The stream comes behind the matmul, and before what waits for it.
    assert done(stream(128), nop(DMA), matmul) == [(DMA, ()), (MATMUL, ()), (STREAM, ())]
    assert done(
        stream(512), nop(DMA, (STREAM, 1)), nop(DMA, (STREAM, 0), (DMA, 1 << 20 - 1 | 1)), matmul
    ) == [(STREAM, ()), (STREAM, ()), (DMA, ((STREAM, 2),)), (DMA, ()), (MATMUL, ())]
    with pytest.raises(
        OverlayError,
        match=r"command 0 \(dma\) waits for command 1 of tile0.matmul, which does not come before it",
    ):
        split([nop(DMA, (MATMUL, 1)), stream(128), matmul], config, 256)
    with pytest.raises(
        OverlayError,
        match=r"command 1 \(tile0.stream\) waits for command 1 of dma, which does not come before it",
    ):
        split([matmul, stream(128, (DMA, 1)), nop(DMA)], config, 256)
    with pytest.raises(
        OverlayError, match=r"command 1 \(tile0.matmul\) lacks 64 bytes of weights: the program hangs"
    ):
        split([stream(64), matmul], config, 256)
    with pytest.raises(
        OverlayError,
        match=r"tile0.stream: 4096 bytes must be in the weight FIFO of 2048 before command 1: the program "
        r"hangs",
    ):
        split([stream(4096), nop(DMA, (STREAM, 1))], config, 256)
    with pytest.raises(
        OverlayError,
        match=r"command 0 \(LOAD\) has a line that crosses a page of 256 bytes, at 0xf8: memory addresses "
        r"must be",
    ):
        split(
            [
                Command(
                    Opcode.LOAD,
                    DMA,
                    dict(mem_addr=0xF8, mem_stride=0, dst=0, dst_stride=0, rows=1, lines=1, tiles=1),
                )
            ],
            config,
            256,
        )


class Board:
    """A memory without a chip."""

    def __init__(self, size):
        self.memory = bytearray(size)

    def read_memory(self, address, size):
        return bytes(self.memory[address : address + size])

    def write_memory(self, address, data):
        self.memory[address : address + len(data)] = data


def test_cache():
    image = np.arange(4 * 256, dtype=np.uint32).astype(np.uint8)
    board = Board(1024)
    cache = OverlayCache(board, image, 256, (256, 512))
    first = cache.victim([0])
    cache.place(first, 2)
    first.uses[0], first.next = 3, 9
    assert board.memory[first.address : first.address + 256] == image[512:768].tobytes()
    second = cache.victim([2])
    assert second is not first
    cache.place(second, 0, (0, 4))
    second.uses[0], second.next = 4, 5
    assert cache.victim([2]) is None and cache.victim([3]) is first and cache.victim([4]) is first
    board.memory[first.address : first.address + 8] = b"abcdefgh"
    cache.mark(first, ((0, 4), (6, 8), (200, 201)))
    image[520] = 7
    cache.changed(520, 1)
    assert board.memory[first.address + 8] == 7
    cache.flush(0, 512)
    assert image[512] == 0
    cache.flush(600, 1)
    assert image[512:521].tobytes() == b"abcdefgh\x07" and cache.bytes_down == 8 + 4
    # A page whose bytes never came is dropped.
    cache.mark(second, ((0, 256),))
    cache.abandon([3])
    assert image[:4].tolist() == [0, 1, 2, 3] and not cache.resident


def overlay(config, job, kib, **options):
    return OverlayBackend(config, job.memory_bytes, job.ring, SimulatedDevice(config, kib << 10), **options)


def test_rtl_product():
    generator = np.random.default_rng(2)
    a, b = (
        generator.normal(size=(9, 70)).astype(np.float32),
        generator.normal(size=(70, 160)).astype(np.float32),
    )
    job = MatmulJob(a, b, SMALL, format="q4_1")
    expected, _ = run_job(job, GoldenBackend(SMALL, job.memory_bytes, job.ring))
    for kib in (2, 16, 64):
        backend = overlay(SMALL, job, kib)
        product, result = run_job(job, backend, progress=lambda *arguments: None)
        np.testing.assert_array_equal(product, expected)
        assert result.commands == len(job.program.commands) <= len(backend.pieces) and result.cycles > 0
        assert result.counters[DMA]["COMPLETED"] + result.counters[STREAM]["COMPLETED"] < len(backend.pieces)
        backend.close()


def run_model(model, config, steps, kib, context):
    """Steps of a model by overlays, and on the golden model: memory after each."""
    compiled = CompiledModel(model, config, context=context)
    backend, golden = (
        overlay(config, compiled, kib),
        GoldenBackend(config, compiled.memory_bytes, compiled.ring),
    )
    for chip_ in (backend, golden):
        for address, data in compiled.image:
            chip_.write(address, data)
    position = 0
    for tokens in steps:
        step = compiled.step(tokens, position)
        position += len(tokens)
        for chip_ in (backend, golden):
            for address, data in step.inputs:
                chip_.write(address, data)
            chip_.run(step.encode())
        start, rows = step.logits
        assert backend.read(start, rows * compiled.vocab_stride) == golden.read(
            start, rows * compiled.vocab_stride
        )
    np.testing.assert_array_equal(backend.memory, golden.memory)
    return backend, compiled


def test_rtl_model():
    """Prefill and decode in an eighth of the memory; with room for half, the half stays."""
    backend, compiled = run_model(tiny_model(), SMALL, ([3, 14, 15, 9, 26, 5], [7], [9]), 16, 24)
    assert compiled.ring[0] > 8 * 16384
    with pytest.raises(ValueError, match="read-only"):
        backend.memory[0] = 1
    backend.close()
    backend, compiled = run_model(tiny_model(), SMALL, ([3, 14], [7]), 128, 24)
    loaded, hits = backend.cache.loaded, backend.cache.hits
    step = compiled.step([9], 3)
    backend.run(step.encode())
    used = {piece.page for piece in backend.pieces} - {None}
    assert backend.cache.loaded - loaded < 0.6 * len(used) and backend.cache.hits > hits
    backend.close()


def test_rtl_errors(monkeypatch):
    device = SimulatedDevice(SMALL, 4096)
    backend = OverlayBackend(SMALL, 1 << 16, (1 << 15, 8), device)
    chip_errors(backend)
    device.simulation.fault(256, 4096)
    with pytest.raises(ChipError, match=r"AXI_READ .* at command 1 \(dma\): dma LOAD mem_addr=0x1000"):
        backend.run(
            program(
                (Opcode.NOP, {}), (Opcode.LOAD, dict(mem_addr=4096, mem_stride=64, rows=2, lines=2, tiles=1))
            )
        )
    device.simulation.fault(0, 0)
    chip_errors(backend)
    device.patience = 9000
    monkeypatch.setattr(
        "poblano_host.runtime.overlay.backend.split",
        lambda commands, config, page_bytes: [
            replace(piece, command=replace(piece.command, waits=((1, 1),)))
            for piece in split(commands, config, page_bytes)
        ],
    )
    with pytest.raises(
        DeviceError,
        match="the chip hangs: nothing completed in 9000 cycles; 1 of 1 commands are dispatched, and "
        "completed are dma 0, tile0.stream 0",
    ):
        backend.run(program((Opcode.NOP, {})))
    with pytest.raises(DeviceError, match="the chip's CONFIG1 is 0x00040004; that of custom is 0x00080004"):
        OverlayBackend(chip(4, 8, lanes=2, tiles=1, data_width=64), 1 << 16, (1 << 15, 8), device)
    with pytest.raises(
        OverlayError,
        match="a memory of 256 bytes has no room for a ring of 4 commands and a page of 256 bytes",
    ):
        backend = OverlayBackend(SMALL, 1 << 16, (1 << 15, 8), type("Device", (), {"memory_bytes": 256})())
    with pytest.raises(
        OverlayError, match="a chip with a KV buffer has no overlays: its caches would not stay"
    ):
        OverlayBackend(SMALL.with_memory(kv_bytes=4096), 1 << 16, (1 << 15, 8), device)
    with pytest.raises(
        OverlayError, match="a chip with page tables has no overlays: its pages stay in memory"
    ):
        OverlayBackend(SMALL.with_memory(paging=PagingConfig()), 1 << 16, (1 << 15, 8), device)
    with pytest.raises(OverlayError, match="a chip of 2 homes has no overlays: pages would not stay at home"):
        OverlayBackend(chip(tiles=2, homes=2), 1 << 16, (1 << 15, 8), device)
    device.close()


@pytest.mark.nightly
def test_rtl_default_model():
    """The default model on nano with a twentieth of its memory."""
    backend, compiled = run_model(load_model("default"), preset("nano"), ([1, 2, 3, 4, 5], [6]), 64, 64)
    assert compiled.ring[0] > 18 * 65536
    backend.close()
