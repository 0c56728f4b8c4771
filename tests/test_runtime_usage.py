"""Where cycles went: of programs and events made up here, and of a product on the RTL."""

from dataclasses import replace
import re

import numpy as np
import pytest

from poblano.config import preset
from poblano.isa.topology import UnitKind
from poblano_host.assembler import assemble
from poblano_host.compiler import LayerWork, Program
from poblano_host.compiler.template import Template
from poblano_host.runtime.report import (
    COLOURS,
    Run,
    phase_uses,
    stall_fractions,
    summarise,
    unit_rows,
    write_report,
)
from poblano_host.runtime.result import RunResult
from poblano_host.runtime.usage import PhaseUse, phase_use, unit_uses
from poblano_host.sim.simulation import EVENT

CONFIG = preset("nano")
DMA, STREAM, MATMUL, VECTOR = range(4)
TEXT = """
dma NOP
tile0.stream NOP wait dma>=1
tile0.vector NOP wait dma>=1
tile0.matmul NOP wait tile0.vector>=1, dma>=1
tile0.vector NOP wait tile0.matmul>=1
dma NOP wait tile0.vector>=2
"""
TIMES = [(DMA, 0, 10), (STREAM, 12, 40), (VECTOR, 12, 20), (MATMUL, 24, 64), (VECTOR, 70, 80), (DMA, 80, 90)]
"""In which cycles each command is in progress."""
COUNTERS = {DMA: (20, 5, 0), STREAM: (28, 7, 14), MATMUL: (40, 10, 4), VECTOR: (18, 0, 0)}


def run(phase="prefill", samples=()):
    commands = assemble(TEXT)
    words = np.frombuffer(b"".join(c.encode() for c in commands), np.uint64).reshape(-1, 8)
    template = Template.constant(words, [(None, f"command {n}") for n in range(len(commands))])
    times = [(at, unit, done) for unit, start, end in TIMES for at, done in ((start, 0), (end - 1, 1))]
    result = RunResult(
        commands=len(commands),
        seconds=1.0,
        cycles=100,
        bytes_read=100,
        counters={
            unit: dict(zip(("BUSY", "STALL_IN", "STALL_OUT"), counts)) for unit, counts in COUNTERS.items()
        },
        events=np.array(sorted(times), EVENT),
        samples=list(samples),
    )
    return Run(
        phase, 1, Program(template.bind({}), count_work=lambda: [LayerWork("layer", 160, 100)]), result
    )


def test_units():
    uses = unit_uses([run(), run()], CONFIG)
    matmul, vector, dma = uses[MATMUL], uses[VECTOR], uses[DMA]
    assert (matmul.working, matmul.input, matmul.output) == (0.26, 0.1, 0.04)
    # It waited for the vector unit until cycle 20, and was given the command 4 cycles later.
    assert matmul.waiting == {UnitKind.VECTOR: 0.2} and matmul.idle == pytest.approx(0.4)
    assert vector.waiting == {UnitKind.MATMUL: 0.44, UnitKind.DMA: 0.1}
    assert dma.waiting == {UnitKind.VECTOR: 0.7}
    for use in uses:
        assert use.working + use.input + use.output + use.idle + sum(use.waiting.values()) == pytest.approx(1)
    assert unit_rows([run()], CONFIG)[MATMUL] == (
        "tile0.matmul",
        "26.0%",
        "10.0%",
        "4.0%",
        "40.0%",
        "vector 20.0%",
    )
    golden = replace(run(), result=RunResult(commands=6, seconds=1.0))
    assert unit_uses([golden], CONFIG) == [] and phase_uses([golden], CONFIG) == []


