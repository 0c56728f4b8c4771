"""The command ``poblano fpga``: a board's bitstream and figures, its netlist's answers in simulation, and
the board itself."""

from pathlib import Path

import typer

from poblano.config import ConfigError
from poblano_fpga.boards import BOARDS, with_array
from poblano_fpga.boards import board as find_board
from poblano_fpga.build import BITSTREAM, build, tool
from poblano_fpga.build import program as load
from poblano_fpga.chip import CHIP_BOARDS, chip_board
from poblano_fpga.chip_check import check_chip
from poblano_fpga.engine import device, tokens_per_second
from poblano_fpga.engine_check import check_engine
from poblano_fpga.on_board import OnBoard

from .options import JSON, array_size, check_outputs, write_json
from .tables import note, print_table

__all__ = ["fpga", "print_checks"]


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
    json_file: str = JSON,
):
    """Build an array engine (or the whole chip) for an FPGA board, and compare what it computes with the
    golden model."""
    if chip and array is not None:
        raise ConfigError("--array is of an engine; the chip's array is that of its preset")
    if simulate and (program or port):
        raise ConfigError("--simulate needs no board: it can't go with --program or --port")
    if chip:
        board = chip_board(board_name)
    else:
        board = find_board(board_name)
        if array is not None:
            board = with_array(board, *array_size(array, "4x4"))
    check_outputs(json_file)
    if program:
        tool("openFPGALoader")
    figures = {"board": board.name, "title": board.title, "array": [board.array.rows, board.array.cols]}
    if simulate:
        figures["netlist"] = _answers(board, board_name if chip else None, None, layer)
        print_checks(f"The netlist for {board.title} in simulation", figures["netlist"])
    else:
        if port is None or program:
            figures |= _build(board, output, chip)
        if program:
            note(f"loading {board.title}")
            load(board, Path(output, f"{board.name}.{BITSTREAM[board.family]}"))
        if port is not None:
            figures["on_board"] = _answers(board, board_name if chip else None, port, layer)
            print_checks(f"{board.title} at {port}", figures["on_board"])
    write_json(json_file, figures)


def _answers(board, chip, port, layer):
    """Figures of the checks of the engine, or of the ``chip`` on the board of that name, at a port or (None)
    of its netlist in simulation."""
    if chip is not None:
        return check_chip(OnBoard(chip, port=port, netlist=port is None), layer, note)
    engine = device(board, port=port, report=note)
    figures = check_engine(engine, layer, note)
    engine.client.close()
    return figures


def _build(board, output, chip):
    """Figures of the bitstream, which are printed."""
    result = build(board, output, report=note)
    figures = result.as_json()
    if not chip:
        figures["tokens_per_second"] = round(tokens_per_second(board), 4)
    used = [(name, f"{n:,}", f"{result.available[name]:,}") for name, n in result.used.items()]
    title = f"{board.title}: {result.rows} x {result.cols} array"
    print_table(["", "used", "of"], used, title=title, left=3)
    print(
        f"clock {result.clock:g} MHz, fastest {result.fmax:.1f} MHz, slack {result.slack_ns:.2f} ns; "
        f"{result.macs_per_second / 1e6:,.0f} million MACs per second (the array's times the clock)"
    )
    if not chip:
        print(
            f"default model: {figures['tokens_per_second']:.3f} tokens per second, computed from the "
            f"{board.baud:,} baud of the UART, which carries every weight, and the engine's cycles"
        )
    return figures


def print_checks(title, figures):
    """What checks took, by their names."""
    columns = ["", "bytes to it", "from it", "its cycles", "seconds", ""]
    rows = [
        (
            name,
            f"{f['bytes_to_board']:,}",
            f"{f['bytes_from_board']:,}",
            f"{f['cycles']:,}",
            f"{f['seconds']:.1f}",
            "bit-exact",
        )
        for name, f in figures.items()
    ]
    print_table(columns, rows, title=title, left=len(columns))
