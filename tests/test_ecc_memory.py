"""ECCMemory and the queue with check bits, in every cycle as a model in numpy, with random flips."""

from dataclasses import replace
import random
import re

from amaranth.hdl import Fragment
from amaranth.sim import Simulator
import numpy as np
import pytest

from poblano.chip import Chip, chip_verilog
from poblano.config import PRESETS
from poblano.ecc.memory import ECCMemory
from poblano.ecc.words import CodedWord
from poblano.stream.fifo import BufferedFIFO
from poblano.verilog import emit, emit_modules
from tb.common.flips import arrays
from tb.common.streams import receive, send


def as_bits(value, width):
    return np.array([value >> n & 1 for n in range(width)], bool)


def as_int(bits):
    return sum(1 << int(n) for n in np.flatnonzero(bits))


class Model:
    """The array, word by word as granules of bools, and what is read from it."""

    def __init__(self, dut):
        self.granule, self.count = dut.granularity, dut.width // dut.granularity
        self.code, self.write_back = CodedWord(dut.granularity), dut.write_back
        self.array = np.zeros((dut.depth, self.count, self.code.bits), bool)
        self.shown = np.zeros((self.count, self.code.bits), bool)
        self.row = None  # of what is shown, unless it was written since

    def outputs(self):
        """(data, corrected, failed)"""
        data, corrected, failed = self.code.decode(self.shown)
        return as_int(data.ravel()), as_int(corrected), as_int(failed)

    def step(self, read, write):
        """``read``: a row or None; ``write``: (row, granules, data) or None. Whether something was written
        back."""
        data, corrected, failed = self.code.decode(self.shown)
        before = self.array.copy()
        back = corrected & ~failed
        repairs = self.write_back and write is None and self.row is not None and back.any()
        if write is not None:
            row, granules, value = write
            for n in range(self.count):
                if granules >> n & 1:
                    word = as_bits(value >> n * self.granule, self.granule)
                    self.array[row, n] = self.code.encode(word)
        elif repairs:
            self.array[self.row][back] = self.code.encode(data)[back]
        if read is not None:
            self.shown = before[read]
            self.row = None if write is not None and write[0] == read else read
        elif write is None or write[0] == self.row:
            self.row = None
        return repairs


@pytest.mark.parametrize("write_back", [False, True])
@pytest.mark.parametrize("width,granularity,depth", [(16, 16, 4), (24, 8, 5), (130, 65, 3)])
def test_every_cycle(width, granularity, depth, write_back):
    """Random reads and writes, one flip in some words and two in others: outputs and array are the
    model's."""
    dut = ECCMemory(width=width, granularity=granularity, depth=depth, write_back=write_back)
    design = Fragment.get(dut, None)
    (place,) = arrays(design)
    array = place.memory
    rng, model = random.Random(f"{width} {write_back}"), Model(dut)
    seen = {"corrected": 0, "failed": 0, "written back": 0}

    async def bench(ctx):
        for cycle in range(800):
            if rng.random() < 0.2:
                row, n = rng.randrange(depth), rng.randrange(model.count)
                bits = rng.sample(range(model.code.bits), rng.choice((1, 1, 1, 2)))
                place.flip(ctx, row, n, bits)
                model.array[row, n, bits] ^= True
            read = rng.randrange(depth) if rng.random() < 0.6 else None
            write = None
            if rng.random() < 0.4:
                granules = rng.randrange(1, 1 << model.count)
                write = rng.randrange(depth), granules, rng.getrandbits(width)
            row, granules, value = write or (rng.randrange(depth), 0, rng.getrandbits(width))
            ctx.set(dut.read.en, read is not None)
            ctx.set(dut.read.addr, rng.randrange(depth) if read is None else read)
            ctx.set(dut.write.en, granules)
            ctx.set(dut.write.addr, row)
            ctx.set(dut.write.data, value)
            data, corrected, failed = model.outputs()
            assert ctx.get(dut.read.data) == data, cycle
            assert (ctx.get(dut.corrected), ctx.get(dut.failed)) == (corrected, failed), cycle
            seen["corrected"] += corrected != 0
            seen["failed"] += failed != 0
            seen["written back"] += model.step(read, write)
            await ctx.tick()
            for at in range(depth):
                assert ctx.get(array.data[at]) == as_int(model.array[at].ravel()), cycle

    simulator = Simulator(design)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen["corrected"] > 20 and seen["failed"] > 5
    assert (seen["written back"] > 20) == write_back


