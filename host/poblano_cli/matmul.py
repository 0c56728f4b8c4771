"""The command ``poblano matmul``: one matrix product on the chip."""

import numpy as np
import typer

from poblano.config import ConfigError
from poblano_fpga.boards import board as find_board
from poblano_fpga.engine import matmul_on_board
from poblano_host.compiler import IntegerProduct, MatmulJob, integer_weights, is_integer
from poblano_host.runtime.backend import open_backend, open_sampled, run_job
from poblano_host.runtime.report import Run, check_report_path, summarise, use_figures, write_report
from poblano_host.runtime.timeline import write_timeline

from .arrays import load_array, save_array
from .display import print_summaries, print_uses
from .fpga import print_checks
from .options import (
    ACTIVATIONS,
    BANDWIDTH,
    FORMATS,
    JSON,
    LATENCY,
    PRESET,
    REPORT,
    TIMELINE,
    TRACE,
    check_outputs,
    chip_config,
    write_json,
    wrote,
)
from .tables import note

__all__ = ["matmul"]


def matmul(
    a: str = typer.Argument(help="A (M, K), .npy"),
    b: str = typer.Argument(help="B (K, N), .npy"),
    output: str = typer.Option(
        None, "-o", "--output", help="Write the product (M, N), float32 or int64, to this .npy file."
    ),
    format_: str = typer.Option(
        None, "--format", help="Of B: q8_0 (by default, but for integers), q4_0, q4_1 or an MX format."
    ),
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
    stored format. Without a format, matrices of integers are multiplied exactly."""
    config = chip_config(preset_name, bandwidth, latency, tiles, formats_)
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
    check_outputs(output, json_file, trace, report)
    left, right = load_array(a), load_array(b)
    if board is not None:
        product, figures = matmul_on_board(
            board, port, left, right, format=format_, activation=activations, config=config, report=note
        )
    else:
        backend = "golden" if golden else "sim"
        seen = open_sampled if report is not None else backend
        product, runs = _on_chip(left, right, config, format_, activations, seen)
        summary = summarise(runs, config)
        figures = dict(preset=config.name, backend=backend, **summary.as_json(), **use_figures(runs, config))
    if output is not None:
        save_array(output, product)
        wrote(output, "the product")
    stored = format_ or ("integers" if product.dtype.kind == "i" else "q8_0")
    write_json(json_file, dict(shapes=[left.shape, right.shape], format=stored, **figures))
    if board is not None:
        print_checks(find_board(board).title, {"matmul": figures})
        return
    if trace is not None:
        write_timeline(
            trace, [("matmul", run.program.commands, run.result.events, run.result.cycles) for run in runs]
        )
        wrote(trace, TIMELINE)
    title = f"{left.shape} times {right.shape} in {stored} on {config.name}"
    if report is not None:
        write_report(report, title, runs, config)
        wrote(report, "the report")
    print_summaries(title, ("matmul",), [summary])
    print_uses(runs, config)


def _on_chip(left, right, config, stored, activations, backend):
    """The product on a backend, and its :class:`Run` s, of integers one or more."""
    if stored is None and activations is None and is_integer(left, right):
        integers = IntegerProduct(left, right, config)
        jobs = [MatmulJob(*part, config, quantiser=integer_weights) for part in integers.parts]
        products, runs = zip(*(_run(job, config, backend) for job in jobs))
        return integers.combine(products), runs
    job = MatmulJob(left, right, config, format=stored or "q8_0", activation=activations)
    product, run = _run(job, config, backend)
    if not np.isfinite(product).all():
        raise ConfigError("the product has elements that FP32 does not hold")
    return product, (run,)


def _run(job, config, backend):
    chip = open_backend(backend, config, job.memory_bytes, job.ring, report=note)
    product, result = run_job(job, chip)
    chip.close()
    return product, Run("matmul", job.shape[0], job.program, result)
