"""The signatures that blocks share: unit ports, local memories, and the broadcast bus."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .isa.commands import COMMAND_BYTES

__all__ = [
    "BusWrite",
    "LocalWrite",
    "MetaLayout",
    "ReadPortSignature",
    "UnitSignature",
    "block_meta",
    "block_port",
    "bus_write",
    "local_write",
    "matmul_data_port",
    "matmul_meta_port",
    "vmem_port",
]


class MetaLayout(data.StructLayout):
    """What activation memory keeps beside a block: its FP32 scale (a power of two for an MX format, or NaN)
    and the signed sum of its elements, in units of the format."""

    def __init__(self, arithmetic):
        super().__init__({"scale": 32, "sum": signed(arithmetic.activation_sum_width)})


class UnitSignature(wiring.Signature):
    """What the command processor (the owner of this signature) sees of a unit that executes commands.

    Members
    -------
    cmd : Out(stream), the 512-bit command, handed over when its waits are satisfied; transferred when the
        unit starts it.
    done : In(1), high for a cycle when a command has completed with all its effects visible; in command
        order.
    error : In(1), high for a cycle when a command fails; ``code`` (:class:`ErrorCode`) says why. No
        ``done`` follows.
    busy, stall_in, stall_out : In(1), for the counters: a command is in progress; this cycle was lost
        waiting for input (memory, weights, operands); this cycle was lost because the output was not
        accepted.
    flush : Out(1), while high: begin no new memory transaction and discard data, but complete AXI
        transactions in flight.
    idle : In(1), no AXI transaction in flight (always 1 in a unit without AXI).
    After flush and all idle, the whole unit is reset synchronously (ResetInserter at chip level), flush
    still high.
    """

    def __init__(self):
        super().__init__(
            {
                "cmd": Out(stream.Signature(8 * COMMAND_BYTES)),
                "done": In(1),
                "error": In(1),
                "code": In(4),
                "busy": In(1),
                "stall_in": In(1),
                "stall_out": In(1),
                "flush": Out(1),
                "idle": In(1),
            }
        )


class ReadPortSignature(wiring.Signature):
    """The requester's side of a read port of a local memory.

    ``req`` is a stream of row addresses. Data come back in order, ``valid`` for one cycle each with no
    back-pressure (the requester asks only for what it has room for): exactly ``latency`` cycles after the
    request's transfer.
    """

    def __init__(self, *, addr_width, shape):
        super().__init__({"req": Out(stream.Signature(addr_width)), "valid": In(1), "data": In(shape)})


class LocalWrite(data.StructLayout):
    """A write of one row of a tile's local memory.

    ``space`` 0: vector memory, ``addr`` is a row of ``lanes`` words, ``mask`` enables each word, ``data``
    the words. ``space`` 1: activation memory, ``addr`` is a block, ``data`` the 32 elements (element 0 in
    the low byte) and, from bit 256 on, its :class:`MetaLayout`; ``mask`` is not used.
    """

    def __init__(self, *, lanes, addr_width, meta):
        super().__init__(
            {"space": 1, "addr": addr_width, "mask": lanes, "data": max(32 * lanes, 256 + meta.size)}
        )


class BusWrite(data.StructLayout):
    """A :class:`LocalWrite` and the tiles it goes to; the transfer completes when every one of them has
    taken it."""

    def __init__(self, *, lanes, addr_width, meta, tiles):
        super().__init__({"tiles": tiles, "write": LocalWrite(lanes=lanes, addr_width=addr_width, meta=meta)})


def block_meta(config):
    """The :class:`MetaLayout` of a chip."""
    return MetaLayout(config.tile.array.arithmetic)


def local_write(config):
    """The :class:`LocalWrite` of a chip."""
    return LocalWrite(
        lanes=config.tile.lanes, addr_width=config.tile.local_addr_width, meta=block_meta(config)
    )


def bus_write(config):
    """The :class:`BusWrite` of a chip."""
    return BusWrite(
        lanes=config.tile.lanes,
        addr_width=config.tile.local_addr_width,
        meta=block_meta(config),
        tiles=config.tiles,
    )


def vmem_port(config):
    """A read port of vector memory: rows of ``lanes`` words."""
    return ReadPortSignature(addr_width=config.tile.vmem_addr_width, shape=32 * config.tile.lanes)


def block_port(config):
    """A read port of activation memory for the DMA engine: a block and its scale and sum."""
    return ReadPortSignature(
        addr_width=config.tile.amem_addr_width,
        shape=data.StructLayout({"data": 256, "meta": block_meta(config)}),
    )


def matmul_data_port(config):
    """The matmul unit's read port of activation memory: words of ``segments`` blocks."""
    return ReadPortSignature(
        addr_width=config.tile.amem_word_addr_width, shape=256 * config.tile.array.segments
    )


def matmul_meta_port(config):
    """The matmul unit's read port of scales and sums: those of a word of ``segments`` blocks."""
    return ReadPortSignature(
        addr_width=config.tile.amem_word_addr_width,
        shape=data.ArrayLayout(block_meta(config), config.tile.array.segments),
    )