def test_phases():
    first, second = phase_uses([run(), run("decode"), run("decode")], CONFIG)
    assert (first.phase, second.phase) == ("prefill", "decode") and replace(second, phase="prefill") == first
    parts = (first.arrays, first.weights, first.results, first.vector, first.transfers, first.nothing)
    # A MATMUL in 40 cycles; only a VECTOR in 18; only a transfer in 20 and from 20 to 24.
    assert parts == pytest.approx((0.26, 0.1, 0.04, 0.18, 0.24, 0.18))
    assert (first.memory, first.macs) == (0.4, 0.1)
    assert first.sentences == (
        "prefill is limited mostly by the arrays: they work in 26% of the cycles. Of the cycles the "
        "arrays work in 26.0%, wait for weights in 10.0% and to write results in 4.0%; only vector units"
        " work in 18.0%, only transfers are under way in 24.0%, and every command waits in 18.0%. Memory"
        " moves 40.0% of what it can, and the arrays do 10.0% of the multiply-accumulates that they can:"
        " they also work while weights enter them, which takes as long for one token as for many, and on"
        " rows and columns that are padding."
    )


@pytest.mark.parametrize(
    "changes, limit",
    [
        (dict(arrays=0.9, memory=0.8), "the arrays"),
        (dict(arrays=0.6, memory=0.95), "memory"),
        (dict(arrays=0.2, weights=0.6, memory=0.4), "memory's latency"),
        (dict(arrays=0.2, results=0.6), "the writing of results"),
        (dict(arrays=0.2, vector=0.6), "the vector units"),
        (dict(arrays=0.2, transfers=0.6), "transfers"),
        (dict(arrays=0.2, nothing=0.6), "dependencies"),
    ],
)
def test_limits(changes, limit):
    names = ("arrays", "weights", "results", "vector", "transfers", "nothing", "memory", "macs")
    use = PhaseUse(phase="decode", **dict.fromkeys(names, 0.05) | changes)
    assert use.limit[0] == limit and use.sentences.startswith(f"decode is limited by {limit}: ")


def test_stalls_over_time():
    """As fine as the samples: all of the matmul unit's lost cycles are in the first half."""
    half = np.zeros((4, 3))
    half[MATMUL] = (20, 10, 4)
    lost = stall_fractions([run(samples=[(50, half)])], 4, 4)
    np.testing.assert_allclose(lost[MATMUL], [(0.5, 0.2)] * 2 + [(0, 0)] * 2)
    np.testing.assert_allclose(stall_fractions([run()], 4, 4)[MATMUL], [(0.25, 0.1)] * 4)


def test_page(tmp_path):
    write_report(tmp_path / "r.html", "title", [run()], CONFIG)
    page = (tmp_path / "r.html").read_text()
    assert "prefill is limited mostly by the arrays" in page and "<h2>What the units did</h2>" in page
    assert "stream: waits for input when memory has not answered; its output is not taken when the w" in page
    assert len(COLOURS) == 4


def test_on_the_rtl(poblano, tmp_path):
    """A product's report: the figures agree with each other, and sampling the counters changes no cycle."""
    generator = np.random.default_rng(1)
    for name, shape in (("a", (12, 64)), ("b", (64, 24))):
        np.save(tmp_path / f"{name}.npy", generator.normal(size=shape).astype(np.float32))
    command = ["matmul", tmp_path / "a.npy", tmp_path / "b.npy", "--preset", "nano"]
    report, trace = tmp_path / "r.html", tmp_path / "t.json"
    outputs = "--report", report, "--trace", trace, "--json", tmp_path / "f.json", "-o", tmp_path / "c.npy"
    status, out, error = poblano(*command, *outputs)
    assert status == 0
    for path in (report, trace, tmp_path / "f.json", tmp_path / "c.npy"):
        assert f"wrote {path}: " in error
    assert "in which a microsecond is a cycle" in error
    cycles = lambda text: re.search(r"│ cycles +│ +([\d,]+) │", text)[1]
    assert cycles(out) == cycles(poblano(*command)[1])
    assert re.search(r"^matmul is limited (mostly )?by ", out, re.MULTILINE)
    rows = re.findall(
        r"│ (?:dma|tile0\.\w+) +│ +([\d.]+)% │ +([\d.]+)% │ +([\d.]+)% │ +([\d.]+)% │ (.*?) │", out
    )
    assert len(rows) == CONFIG.units
    for *parts, waits in rows:
        shares = [*map(float, parts), *map(float, re.findall(r"([\d.]+)%", waits))]
        assert sum(shares) == pytest.approx(100, abs=0.5)
    assert phase_use("matmul", [], summarise([], CONFIG), CONFIG) is None
