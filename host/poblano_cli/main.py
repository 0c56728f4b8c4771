"""The command ``poblano``: run a model or a matrix product on the chip, list presets, assemble and
disassemble programs."""

from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
import json
import os
from pathlib import Path
import sys
import time

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
import typer

from poblano.config import PRESETS, ConfigError, preset
from poblano.isa.commands import CommandError
from poblano_flows.area import area
from poblano_flows.asic.command import asic
from poblano_flows.asic.tools import AsicError
from poblano_flows.export import verilog
from poblano_flows.formats_table import formats
from poblano_fpga.command import fpga, matmul_on_board
from poblano_fpga.errors import BoardError
from poblano_fpga.on_board import OnBoard
from poblano_host.assembler import AssemblyError, assemble, disassemble
from poblano_host.compiler import CompileError, MatmulJob
from poblano_host.golden.chip import GoldenError
from poblano_host.models import ModelError, load_model, quantise_model
from poblano_host.runtime.backend import open_backend, run_job
from poblano_host.runtime.errors import ChipError, DeviceError, Mismatch, OverlayError
from poblano_host.runtime.report import Run, check_report_path, summarise, summary_rows, write_report
from poblano_host.runtime.sampler import Sampler
from poblano_host.runtime.session import Session
from poblano_host.runtime.timeline import write_timeline
from poblano_host.serial.bridge import BridgeError
from poblano_host.sim.errors import SimulationError

__all__ = ["app", "main"]

BAD_INPUT, CHIP_FAILED, DIFFERENT = 2, 3, 1
"""Exit codes: what the user gave can't be used; the chip or its simulation failed; the chip differs from
the golden model."""

FAILURES = (
    ChipError,
    DeviceError,
    OverlayError,
    SimulationError,
    GoldenError,
    AsicError,
    BoardError,
    BridgeError,
)

WIDTH = 150
"""Columns of a table that goes to a file."""

DEFAULT_PROMPT = "And God said unto Moses,"

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Run language models on Poblano, an open inference chip, in simulation.",
)


def main():
    """The console script."""
    try:
        app()
    except (ModelError, CompileError, ConfigError, AssemblyError, CommandError) as error:
        _leave(error, BAD_INPUT)
    except OSError as error:
        _leave(f"{error.filename}: {error.strerror}" if error.filename else error, BAD_INPUT)
    except (
        ChipError,
        DeviceError,
        OverlayError,
        SimulationError,
        GoldenError,
        AsicError,
        BoardError,
        BridgeError,
    ) as error:
        _leave(error, CHIP_FAILED)
    except Mismatch as error:
        _leave(error, DIFFERENT)
    except KeyboardInterrupt:
        _leave("interrupted", 130)


def _leave(error, code):
    print(f"poblano: {error}", file=sys.stderr)
    sys.exit(code)


def _same_output():
    """Whether standard output and error go to the same file."""
    try:
        return os.path.sameopenfile(1, 2)
    except OSError:
        return False


class _Display:
    """Tokens on standard output as they come; progress on standard error: a bar on a terminal, lines
    elsewhere.

    Where both are one terminal, the text is shown above the bar, and printed when all is done.
    """

    def __init__(self):
        self.console = Console(stderr=True, highlight=False)
        self.together = sys.stdout.isatty() and self.console.is_terminal
        self.bar = None
        self.text = ""
        self.begun, self.before = None, 0

    @contextmanager
    def running(self):
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("commands"),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
        )
        with Progress(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal
        ) as self.bar:
            self.task = self.bar.add_task("starting", total=None, speed="")
            try:
                yield self
            finally:
                self.bar.stop()
                self.bar = None
                if self.together:
                    print(self.text)
                else:
                    print(flush=True)

    def note(self, line):
        """A line about a slow step."""
        if self.console.is_terminal and self.bar is not None:
            self.bar.update(self.task, description=line, total=None)
        else:
            print(line, file=sys.stderr, flush=True)

    def progress(self, phase, completed, total, cycles):
        if self.bar is None or not self.console.is_terminal:
            return
        now = time.monotonic()
        if self.begun is None or cycles < self.before:
            self.begun = now
        self.before = cycles
        elapsed = now - self.begun
        speed = f"{cycles / elapsed:,.0f} cycles/s" if cycles and elapsed > 0.2 else ""
        shown = self.text.replace("\n", " ")[-40:] if self.together else ""
        self.bar.update(
            self.task,
            description=f"{shown} [{phase}]" if shown else phase,
            completed=completed,
            total=total,
            speed=speed,
        )

    def step(self, step):
        # Not between the tokens of a log that has both.
        if not self.console.is_terminal and not (step.phase == "decode" and _same_output()):
            tokens = f"{step.count} token{'s' * (step.count > 1)} at {step.position}"
            print(
                f"{step.phase}: {tokens}, {step.result.cycles:,} cycles, {step.result.seconds:.1f} s",
                file=sys.stderr,
                flush=True,
            )

    def write(self, text):
        self.text += text
        if not self.together:
            print(text, end="", flush=True)


