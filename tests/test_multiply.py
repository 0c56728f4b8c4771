"""The multiplier in carry chains: exact against Python, equal to the operator by proof, and small on an
FPGA."""

import json
import random
import re
import subprocess
import sys

from amaranth.back import rtlil
from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
import pytest

from poblano.formats.multiply import MULTIPLIERS, multiply


class MultiplyAdd(wiring.Component):
    """``o = a * b + addend`` in ``total`` bits; with ``registered``, one cycle later and from registers."""

    def __init__(self, a, b, total, multiplier, registered=False):
        self.multiplier, self.registered = multiplier, registered
        super().__init__(
            {"a": In(signed(a)), "b": In(signed(b)), "addend": In(signed(total)), "o": Out(signed(total))}
        )

    def elaborate(self, platform):
        m = Module()
        a, b = self.a, self.b
        if self.registered:
            a, b = Signal.like(self.a, name="a_held"), Signal.like(self.b, name="b_held")
            m.d.sync += [a.eq(self.a), b.eq(self.b)]
        o = self.addend + multiply(m, a, b, multiplier=self.multiplier)
        m.d["sync" if self.registered else "comb"] += self.o.eq(o)
        return m


def simulate(dut, vectors):
    total = len(dut.o)

    async def bench(ctx):
        for a, b, addend in vectors:
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            ctx.set(dut.addend, addend)
            await ctx.delay(1e-9)
            expected = (a * b + addend + (1 << total - 1)) % (1 << total) - (1 << total - 1)
            assert ctx.get(dut.o) == expected, (a, b, addend)

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()


def span(bits):
    return range(-1 << bits - 1, 1 << bits - 1)


def yosys(text, *commands):
    """What yosys prints for ``commands`` on the RTLIL ``text``."""
    program = (
        "import sys\nfrom pyosys import libyosys\ndesign = libyosys.Design()\n"
        "for command in sys.argv[1:]: libyosys.run_pass(command, design)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *commands], input=text, capture_output=True, text=True
    )
    assert result.returncode == 0, (result.stdout + result.stderr)[-2000:]
    return result.stdout


@pytest.mark.parametrize("multiplier", MULTIPLIERS)
@pytest.mark.parametrize("a", range(2, 6))
@pytest.mark.parametrize("b", range(2, 6))
def test_exhaustive(a, b, multiplier):
    simulate(MultiplyAdd(a, b, a + b, multiplier), [(x, y, 0) for x in span(a) for y in span(b)])


@pytest.mark.slow
def test_exhaustive_8x8():
    simulate(MultiplyAdd(8, 8, 20, "lut"), [(x, y, 0) for x in span(8) for y in span(8)])


@pytest.mark.parametrize("a", range(2, 11))
@pytest.mark.parametrize("b", range(2, 11))
def test_random(a, b):
    rng = random.Random(a * 16 + b)
    corner = lambda bits: rng.choice(
        [-1 << bits - 1, (1 << bits - 1) - 1, -1, 0, 1, rng.choice(span(bits)), rng.choice(span(bits))]
    )
    simulate(
        MultiplyAdd(a, b, a + b + 4, "lut"), [(corner(a), corner(b), corner(a + b + 4)) for _ in range(200)]
    )


@pytest.mark.parametrize("a,b", [(4, 4), (5, 3), (3, 6), (6, 6), pytest.param(8, 8, marks=pytest.mark.slow)])
def test_proof(a, b, tmp_path):
    """SAT: equal to the operator plus the addend for all inputs; each ``b`` separately, because a
    multiplier is hard to prove."""
    texts = [
        rtlil.convert(MultiplyAdd(a, b, a + b + 4, multiplier), name=multiplier) for multiplier in MULTIPLIERS
    ]
    paths = [tmp_path / f"{multiplier}.il" for multiplier in MULTIPLIERS]
    for path, text in zip(paths, texts):
        path.write_text(text)
    out = yosys(
        "",
        *(f"read_rtlil {path}" for path in paths),
        "proc",
        "miter -equiv -flatten -make_outputs dsp lut miter",
        "hierarchy -top miter",
        "opt -full",
        *(f"sat -set in_b {b}'d{n} -prove trigger 0 -verify miter" for n in range(1 << b)),
    )
    assert out.count("SAT proof finished - no model found: SUCCESS!") == 1 << b


def cells(component, flags, tmp_path):
    (tmp_path / "top.il").write_text(rtlil.convert(component, name="top"))
    yosys(
        "",
        f"read_rtlil {tmp_path}/top.il",
        f"synth_ecp5 -top top {flags}",
        f"tee -q -o {tmp_path}/stat.json stat -json",
    )
    text = (tmp_path / "stat.json").read_text()
    return json.loads(text[text.index("{") :])["design"]["num_cells_by_type"]


@pytest.mark.parametrize("bits,bar", [(4, 50), (6, 100), (8, 160), (10, 240)])
def test_luts(bits, bar, tmp_path):
    """LUTs with the addition, two for each CCU2C; the same whether there are DSP blocks or not."""
    dut = MultiplyAdd(bits, bits, 2 * bits + 4, "lut", registered=True)
    without = cells(dut, "-nodsp", tmp_path)
    assert without["LUT4"] + 2 * without["CCU2C"] <= bar
    assert cells(dut, "", tmp_path) == without


def test_dsp(tmp_path):
    found = cells(MultiplyAdd(8, 8, 20, "dsp", registered=True), "", tmp_path)
    assert found["MULT18X18D"] == 1 and found["CCU2C"] <= 10 and "LUT4" not in found


def test_bad_arguments():
    m = Module()
    m._MustUse__used = True
    with pytest.raises(
        ValueError, match=re.escape("operands must be signed and have at least 2 bits, not unsigned(8)")
    ):
        multiply(m, Signal(8), Signal(signed(8)))
    with pytest.raises(ValueError, match=re.escape("at least 2 bits, not signed(1)")):
        multiply(m, Signal(signed(8)), Signal(signed(1)))
    with pytest.raises(ValueError, match="multiplier must be one of dsp, lut, not 'booth'"):
        multiply(m, Signal(signed(8)), Signal(signed(8)), multiplier="booth")
