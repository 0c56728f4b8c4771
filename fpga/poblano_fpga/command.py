"""The command ``poblano fpga``: a board's bitstream and figures, its netlist's answers in simulation, and
the board itself."""

from dataclasses import replace
import json
from pathlib import Path
import re
import sys
import time

from rich.console import Console
from rich.table import Table
import typer

from poblano.config import ConfigError
from poblano_fpga.on_board import OnBoard
from poblano_host.serial.bridge import BridgeClient, open_port
from poblano_host.serial.engine import EngineDevice, engine_traffic

from .boards import BOARDS, with_array
from .boards import board as find_board
from .build import BITSTREAM, build, tool
from .build import program as load
from .check import AWKWARD, check_layer, check_matmul, matmul_on, token_products
from .chip import CHIP_BOARDS, chip_board
from .chip_check import check_chip
from .simulation import FASTEST, netlist_port, rtl_port
from .synthesis import check_fits, synthesise

__all__ = ["device", "fpga", "matmul_on_board", "tokens_per_second"]

WIDTH = 150
"""Columns of a table that goes to a file."""


def tokens_per_second(board):
    """Tokens of the default model per second, from the bytes on the line (no turn-around of the host's) and
    the engine's cycles."""
    traffic = engine_traffic(board.engine, board.payload, token_products())
    return 1 / (10 * traffic.line_bytes / board.baud + traffic.cycles / board.clock_hz)


