"""The command line: what it prints and writes, and one clear line for bad input."""

from dataclasses import replace
from fractions import Fraction
import json
import os
from pathlib import Path
import re
import subprocess
import sys

import numpy as np
import pytest

from poblano.config import PRESETS, preset
from poblano.formats.element import FORMATS
from poblano.isa.commands import ErrorCode
from poblano_cli import options
from poblano_cli.display import Display
from poblano_flows.formats_table import width_table
from poblano_host.models import load_model
from poblano_host.models.gguf import export_gguf, load_gguf
from poblano_host.runtime.backend import BACKENDS, GoldenBackend
from poblano_host.runtime.errors import ChipError
from poblano_host.runtime.result import RunResult
from poblano_host.runtime.session import Step
from tests.chat_templates import TEMPLATES
from tests.models_text import scored_pieces, write_gguf


def fails(result, message, code=2):
    """One line on standard error, no trace back."""
    status, _, error = result
    lines = [line for line in error.splitlines() if line.startswith("poblano: ")]
    assert status == code and len(lines) == 1 and "Traceback" not in error
    assert error.splitlines()[-1] == lines[0] and re.search(message, lines[0]), lines[0]


def test_run_golden(poblano, tmp_path):
    figures = tmp_path / "figures.json"
    status, out, error = poblano(
        "run", "--backend", "golden", "--prompt", "And the LORD spake unto", "--tokens", 5, "--json", figures
    )
    assert status == 0
    content = json.loads(figures.read_text())
    assert content["text"] in out and content["text"].startswith(" Moses")
    assert len(content["tokens"]) == 5 and content["model"] == "poblano-1m" and content["preset"] == "desk"
    assert content["prompt"] == "And the LORD spake unto" and content["bit_exact"] is None
    wanted = {"cycles", "roofline_cycles", "roofline_fraction", "array_utilisation", "bytes_read", "seconds"}
    assert wanted <= content["prefill"].keys() & content["decode"].keys()
    assert content["prefill"]["tokens"] == content["prompt_tokens"] and content["decode"]["tokens"] == 4
    assert "fraction of the roofline" in out and "prefill" in out
    assert "decode: 1 token at" in error


@pytest.mark.slow
def test_run_experts(poblano, tmp_path):
    """A mixture of experts, on the preset that routes them: RTL and golden chip agree; on another a line says
    which does."""
    figures = tmp_path / "figures.json"
    moe = ["run", "--model", "moe", "--prompt", "And the LORD"]
    status, _, error = poblano(*moe, "--tokens", 3, "--check", "--json", figures)
    assert status == 0, error
    content = json.loads(figures.read_text())
    assert content["preset"] == "desk-moe" and content["bit_exact"] and len(content["tokens"]) == 3
    assert all(0 < content[phase]["roofline_fraction"] < 1 for phase in ("prefill", "decode"))
    fails(poblano(*moe, "--preset", "desk"), "routes no experts; the preset desk-moe does")


def test_sampling(poblano):
    command = ["run", "--backend", "golden", "--tokens", 3, "--temperature", 3]
    first = lambda *more: poblano(*command, *more)[1].splitlines()[0]
    assert first("--seed", 1) == first("--seed", 1) != first("--seed", 2)
    fails(poblano(*command, "--temperature", -1), "temperature must be at least 0, not -1")


