"""The array engine on a board: at a serial port, or in simulation at the pins of its UART."""

from functools import partial
import time

from poblano.config import ConfigError
from poblano_host.compiler import IntegerProduct, integer_weights, is_integer
from poblano_host.serial.bridge import BridgeClient, open_port
from poblano_host.serial.engine import EngineDevice, engine_traffic

from .boards import board as find_board
from .engine_check import matmul_on, token_products
from .simulation import FASTEST, netlist_port, rtl_port
from .synthesis import check_fits, synthesise

__all__ = ["device", "matmul_on_board", "tokens_per_second"]


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


def matmul_on_board(name, port, a, b, *, format, activation, config, report=lambda text: None):
    """The product with the board's block sums, at a serial port or (None) of its RTL in simulation, and
    figures; Mismatch if it differs from the golden model's.
    """
    board = find_board(name)
    engine = device(board, port=port, rtl=True, report=report)
    begun = time.monotonic()
    on_board = partial(matmul_on, engine, activation=activation, config=config)
    if format is None and activation is None and is_integer(a, b):
        integers = IntegerProduct(a, b, config)
        products = (on_board(*part, quantiser=integer_weights)[0] for part in integers.parts)
        product = integers.combine(products)
    else:
        product, _ = on_board(a, b, format=format or "q8_0")
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
    return product, figures


def tokens_per_second(board):
    """Tokens of the default model per second, from the bytes on the line (no turn-around of the host's) and
    the engine's cycles."""
    traffic = engine_traffic(board.engine, board.payload, token_products())
    return 1 / (10 * traffic.line_bytes / board.baud + traffic.cycles / board.clock_hz)
