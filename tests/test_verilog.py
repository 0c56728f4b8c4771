"""Emission of Verilog: the modules written by hand behave as their Amaranth counterparts, repeated modules
stand once, sizes and times."""

import re

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
import numpy as np
import pytest

from poblano.compute.array import SystolicArray
from poblano.config import ArrayConfig
from poblano.memory.sram import SRAM
from poblano.stream.delay import delay
from poblano.verilog import emit, place
from tb.common.bulk import build


class Memory(wiring.Component):
    """An :class:`SRAM` in its Verilog form."""

    def __init__(self, width, depth, granularity):
        self.width, self.depth, self.granularity = width, depth, granularity
        addr = max(1, (depth - 1).bit_length())
        super().__init__(
            {
                "ren": In(1),
                "raddr": In(addr),
                "rdata": Out(width),
                "wen": In(width // granularity),
                "waddr": In(addr),
                "wdata": In(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        memory = place(m, "memory", SRAM(width=self.width, depth=self.depth, granularity=self.granularity))
        m.d.comb += [
            memory.read.en.eq(self.ren),
            memory.read.addr.eq(self.raddr),
            self.rdata.eq(memory.read.data),
            memory.write.en.eq(self.wen),
            memory.write.addr.eq(self.waddr),
            memory.write.data.eq(self.wdata),
        ]
        return m


@pytest.mark.parametrize("width, depth, granularity", [(8, 16, 8), (64, 2, 16), (5, 3, 5)])
def test_sram(width, depth, granularity):
    """Random reads and writes, often of the same word: a read gets the old one, and stays."""
    rng = np.random.default_rng(1)
    count, parts = 4000, width // granularity
    kind = lambda bits: next(f"u{size}" for size in (1, 2, 4, 8) if bits <= 8 * size)
    inputs = {
        "ren": rng.integers(0, 2, count).astype("u1"),
        "raddr": rng.integers(0, depth, count).astype("u1"),
        "wen": rng.integers(0, 1 << parts, count).astype("u1"),
        "waddr": rng.integers(0, depth, count).astype("u1"),
        "wdata": (rng.integers(0, 1 << 62, count).astype("u8") & np.uint64((1 << width) - 1)).astype(
            kind(width)
        ),
    }
    inputs["wen"][:depth], inputs["waddr"][:depth], inputs["ren"][:depth] = (
        (1 << parts) - 1,
        np.arange(depth),
        0,
    )
    got = build(Memory(width, depth, granularity), latency=0)(**inputs)["rdata"]
    words, out = [0] * depth, None
    for n in range(count):
        if out is not None:
            assert int(got[n]) == out, n
        if inputs["ren"][n]:
            out = words[inputs["raddr"][n]]
        for part in range(parts):
            if inputs["wen"][n] >> part & 1:
                mask = (1 << granularity) - 1 << part * granularity
                at = inputs["waddr"][n]
                words[at] = words[at] & ~mask | int(inputs["wdata"][n]) & mask


class Line(wiring.Component):
    en: In(1)
    i: In(13)
    o: Out(13)

    def __init__(self, cycles):
        self.cycles = cycles
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(delay(m, self.en, "line", self.i, self.cycles))
        return m


@pytest.mark.parametrize("cycles", [1, 3, 40])
def test_delay_line(cycles):
    """In its own module or in place, the value comes so many enabled cycles later."""
    i = np.random.default_rng(2).integers(0, 1 << 13, 500).astype("u2")
    got = build(Line(cycles), latency=cycles)(i=i, stall=3)["o"]
    assert np.array_equal(got, i)
    assert ("poblano_delay_line" in emit(Line(cycles), "dut")) == (13 * cycles >= 32)


def test_sram_refused():
    with pytest.raises(ValueError, match="a memory of 4 words of 8 bits can't be written by 3 bits"):
        SRAM(width=8, depth=4, granularity=3)


def test_repeated_once():
    """A PE and a row stand once, however large the array is; names have no fields of structs."""
    texts = [emit(SystolicArray(ArrayConfig(rows=size, cols=size)), "array") for size in (2, 8)]
    modules = [set(re.findall(r"^module (\w+)", text, re.MULTILINE)) for text in texts]
    assert modules[0] == modules[1] == {"array", "poblano_pe", "poblano_array_row", "poblano_array_segment"}
    for text in texts:
        assert len(re.findall(r"^module poblano_pe\b", text, re.MULTILINE)) == 1
        assert "significand" not in text
