"""What can go wrong in a command, as the exit codes of ``poblano``."""

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

__all__ = ["REFUSED", "failure"]

BAD_INPUT, CHIP_FAILED, DIFFERENT = 2, 3, 1
"""Exit codes: what the user gave can't be used; the chip or its simulation failed; the chip differs from
the golden model."""
REFUSED = (ModelError, CompileError, ConfigError, AssemblyError, CommandError, MarketError)
CODES = (
    ((*REFUSED, OSError), BAD_INPUT),
    ((ChipError, DeviceError, OverlayError, SimulationError, GoldenError), CHIP_FAILED),
    ((AsicError, BoardError, BridgeError), CHIP_FAILED),
    ((Mismatch,), DIFFERENT),
)


def failure(error):
    """(text, exit code) of an exception; None of one that is a defect of the program."""
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}", BAD_INPUT
    code = next((code for kinds, code in CODES if isinstance(error, kinds)), None)
    if code is None:
        return None
    named = isinstance(error, OSError) and error.filename
    return f"{error.filename}: {error.strerror}" if named else str(error), code