@pytest.mark.parametrize("width", [1, 38, 45, 64, 65, 256, 257, 2048])
def test_coded_word(width):
    """The codes cover the word, and none is wider than it may be; one flip in each of them is corrected."""
    code, rng = CodedWord(width), np.random.default_rng(width)
    assert sum(part.data for part in code.codes) == width
    assert max(part.data for part in code.codes) <= 64
    words = rng.integers(0, 2, (20, width)).astype(bool)
    kept = code.encode(words)
    assert kept.shape == (20, code.bits)
    for part, data, checks in code.places:
        places = [*range(data, data + part.data), *range(checks, checks + part.checks)]
        for row in kept:
            row[rng.choice(places)] ^= True
    got, corrected, failed = code.decode(kept)
    assert (got == words).all() and corrected.all() and not failed.any()
    kept[:, [0, width]] ^= True  # a bit of data and one of the check bits of the first code, beside the flip
    assert not (code.decode(kept)[0] == words).all()


def test_zero_is_a_word():
    """A memory of zeros, as at power-up in simulation and after clearing, has no errors."""
    for width in (1, 45, 256, 257):
        assert not CodedWord(width).encode(np.zeros(width, bool)).any()


@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.5, 0.1), (0.1, 0.5)])
def test_queue(stalls):
    """A queue gives what came in, in order, with one flip in many payloads; of a payload with two it says
    so."""
    width, depth = 128, 17
    dut = BufferedFIFO(shape=width, depth=depth, ecc=True)
    assert dut.coded
    design = Fragment.get(dut, None)
    (array,) = arrays(design)
    rng = random.Random(str(stalls))
    sent = [rng.getrandbits(width) for _ in range(300)]
    got, flags = [], []

    async def flips(ctx):
        """Flips bits of what is written, in the cycle after."""
        (port,) = array.memory.write_ports
        async for _, _, enters, row in ctx.tick().sample(dut.i.valid & dut.i.ready, port.addr):
            if enters and rng.random() < 0.5:
                array.flip(ctx, row, 0, rng.sample(array.code_of(rng), 2 if rng.random() < 0.1 else 1))

    async def watch(ctx):
        async for values in ctx.tick().sample(dut.o.valid & dut.o.ready, dut.corrected, dut.failed):
            if values[2]:
                flags.append(values[3:])

    simulator = Simulator(design)
    simulator.add_clock(1e-9)
    simulator.add_testbench(flips, background=True)
    simulator.add_testbench(watch, background=True)
    simulator.add_testbench(send(dut.i, sent, rng=random.Random(1), stall=stalls[0]))
    simulator.add_testbench(receive(dut.o, len(sent), got, rng=random.Random(2), stall=stalls[1]))
    simulator.run()
    wrong = [n for n, (a, b) in enumerate(zip(sent, got, strict=True)) if a != b]
    failed = [n for n, (_, two) in enumerate(flags) if two]
    assert set(wrong) <= set(failed) and len(failed) > 2
    assert sum(one for one, _ in flags) > 30


def test_small_queues_are_flip_flops():
    """They have no check bits, and say so."""
    text = emit(BufferedFIFO(shape=64, depth=8, ecc=True), "queue")
    assert "poblano_word" not in text and "poblano_sram" not in text
    assert "poblano_word_decoder" in emit(BufferedFIFO(shape=128, depth=9, ecc=True), "queue")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n == "nano" else pytest.mark.nightly) for n in PRESETS]
)
def test_off(name):
    """A chip without check bits has nothing of them; with them every large memory has a decoder."""
    traces = re.compile(r"\b[a-z_0-9]*(?:word_(?:en|de)coder|_ecc_|ecc_memory|corrected|poisoned|_failed)\w*")
    text = chip_verilog(PRESETS[name])
    assert set(traces.findall(text)) <= {"fetch_failed"}
    modules = emit_modules(Chip(replace(PRESETS[name], ecc=True, clear_at_reset=True)), "chip")
    placed = {module.name: [instance.module for instance in module.instances] for module in modules}
    with_sram = [name for name, inside in placed.items() if "poblano_sram" in inside]
    assert with_sram
    for module in with_sram:
        assert any(inside.startswith("poblano_word_decoder") for inside in placed[module]), module


def test_refused():
    with pytest.raises(ValueError, match="4 words of 12 bits can't be written by 5 bits"):
        ECCMemory(width=12, granularity=5, depth=4)
