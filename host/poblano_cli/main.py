"""The command ``poblano``: its subcommands, and the exit codes of what goes wrong."""

import os
import sys

import typer

from poblano.config import ConfigError
from poblano.isa.commands import CommandError
from poblano_flows.asic.tools import AsicError
from poblano_fpga.errors import BoardError
from poblano_host.assembler import AssemblyError
from poblano_host.compiler import CompileError
from poblano_host.golden.chip import GoldenError
from poblano_host.models import ModelError
from poblano_host.runtime.errors import ChipError, DeviceError, Mismatch, OverlayError
from poblano_host.serial.bridge import BridgeError
from poblano_host.sim.errors import SimulationError
from poblano_market.errors import MarketError

from .area import area
from .asic import asic
from .assembler import asm, disasm
from .bench import bench
from .chat import chat
from .compare import compare
from .estimate import estimate
from .execute import execute
from .explore import explore
from .faults import faults
from .formats import formats
from .fpga import fpga
from .matmul import matmul
from .model import model
from .presets import presets
from .run import run
from .serve import serve
from .verilog import verilog

__all__ = ["app", "main"]

BAD_INPUT, CHIP_FAILED, DIFFERENT = 2, 3, 1
"""Exit codes: what the user gave can't be used; the chip or its simulation failed; the chip differs from
the golden model."""
INTERRUPTED, CLOSED = 130, 141

REFUSED = (ModelError, CompileError, ConfigError, AssemblyError, CommandError, MarketError)
FAILED = (
    ChipError,
    DeviceError,
    OverlayError,
    SimulationError,
    GoldenError,
    AsicError,
    BoardError,
    BridgeError,
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Run language models on Poblano, an open inference chip, in simulation.",
)
for command in (
    run,
    chat,
    serve,
    faults,
    model,
    matmul,
    estimate,
    area,
    asic,
    fpga,
    verilog,
    presets,
    formats,
    compare,
    explore,
    asm,
    disasm,
):
    app.command()(command)
app.command("exec")(execute)
app.add_typer(bench, name="bench")


def main():
    """The console script."""
    _open_outputs()
    try:
        app()
    except SystemExit as left:
        # The library's own words for these: nothing.
        if left.code == INTERRUPTED:
            _leave("interrupted", INTERRUPTED)
        if left.code == 1:
            _leave("standard output is closed", CLOSED)
        raise
    except REFUSED as error:
        _leave(error, BAD_INPUT)
    except OSError as error:
        _leave(f"{error.filename}: {error.strerror}" if error.filename else error, BAD_INPUT)
    except MemoryError as error:
        _leave(f"not enough memory: {error}", BAD_INPUT)
    except FAILED as error:
        _leave(error, CHIP_FAILED)
    except Mismatch as error:
        _leave(error, DIFFERENT)
    except KeyboardInterrupt:
        _leave("interrupted", INTERRUPTED)


def _open_outputs():
    """A standard output that the caller has closed is nothing."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for as long as the command runs


def _leave(error, code):
    print(f"poblano: {error}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