def _config(name, bandwidth=None, latency=None, tiles=None, formats=None):
    config = preset(name)
    if formats is not None:
        config = replace(config, name=f"{config.name} with {formats}", formats=tuple(formats.split(",")))
    if tiles is not None:
        config = replace(config, name=f"{config.name} with {tiles} tile{'s' * (tiles != 1)}", tiles=tiles)
    changes = {}
    if bandwidth is not None:
        try:
            changes["bandwidth"] = Fraction(bandwidth)
        except (ValueError, ZeroDivisionError):
            raise ConfigError(
                f"memory bandwidth must be a number or a fraction like 20 or 5/2, not {bandwidth!r}"
            ) from None
    if latency is not None:
        if latency < 1:
            raise ConfigError(f"memory latency must be at least 1 cycle, not {latency}")
        changes["latency"] = latency
    return config.with_memory(**changes)


def _write_json(path, content):
    if path is not None:
        Path(path).write_text(json.dumps(content, indent=2) + "\n")


def _check_outputs(*paths):
    """OSError now rather than after a long run."""
    for path in paths:
        if path is not None and not Path(path).absolute().parent.is_dir():
            raise FileNotFoundError(2, "its folder does not exist", str(path))


def _prompt_ids(model, prompt, raw):
    """The tokens of a prompt; ModelError if it is empty or longer than the model's context."""
    if not prompt.strip():
        raise ModelError("the prompt is empty")
    ids = list(model.tokenizer.encode(prompt if raw else model.tokenizer.chat_prompt(prompt)))
    if model.config.bos_id is not None and ids[:1] != [model.config.bos_id]:
        ids.insert(0, model.config.bos_id)
    if len(ids) > model.config.context:
        raise ModelError(
            f"the prompt has {len(ids)} tokens; the context of {model.config.name} is {model.config.context}"
        )
    return ids


def _print_table(columns, rows, *, justify="left"):
    table = Table(columns[0])
    for name in columns[1:]:
        table.add_column(name, justify=justify)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH).print(table)


def _print_summaries(title, names, summaries):
    print(f"\n{title}")
    _print_table(["", *names], summary_rows(summaries), justify="right")


PRESET = typer.Option("desk", "--preset", help="The chip's configuration: see `poblano presets`.")
BANDWIDTH = typer.Option(
    None, help="Memory bandwidth in bytes per cycle, as 20 or 5/2; the preset's by default."
)
LATENCY = typer.Option(None, help="Memory latency in cycles; the preset's by default.")
JSON = typer.Option(None, "--json", help="Write the figures to this file.")
TRACE = typer.Option(None, help="Write a timeline for Chrome's or Perfetto's trace viewer to this file.")
FORMATS = typer.Option(
    None,
    "--formats",
    help="Number formats of the chip, as int8,mxfp8_e4m3; the preset's by default. See `poblano formats`.",
)
ACTIVATIONS = typer.Option(
    None, help="Format of the activations, one of the chip's; its first (int8) by default."
)
REPORT = typer.Option(None, help="Write plots to this .html or .png file.")