def test_bad_input(poblano, tmp_path, monkeypatch):
    golden = "run", "--backend", "golden"
    fails(poblano(*golden, "--prompt", ""), "the prompt is empty$")
    fails(poblano(*golden, "--prompt", " \n"), "the prompt is empty$")
    fails(
        poblano(*golden, "--prompt", "word " * 300),
        r"the prompt has \d+ tokens; the context of poblano-1m is 256$",
    )
    fails(
        poblano(*golden, "--preset", "desktop"),
        f"unknown preset 'desktop'; the presets are {', '.join(PRESETS)}$",
    )
    fails(
        poblano(*golden, "--model", "none"),
        "none: no model; give default, moe, smollm2, a .gguf file or a directory",
    )
    fails(poblano(*golden, "--model", tmp_path / "none.gguf"), "none.gguf: no such file$")
    fails(
        poblano(*golden, "--bandwidth", "fast"),
        "memory bandwidth must be a number or a fraction like 20 or 5/2, not 'fast'",
    )
    fails(
        poblano(*golden, "--bandwidth", "33"),
        "memory bandwidth must be above 0 and at most 32 bytes per cycle, not 33",
    )
    fails(poblano(*golden, "--latency", "0"), "memory latency must be at least 1 cycle, not 0")
    fails(poblano(*golden, "--json", tmp_path / "none" / "x.json"), "x.json: its folder does not exist$")
    for folder in (tmp_path, ".", ""):
        fails(poblano(*golden, "--json", folder), f"{folder or '.'}: it is a folder, not a file$")
    fails(poblano("run", "--backend", "fpga"), "unknown backend 'fpga'; there are sim, golden$")
    fails(poblano("run", "--report", tmp_path / "x.pdf"), "x.pdf: a report is an .html or a .png file$")
    fails(
        poblano(*golden, "--check"),
        "the golden model has no cycles: --trace, --report and --check need --backend sim$",
    )
    assert poblano("run", "--tokens", "0")[0] == poblano("walk")[0] == poblano("run", "--tokens", "x")[0] == 2
    nano = preset("nano")
    monkeypatch.setattr(options, "preset", lambda name: replace(nano, tile=replace(nano.tile, vmem_lines=64)))
    fails(
        poblano(*golden),
        "poblano-1m: a step of 1 token needs vector memory of at least [0-9]+ lines; there are 64$",
    )


