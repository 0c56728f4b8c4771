"""Timelines, figures and plots of runs: from programs and events made up here, whose figures are known."""

from dataclasses import replace
import json

import numpy as np
import pytest

from poblano.config import ConfigError, preset
from poblano.isa.commands import Command, Opcode
from poblano_host.compiler import LayerWork, Program
from poblano_host.compiler.template import Template
from poblano_host.runtime.report import (
    Run,
    busy_fractions,
    layer_times,
    roofline_cycles,
    summarise,
    summary_rows,
    write_report,
)
from poblano_host.runtime.result import RunResult
from poblano_host.runtime.timeline import slices, trace_events, write_timeline
from poblano_host.sim.simulation import EVENT

CONFIG = preset("desk").with_axi_ports(bandwidth=20)  # 512 MAC per cycle


def command(unit, label=""):
    return Command(Opcode.NOP, unit, {}, (), label)


COMMANDS = [
    command(1, "layer0.weights"),
    command(2, "layer0.q"),
    command(1, "output.weights"),
    command(3, "layer0.norm"),
    command(2, "output"),
]
EVENTS = np.array(
    [
        (0, 1, 0),
        (5, 2, 0),
        (8, 1, 0),
        (9, 1, 1),
        (39, 2, 1),
        (40, 3, 0),
        (59, 1, 1),
        (59, 3, 1),
        (60, 2, 0),
        (99, 2, 1),
    ],
    EVENT,
)
WORK = [LayerWork("layer0", 512 * 30, 400, 100), LayerWork("output", 512 * 10, 700)]


def run(phase, tokens, cycles=100):
    counters = {unit: dict(COMPLETED=1, BUSY=50, STALL_IN=10, STALL_OUT=5) for unit in range(CONFIG.units)}
    result = RunResult(
        commands=5,
        seconds=0.5,
        cycles=cycles,
        bytes_read=1200,
        bytes_written=300,
        counters=counters,
        events=EVENTS,
    )
    words = np.frombuffer(b"".join(c.encode() for c in COMMANDS), np.uint64).reshape(-1, 8)
    template = Template.constant(words, [(None, c.label) for c in COMMANDS])
    return Run(phase, tokens, Program(template.bind({}), count_work=lambda: WORK), result)


def test_slices():
    found = [tuple(row) for row in slices(COMMANDS, EVENTS).tolist()]
    # A stream that began while the one before it ended starts where that one ends.
    assert found == [(0, 1, 0, 10), (1, 2, 5, 40), (2, 1, 10, 60), (3, 3, 40, 60), (4, 2, 60, 100)]
    assert len(slices(COMMANDS, EVENTS[:5])) == 2  # the others have not completed
    assert len(slices([], EVENTS[:0])) == 0


def test_timeline(tmp_path):
    path = tmp_path / "trace.json"
    runs = [("prefill 0", COMMANDS, EVENTS, 100), ("decode 1", COMMANDS, EVENTS, 100)]
    write_timeline(path, runs)
    content = json.loads(path.read_text())["traceEvents"]
    assert content == trace_events(runs)
    threads = {event["tid"]: event["args"]["name"] for event in content if event["name"] == "thread_name"}
    assert threads == {0: "program", 2: "tile0.stream", 3: "tile0.matmul", 4: "tile0.vector"}
    parts = [
        (event["tid"], event["name"], event["ts"], event["dur"]) for event in content if event["ph"] == "X"
    ]
    assert len(parts) == 12 and parts[0] == (0, "prefill 0", 0, 100) and parts[6] == (0, "decode 1", 100, 100)
    assert parts[2] == (3, "layer0.q", 5, 35) and parts[8] == (3, "layer0.q", 105, 35)


def test_summary():
    assert [roofline_cycles(work, CONFIG) for work in WORK] == [30, 35]
    summary = summarise([run("decode", 1), run("decode", 1)], CONFIG)
    assert (
        summary.tokens,
        summary.steps,
        summary.cycles,
        summary.roofline_cycles,
        summary.cycles_per_token,
    ) == (2, 2, 200, 130, 100)
    assert (summary.roofline_fraction, summary.array_utilisation, summary.vector_utilisation) == (
        0.65,
        0.4,
        0.35,
    )
    assert summary.memory_utilisation == 3000 / (20 * 200) and summary.cycles_per_second == 200
    figures = summary.as_json()
    assert figures["cycles"] == 200 and figures["bytes_read"] == 2400 and json.dumps(figures)
    nothing = summarise([], CONFIG)
    assert nothing.roofline_fraction is None and nothing.cycles_per_token is None
    rows = {name: values for name, *values in summary_rows([summary, nothing])}
    assert rows["fraction of the roofline"] == ["65.0%", "-"] and rows["cycles"] == ["200", "0"]


def test_layers():
    layers = layer_times([run("prefill", 8), run("decode", 1), run("decode", 1)])
    assert [(layer.name, layer.macs, layer.bytes, layer.cycles) for layer in layers["decode"]] == [
        ("layer0", 2 * 512 * 30, 1000, 120),
        ("output", 2 * 512 * 10, 1400, 80),
    ]
    assert sum(layer.cycles for layer in layers["prefill"]) == 100


def test_experts_that_got_rows():
    """Of two layers with 4 experts each 6 got rows together: each layer reads 3, whatever it could."""
    works = [
        LayerWork(name, 0, 100 + 4 * 60, 10, experts=4, expert_bytes=60) for name in ("layer0", "layer1")
    ]
    works.append(LayerWork("output", 0, 700))
    some = run("prefill", 2)
    found = lambda experts: replace(
        some,
        program=Program(some.program.code, count_work=lambda: works),
        result=replace(some.result, experts=experts),
    )
    assert [work.weight_bytes for work in found(6).work] == [100 + 3 * 60] * 2 + [700]
    assert found(8).work == found(None).work == works
    assert summarise([found(6)], CONFIG).roofline_cycles == (2 * (100 + 3 * 60 + 10) + 700) / 20


def test_busy_fractions():
    busy = busy_fractions([run("prefill", 8), run("decode", 1)], CONFIG.units, 20)
    assert busy.shape == (CONFIG.units, 20)
    np.testing.assert_allclose(busy[3], 2 * ([0] * 4 + [1] * 2 + [0] * 4), atol=1e-9)
    np.testing.assert_allclose(busy[2], 2 * ([0.5] + [1] * 3 + [0] * 2 + [1] * 4), atol=1e-9)
    assert not busy[4:].any()


def test_report(tmp_path):
    runs = [run("prefill", 8), run("decode", 1)]
    notes = ["3 matrices of F32 are quantised to q8_0"]
    write_report(tmp_path / "report.html", "a <model>", runs, CONFIG, text="text & more", notes=notes)
    assert f"<p>{notes[0]}</p>" in (tmp_path / "report.html").read_text()
    page = (tmp_path / "report.html").read_text()
    assert (
        page.count("data:image/png;base64,") == 2 and "a &lt;model&gt;" in page and "text &amp; more" in page
    )
    assert "65.0%" in page and "http" not in page
    write_report(tmp_path / "report.png", "a model", runs, CONFIG)
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"report.pdf: a report is an .html or a .png file"):
        write_report(tmp_path / "report.pdf", "a model", runs, CONFIG)