@app.command()
def run(
    prompt: str = typer.Option(DEFAULT_PROMPT, help="The text to go on from."),
    tokens: int = typer.Option(32, min=1, help="Tokens to decode."),
    model: str = typer.Option(
        "default", help="default, smollm2, a .gguf file or a directory with model.safetensors."
    ),
    preset_name: str = PRESET,
    backend: str = typer.Option("sim", help="sim: the RTL in simulation; golden: the golden model."),
    check: bool = typer.Option(
        False, "--check", help="Run the golden model beside and stop at the first difference."
    ),
    weights: str = typer.Option(
        None, help="Quantise the model's matrices to this format: q8_0, q4_0, q4_1 or an MX format."
    ),
    activations: str = ACTIVATIONS,
    formats_: str = FORMATS,
    raw: bool = typer.Option(False, "--raw", help="Give the prompt as it is, not as a turn of a chat."),
    temperature: float = typer.Option(0.0, help="0: the chip's argmax; else sampled on the host."),
    top_k: int = typer.Option(40, help="Sample from so many best tokens; 0: from all."),
    seed: int = typer.Option(0, min=0, help="Of the sampling."),
    board: str = typer.Option(
        None, help="Run on a board that holds the chip (ulx3s), at --port or with --simulate."
    ),
    port: str = typer.Option(None, help="The board's serial port, as /dev/ttyUSB0."),
    baud: int = typer.Option(None, min=1, help="Speed of the line; the board's by default."),
    simulate: bool = typer.Option(
        False, "--simulate", help="The board's RTL in simulation, at the pins of its UART."
    ),
    bandwidth: str = BANDWIDTH,
    latency: int = LATENCY,
    json_file: str = JSON,
    trace: str = TRACE,
    report: str = REPORT,
):
    """Decode text from a prompt with a language model."""
    sampler = Sampler(temperature, top_k, seed)
    if report is not None:
        check_report_path(report)
    if board is None and (port or simulate or baud):
        raise ConfigError("--port, --baud and --simulate need --board")
    if board is not None:
        if bool(port) == simulate:
            raise ConfigError("--board needs either --port or --simulate")
        if trace or report or bandwidth or latency or formats_:
            raise ConfigError(
                "a board's chip is as it is and has no timeline: --trace, --report, --bandwidth, --latency "
                "and --formats can't go "
                "with --board"
            )
        maker = OnBoard(board, port=port, baud=baud)
        config = maker.config
    else:
        config, maker = _config(preset_name, bandwidth, latency, formats=formats_), backend
    if backend == "golden" and (trace or report or check):
        raise ConfigError("the golden model has no cycles: --trace, --report and --check need --backend sim")
    _check_outputs(json_file, trace, report)
    loaded = load_model(model)
    if weights is not None:
        loaded = quantise_model(loaded, weights, again=True)
    name = loaded.config.name
    ids = _prompt_ids(loaded, prompt, raw)
    context = min(loaded.config.context, len(ids) + tokens)
    display, text, runs, chosen = _Display(), loaded.tokenizer.stream(), [], []
    summary = lambda phase: summarise([run for run in runs if run.phase == phase], config)
    figures = lambda exact: dict(
        model=name,
        preset=config.name,
        backend="board" if board else backend,
        prompt=prompt,
        prompt_tokens=len(ids),
        text=display.text,
        tokens=chosen,
        bit_exact=exact,
        prefill=summary("prefill").as_json(),
        decode=summary("decode").as_json(),
    )
    try:
        with display.running():
            session = Session(
                loaded,
                config,
                backend=maker,
                context=context,
                activations=activations,
                check=check,
                report=display.note,
                progress=display.progress,
            )
            for step, token in session.generate(ids, tokens, sampler, stop={loaded.config.eos_id}):
                runs.append(Run(step.phase, step.count, step.program, step.result))
                display.step(step)
                if token is not None:
                    chosen.append(token)
                    display.write(text.push(token))
            display.write(text.flush())
            session.close()
    except Mismatch:
        _write_json(json_file, figures(False))
        raise
    _write_json(json_file, figures(True if check else None))
    if trace is not None:
        write_timeline(
            trace,
            [
                (f"{r.phase} {i}", r.program.commands, r.result.events, r.result.cycles)
                for i, r in enumerate(runs)
            ],
        )
    if report is not None:
        write_report(report, f"{name} on {config.name}", runs, config, text=prompt + display.text)
    _print_summaries(
        f"{name} on {config.name}: {len(ids)} tokens of prompt, {len(chosen)} decoded",
        ("prefill", "decode"),
        [summary("prefill"), summary("decode")],
    )
    if check:
        print("bit-exact: the golden model agrees in every token, every logit and all that was stored")