def test_bad_models(poblano, tmp_path):
    path = tmp_path / "model.gguf"
    export_gguf(load_model("default"), path)
    data = path.read_bytes()
    run = lambda content: (
        path.write_bytes(content),
        poblano("run", "--backend", "golden", "--tokens", 1, "--model", path),
    )[1]
    assert run(data)[0] == 0
    fails(run(data[: len(data) // 2]), "model.gguf: truncated or corrupt GGUF")
    fails(run(data[:100]), "model.gguf: truncated or corrupt GGUF")
    fails(run(b"not a model"), "model.gguf: truncated or corrupt GGUF")
    name = b"\x05\0\0\0\0\0\0\0llama"
    fails(
        run(data.replace(name, name[:-5] + b"mamba")),
        "model.gguf: unknown architecture 'mamba'; known are llama",
    )


def test_options_that_are_no_numbers(poblano):
    golden = "run", "--backend", "golden", "--tokens", 2
    for bandwidth in ("1e999999", "9" * 5000, "1/0", "nan", "1" * 20):
        fails(poblano(*golden, "--bandwidth", bandwidth), "memory bandwidth must be a number or a fraction")
    fails(poblano(*golden, "--temperature", "nan"), "the temperature must be at least 0, not nan$")
    best = poblano(*golden)[1].splitlines()[0]
    status, out, error = poblano(*golden, "--temperature", "1e-320")
    assert status == 0 and out.splitlines()[0] == best and "Warning" not in error


def test_prompt_that_is_no_text(poblano):
    fails(
        poblano("run", "--backend", "golden", "--prompt", "caf\udcff"),
        "the prompt is not UTF-8: byte 0xff behind 3 characters$",
    )


def test_interrupted(poblano, tmp_path, monkeypatch):
    """Ctrl-C says so, and the figures of what is done are written."""

    class Interrupted(GoldenBackend):
        runs = 0

        def run(self, commands, *, progress=None):
            Interrupted.runs += 1
            if Interrupted.runs == 4:
                raise KeyboardInterrupt
            return super().run(commands, progress=progress)

    monkeypatch.setitem(BACKENDS, "golden", Interrupted)
    figures = tmp_path / "figures.json"
    fails(poblano("run", "--backend", "golden", "--json", figures), "interrupted$", 130)
    content = json.loads(figures.read_text())
    assert len(content["tokens"]) == 3 and content["decode"]["tokens"] == 2 and content["bit_exact"] is None


def command(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "poblano_cli.main", *arguments],
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        **options,
    )


def test_closed_output():
    """Closed before: as if it went nowhere. Closed by its reader: a line."""
    process = command("presets", preexec_fn=lambda: os.close(1))
    assert (process.communicate()[1], process.returncode) == (b"", 0)
    read, write = os.pipe()
    os.close(read)
    process = command("presets", stdout=write)
    os.close(write)
    assert (process.communicate()[1], process.returncode) == (b"poblano: standard output is closed\n", 141)


def test_chat_template(poblano, tmp_path):
    """The prompt is a turn of the model's own template; raw it is as it is."""
    path = write_gguf(tmp_path / "chat.gguf", scored_pieces(), template=TEMPLATES["llama2"])
    tokenizer = load_gguf(path).tokenizer

    def prompt_tokens(*more):
        run = ("run", "--backend", "golden", "--model", path, "--prompt", "Hello", "--tokens", 1)
        assert poblano(*run, "--json", tmp_path / "figures.json", *more)[0] == 0
        return json.loads((tmp_path / "figures.json").read_text())["prompt_tokens"]

    assert prompt_tokens() == len(tokenizer.encode("<s>[INST] Hello [/INST]"))
    assert prompt_tokens("--raw") == 1 + len(tokenizer.encode("Hello"))
    path = write_gguf(path, scored_pieces(), template="{{ raise_exception('not me') }}")
    fails(
        poblano("run", "--backend", "golden", "--model", path, "--prompt", "Hello"),
        "tiny: its chat template fails: not me$",
    )


def test_chip_errors(poblano, monkeypatch):
    """A chip that fails, or differs from the golden model, has its own exit code."""

    class Failing(GoldenBackend):
        def run(self, commands, *, progress=None):
            raise ChipError(ErrorCode.AXI_READ, 0, 0, bytes([1]) + bytes(63))

    class Differing(GoldenBackend):
        def run(self, commands, *, progress=None):
            result = super().run(commands, progress=progress)
            self.memory[:4096] ^= 1
            return result

    monkeypatch.setitem(BACKENDS, "sim", Failing)
    fails(
        poblano("run"),
        r"chip error AXI_READ \(memory answered a read with an error\) at command 0 \(dma\): dma LOAD",
        3,
    )
    monkeypatch.setitem(BACKENDS, "sim", Differing)
    fails(poblano("run", "--check"), "positions 0 on: memory differs from the golden model's", 1)


def test_matmul(poblano, tmp_path):
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=(5, 40)).astype(np.float32), generator.normal(size=(40, 7))
    paths = [tmp_path / f"{name}.npy" for name in "abc"]
    np.save(paths[0], a)
    np.save(paths[1], b)
    figures = tmp_path / "figures.json"
    status, out, _ = poblano(
        "matmul", *paths[:2], "-o", paths[2], "--golden", "--format", "q4_1", "--tiles", 3, "--json", figures
    )
    assert status == 0 and "(5, 40) times (40, 7) in q4_1 on desk with 3 tiles" in out
    product = np.load(paths[2])
    assert product.shape == (5, 7) and product.dtype == np.float32 and np.abs(product - a @ b).max() < 2.5
    content = json.loads(figures.read_text())
    assert content["macs"] == 5 * 40 * 7 and content["backend"] == "golden" and content["format"] == "q4_1"

    golden = lambda *arguments: poblano("matmul", *arguments, "--golden")
    fails(golden(paths[0], paths[0]), r"can't multiply shapes \(5, 40\) and \(5, 40\)")
    fails(golden(*paths[:2], "--format", "q5_k"), "unknown format 'q5_k'")
    fails(golden(*paths[:2], "--tiles", 0), "tiles must be 1 to 32, not 0")
    fails(golden(paths[0], tmp_path / "none.npy"), "none.npy: No such file or directory$")
    fails(golden(*paths[:2], "--trace", tmp_path / "t.json"), "the golden model has no cycles")
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    fails(golden(paths[0], tmp_path / "bad.npy"), "bad.npy: not a .npy file")
    np.save(tmp_path / "text.npy", np.array(["a"]))
    fails(golden(paths[0], tmp_path / "text.npy"), "text.npy: not a real array in a .npy file$")


def test_formats(poblano, tmp_path):
    status, out, _ = poblano("formats", "--model", "default", "--json", tmp_path / "formats.json")
    assert status == 0
    figures = json.loads((tmp_path / "formats.json").read_text())
    rows = {row["name"]: row for row in figures["formats"]}
    assert (
        list(rows) == list(FORMATS)
        and all(name in out for name in FORMATS)
        and "poblano-1m, blk.2.ffn_up" in out
    )
    assert rows["mxfp8_e4m3"]["largest"] == 448 and rows["mxfp4_e2m1"]["sum_width"] == 14
    assert (
        rows["int8"]["error"]
        < rows["mxint8"]["error"]
        < 0.02
        < rows["mxfp8_e4m3"]["error"]
        < 0.06
        < rows["mxfp4_e2m1"]["error"]
        < 0.3
    )
    assert figures["sum_widths"]["MXFP8_E5M2"]["E5M2"] == 70
    assert width_table() in (Path(__file__).parents[1] / "docs/formats.md").read_text()


def test_formats_of_a_product(poblano, tmp_path):
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(5, 64)), generator.normal(size=(64, 33))
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b)
    product = (
        "matmul",
        tmp_path / "a.npy",
        tmp_path / "b.npy",
        "--golden",
        "-o",
        tmp_path / "c.npy",
        "--format",
        "mxfp8_e4m3",
    )
    assert poblano(*product, "--activations", "mxfp8_e4m3", "--formats", "int8,mxfp8_e4m3")[0] == 0
    error = np.load(tmp_path / "c.npy") - a @ b
    assert 0 < np.square(error).mean() < 0.01 * np.square(a @ b).mean()
    fails(poblano(*product), "this array has no E4M3 weights; it has INT8, INT4, UINT4$")
    fails(
        poblano(*product, "--formats", "mxfp9"), "unknown format 'mxfp9'; the formats are int8, int4, mxint8"
    )