def device(board, *, port=None, rtl=False, report=lambda text: None):
    """The :class:`EngineDevice` on the serial port ``port``, or in simulation, of the board's netlist or
    its ``rtl``."""
    if port is not None:
        return EngineDevice(BridgeClient(open_port(port, board.baud)))
    if rtl:
        client = BridgeClient(rtl_port(board, report=report))
    else:
        netlist = synthesise(board, report=report)
        check_fits(board, netlist.cells)
        client = BridgeClient(netlist_port(board, netlist, report=report))
    client.set_baud(board.clock_hz // FASTEST)
    return EngineDevice(client)


def matmul_on_board(name, port, a, b, *, format, activation, config):
    """The product with the board's block sums, at a serial port or (None) of its RTL in simulation, and
    figures; prints them.

    Mismatch if it differs from the golden model's.
    """
    board = find_board(name)
    engine = device(board, port=port, rtl=True, report=lambda line: print(line, file=sys.stderr, flush=True))
    begun = time.monotonic()
    product, _ = matmul_on(engine, a, b, format=format, activation=activation, config=config)
    if not engine.traffic.macs:
        raise ConfigError(
            f"a board's engine computes INT8 and INT4 blocks, not {format} with "
            f"{activation or 'these activations'}"
        )
    figures = dict(
        board=board.name,
        bytes_to_board=engine.traffic.to_device,
        bytes_from_board=engine.traffic.from_device,
        cycles=engine.traffic.cycles,
        macs=engine.traffic.macs,
        seconds=round(time.monotonic() - begun, 3),
        bit_exact=True,
    )
    engine.client.close()
    _print_checks(board.title, {"matmul": figures})
    return product, figures


def _chosen(name, array):
    board = find_board(name)
    if array is None:
        return board
    size = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", array)
    if size is None:
        raise ConfigError(f"an array's size is rows x columns, as 4x4, not {array!r}")
    return with_array(board, int(size[1]), int(size[2]))


def _check(board, engine, layer, note):
    """Run the checks on a device; what they took, as a dict."""
    figures = {}
    for name, run in (("matmul", check_matmul), ("layer", check_layer))[: 1 + layer]:
        before = replace(engine.traffic)
        begun = time.monotonic()
        note(
            f"{name}: "
            + (
                f"A ({AWKWARD[0]}, {AWKWARD[1]}) times B ({AWKWARD[1]}, {AWKWARD[2]})"
                if name == "matmul"
                else "the first layer of the default model"
            )
        )
        run(engine)
        figures[name] = dict(
            bytes_to_board=engine.traffic.to_device - before.to_device,
            bytes_from_board=engine.traffic.from_device - before.from_device,
            cycles=engine.traffic.cycles - before.cycles,
            seconds=round(time.monotonic() - begun, 3),
            bit_exact=True,
        )
    return figures


def fpga(
    board_name: str = typer.Option(..., "--board", help=f"{', '.join(BOARDS)}."),
    array: str = typer.Option(
        None, help="Rows x columns of the array, as 4x4; the largest that suits the board by default."
    ),
    output: str = typer.Option(
        "build/fpga", "-o", "--output", help="Folder of the bitstream, its netlist and figures."
    ),
    simulate: bool = typer.Option(
        False, "--simulate", help="Instead of a bitstream: check the answers of the netlist in simulation."
    ),
    program: bool = typer.Option(False, "--program", help="Load the bitstream with openFPGALoader."),
    port: str = typer.Option(
        None, help="Check the answers of the board at this serial port, as /dev/ttyUSB1."
    ),
    chip: bool = typer.Option(
        False, "--chip", help=f"The whole chip instead of an array: {', '.join(CHIP_BOARDS)}."
    ),
    layer: bool = typer.Option(
        True, help="Check a layer of the default model too, not a matrix product alone."
    ),
    json_file: str = typer.Option(None, "--json", help="Write the figures to this file."),
):
    """Build an array engine (or the whole chip) for an FPGA board, and compare what it computes with the
    golden model."""
    if chip and array is not None:
        raise ConfigError("--array is of an engine; the chip's array is that of its preset")
    board = chip_board(board_name) if chip else _chosen(board_name, array)
    if simulate and (program or port):
        raise ConfigError("--simulate needs no board: it can't go with --program or --port")
    if json_file is not None and not Path(json_file).absolute().parent.is_dir():
        raise FileNotFoundError(2, "its folder does not exist", json_file)
    if program:
        tool("openFPGALoader")
    note = lambda line: print(line, file=sys.stderr, flush=True)
    figures = {"board": board.name, "title": board.title, "array": [board.array.rows, board.array.cols]}
    if simulate and chip:
        figures["netlist"] = check_chip(OnBoard(board_name, netlist=True), layer, note)
        _print_checks(f"The netlist for {board.title} in simulation", figures["netlist"])
    elif simulate:
        engine = device(board, report=note)
        figures["netlist"] = _check(board, engine, layer, note)
        _print_checks(f"The netlist for {board.title} in simulation", figures["netlist"])
    else:
        if port is None or program:
            result = build(board, output, report=note)
            figures |= result.as_json() | (
                {} if chip else {"tokens_per_second": round(tokens_per_second(board), 4)}
            )
            _print_figures(board, result, figures.get("tokens_per_second"))
        if program:
            note(f"loading {board.title}")
            load(board, Path(output, f"{board.name}.{BITSTREAM[board.family]}"))
        if port is not None and chip:
            figures["on_board"] = check_chip(OnBoard(board_name, port=port), layer, note)
            _print_checks(f"{board.title} at {port}", figures["on_board"])
        elif port is not None:
            engine = device(board, port=port)
            figures["on_board"] = _check(board, engine, layer, note)
            engine.client.close()
            _print_checks(f"{board.title} at {port}", figures["on_board"])
    if json_file is not None:
        Path(json_file).write_text(json.dumps(figures, indent=2) + "\n")


def _print(table):
    Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH).print(table)


def _print_figures(board, result, tokens):
    table = Table(
        "", "used", "of", title=f"{board.title}: {result.rows} x {result.cols} array", title_justify="left"
    )
    for name, used in result.used.items():
        table.add_row(name, f"{used:,}", f"{result.available[name]:,}")
    _print(table)
    print(
        f"clock {result.clock:g} MHz, fastest {result.fmax:.1f} MHz, slack {result.slack_ns:.2f} ns; "
        f"{result.macs_per_second / 1e6:,.0f} million MACs per second (the array's times the clock)"
    )
    if tokens is None:
        return
    print(
        f"default model: {tokens:.3f} tokens per second, computed from the {board.baud:,} baud of the UART, "
        "which carries every weight, and the "
        "engine's cycles"
    )


def _print_checks(title, figures):
    table = Table(
        "", "bytes to it", "from it", "its cycles", "seconds", "", title=title, title_justify="left"
    )
    for name, f in figures.items():
        table.add_row(
            name,
            f"{f['bytes_to_board']:,}",
            f"{f['bytes_from_board']:,}",
            f"{f['cycles']:,}",
            f"{f['seconds']:.1f}",
            "bit-exact",
        )
    _print(table)