def _load_array(path):
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ConfigError(f"{path}: not a .npy file: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise ConfigError(f"{path}: not a real array in a .npy file")
    return array


def _save(path, array):
    with open(path, "wb") as file:
        np.save(file, array)


@app.command()
def matmul(
    a: str = typer.Argument(help="A (M, K), .npy"),
    b: str = typer.Argument(help="B (K, N), .npy"),
    output: str = typer.Option(
        None, "-o", "--output", help="Write the product (M, N), float32, to this .npy file."
    ),
    format_: str = typer.Option("q8_0", "--format", help="Of B: q8_0, q4_0, q4_1 or an MX format."),
    activations: str = ACTIVATIONS,
    formats_: str = FORMATS,
    preset_name: str = PRESET,
    tiles: int = typer.Option(None, help="Tiles of the chip; the preset's by default."),
    golden: bool = typer.Option(False, "--golden", help="On the golden model."),
    board: str = typer.Option(
        None,
        help="The sums of the blocks on a board's array engine, at --port or with --simulate: see `poblano "
        "fpga`.",
    ),
    port: str = typer.Option(None, help="The board's serial port, as /dev/ttyUSB1."),
    simulate: bool = typer.Option(
        False, "--simulate", help="The board's RTL in simulation, at the pins of its UART."
    ),
    bandwidth: str = BANDWIDTH,
    latency: int = LATENCY,
    json_file: str = JSON,
    trace: str = TRACE,
    report: str = REPORT,
):
    """Multiply two matrices; A is quantised in blocks of 32 to the activations' format (INT8), B to a
    stored format."""
    config = _config(preset_name, bandwidth, latency, tiles, formats_)
    if report is not None:
        check_report_path(report)
    if golden and (trace or report):
        raise ConfigError("the golden model has no cycles: --trace and --report can't go with --golden")
    if board is None and (port or simulate):
        raise ConfigError("--port and --simulate need --board")
    if board is not None and (golden or trace or report or bool(port) == simulate):
        raise ConfigError(
            "--board needs either --port or --simulate, and --golden, --trace and --report can't go with it"
        )
    _check_outputs(output, json_file, trace, report)
    left, right = _load_array(a), _load_array(b)
    if board is not None:
        product, figures = matmul_on_board(
            board, port, left, right, format=format_, activation=activations, config=config
        )
        if output is not None:
            _save(output, product)
        _write_json(json_file, dict(shapes=[left.shape, right.shape], format=format_, **figures))
        return
    job = MatmulJob(left, right, config, format=format_, activation=activations)
    chip = open_backend(
        "golden" if golden else "sim",
        config,
        job.memory_bytes,
        job.ring,
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )
    product, result = run_job(job, chip)
    chip.close()
    runs = [Run("matmul", left.shape[0], job.program, result)]
    summary = summarise(runs, config)
    if output is not None:
        _save(output, product)
    title = f"{left.shape} times {right.shape} in {format_} on {config.name}"
    _write_json(
        json_file,
        dict(
            shapes=[left.shape, right.shape],
            format=format_,
            preset=config.name,
            backend="golden" if golden else "sim",
            **summary.as_json(),
        ),
    )
    if trace is not None:
        write_timeline(trace, [("matmul", job.program.commands, result.events, result.cycles)])
    if report is not None:
        write_report(report, title, runs, config)
    _print_summaries(title, ("matmul",), [summary])


app.command()(area)
app.command()(asic)
app.command()(fpga)
app.command()(verilog)


@app.command()
def presets():
    """List the chip's configurations."""
    columns = [
        "preset",
        "tiles",
        "array",
        "lanes",
        "MAC/cycle",
        "memory bits",
        "bytes/cycle",
        "latency",
        "vector memory",
        "activation memory",
        "weight FIFO",
    ]
    rows = []
    for name, config in PRESETS.items():
        tile, memory = config.tile, config.memory
        rows.append(
            (
                name,
                str(config.tiles),
                f"{tile.array.rows} x {tile.array.cols}",
                str(tile.lanes),
                str(config.macs_per_cycle),
                str(memory.data_width),
                f"{float(memory.bandwidth):g}",
                str(memory.latency),
                f"{tile.vmem_lines * 32 // 1024} KiB",
                f"{tile.amem_blocks * 32 // 1024} KiB",
                f"{tile.fifo_bytes} B",
            )
        )
    _print_table(columns, rows)


app.command()(formats)


@app.command()
def asm(
    source: str = typer.Argument(help="Text of commands."),
    output: str = typer.Option(
        ..., "-o", "--output", help="Write the commands, 64 bytes each, to this file."
    ),
):
    """Assemble a program of commands."""
    try:
        commands = assemble(Path(source).read_text())
    except UnicodeDecodeError:
        raise ConfigError(f"{source}: not a text") from None
    except AssemblyError as error:
        raise ConfigError(f"{source}: {error}") from None
    Path(output).write_bytes(b"".join(command.encode() for command in commands))


@app.command()
def disasm(source: str = typer.Argument(help="Commands, 64 bytes each.")):
    """Print the text of a program of commands."""
    try:
        print(disassemble(Path(source).read_bytes()), end="")
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None