def test_formats_of_a_model(poblano):
    run = ("run", "--backend", "golden", "--tokens", 3, "--prompt", "And God said", "--formats", "mxfp8_e4m3")
    assert poblano(*run, "--weights", "mxfp8_e4m3")[0] == 0
    fails(poblano(*run, "--weights", "fp8"), "unknown format 'fp8'; known are q8_0, q4_0, q4_1, mxint8")
    fails(poblano(*run, "--activations", "int8"), "this array has no INT8 activations; it has MXFP8_E4M3$")


def test_presets(poblano):
    status, out, _ = poblano("presets")
    assert status == 0 and all(name in out for name in PRESETS)


def test_assembler(poblano, tmp_path):
    source, binary = tmp_path / "program.asm", tmp_path / "program.bin"
    text = "dma LOAD mem_addr=0x1000 rows=1 lines=2 tiles=0x1\ntile0.vector NOP wait dma>=1\n"
    source.write_text(text)
    assert poblano("asm", source, "-o", binary)[0] == 0 and binary.stat().st_size == 128
    status, out, _ = poblano("disasm", binary)
    assert (status, out) == (0, text)
    source.write_text(text + "dma JUMP\n")
    fails(poblano("asm", source, "-o", binary), "program.asm: line 3: unknown opcode 'JUMP'")
    binary.write_bytes(bytes(63))
    fails(poblano("disasm", binary), "program.bin: 63 bytes are no whole number of commands")
    binary.write_bytes(b"\xff" * 64)
    fails(poblano("disasm", binary), "program.bin: command 0: unknown opcode 0xff")
    fails(poblano("disasm", tmp_path / "none"), "none: No such file or directory$")


class Run:
    """What a display asks a :class:`Progress`."""

    def __init__(self, fraction=0.0, elapsed=0.0, left=None):
        self.fraction, self.elapsed, self.left = fraction, elapsed, left

    def update(self, *arguments):
        self.elapsed += 100
        self.left = 1000 - self.elapsed
        self.fraction = self.elapsed / 1000

    def step_done(self, step):
        pass


def step(phase, cycles):
    return Step(phase, 7, 1, None, RunResult(commands=1, seconds=0.1, cycles=cycles), 3)


def test_terminal(monkeypatch, capfd):
    """On a terminal, text and progress bar do not mix: the text is printed when all is done."""
    master, slave = os.openpty()
    monkeypatch.setattr(sys, "stdout", os.fdopen(slave, "w"))
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    monkeypatch.setenv("COLUMNS", "150")
    display = Display(Fraction(800))
    with display.running():
        display.note("compiling")
        display.run = Run()
        display.progress("prefill", None, 3, 1000)
        display.write("In the beginning")
        display.step(step("decode", 4_000_000))
        display.progress("decode", None, 3, 1000)
        display.bar.refresh()
        task = display.bar.tasks[0]
        assert task.completed == 0.2 and not task.finished
        display.write(" was\nthe word")
    sys.stdout.flush()
    os.set_blocking(master, False)
    shown = ""
    while True:
        try:
            shown += os.read(master, 1 << 16).decode()
        except BlockingIOError:
            break
    assert "In the beginning was\r\nthe word\r\n" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "In the beginning [decode]" in plain
    assert re.search(r" 20% \d+:\d\d:\d\d 13:20 left 200\.0 tokens/s at 800 MHz", plain), plain


def test_lines_of_progress(capfd):
    """Elsewhere there is a line for each tenth of the run in the prompt, and one for each step."""
    display = Display()
    display.run = Run(elapsed=150.0)
    with display.running():
        for _ in range(3):
            display.progress("prefill", None, 3, 1000)
        display.progress("decode", None, 3, 1000)
        display.step(step("prefill", 1000))
    lines = capfd.readouterr().err.splitlines()
    assert lines == [
        "prefill: 20 % of the run, 4:10, 12:30 left",
        "prefill: 30 % of the run, 5:50, 10:50 left",
        "prefill: 40 % of the run, 7:30, 9:10 left",
        "prefill: 1 token at 7, 1,000 cycles, 0.1 s",
    ]


@pytest.mark.slow
def test_run_simulated(poblano, tmp_path):
    """The default model on the RTL of desk, beside the golden model, with all that it writes."""
    figures, trace, report = (tmp_path / name for name in ("figures.json", "trace.json", "report.html"))
    status, out, _ = poblano(
        "run", "--tokens", 4, "--check", "--json", figures, "--trace", trace, "--report", report
    )
    content = json.loads(figures.read_text())
    assert status == 0 and content["bit_exact"] is True and "bit-exact" in out
    status, golden, _ = poblano("run", "--backend", "golden", "--tokens", 4)
    assert golden.startswith(content["text"])
    for phase in ("prefill", "decode"):
        assert 0 < content[phase]["roofline_fraction"] <= 1 and content[phase]["cycles_per_second"] > 0
        assert content[phase]["roofline_cycles"] <= content[phase]["cycles"]
    assert len(json.loads(trace.read_text())["traceEvents"]) > 1000
    assert report.read_text().count("data:image/png") == 2


@pytest.mark.slow
def test_matmul_simulated(poblano, tmp_path):
    generator = np.random.default_rng(4)
    paths = [tmp_path / f"{name}.npy" for name in "abcd"]
    np.save(paths[0], generator.normal(size=(20, 96)))
    np.save(paths[1], generator.normal(size=(96, 80)))
    assert (
        poblano(
            "matmul",
            *paths[:2],
            "-o",
            paths[2],
            "--trace",
            tmp_path / "trace.json",
            "--report",
            tmp_path / "plot.png",
        )[0]
        == 0
    )
    assert poblano("matmul", *paths[:2], "-o", paths[3], "--golden")[0] == 0
    np.testing.assert_array_equal(np.load(paths[2]), np.load(paths[3]))
