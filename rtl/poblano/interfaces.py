"""The signatures that blocks share: unit ports, local memories, and the broadcast bus."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import BLOCK, LocalConfig
from .isa.commands import COMMAND_BYTES

__all__ = [
    "BlockLayout",
    "BusWrite",
    "LocalWrite",
    "MetaLayout",
    "ReadPortSignature",
    "RowLayout",
    "UnitSignature",
    "block_port",
    "meta_port",
    "vmem_port",
    "word_port",
]


class RowLayout(data.ArrayLayout):
    """A row of vector memory: ``lanes`` FP32 words."""

    def __init__(self, config: LocalConfig):
        super().__init__(32, config.lanes)


class MetaLayout(data.StructLayout):
    """What activation memory keeps beside a block: its FP32 scale (a power of two for an MX format, or NaN)
    and the signed sum of its elements, of ``sum_width`` bits, in quanta of the format."""

    def __init__(self, sum_width):
        super().__init__({"scale": 32, "sum": signed(sum_width)})


class BlockLayout(data.StructLayout):
    """A block of activation memory: ``data``, its 32 elements, a byte each, element 0 in the low byte, and
    ``meta``, a :class:`MetaLayout`."""

    def __init__(self, sum_width):
        super().__init__({"data": 8 * BLOCK, "meta": MetaLayout(sum_width)})


class UnitSignature(wiring.Signature):
    """What the command processor (the owner of this signature) sees of a unit that executes commands.

    Members
    -------
    cmd : Out(stream), the 512-bit command, handed over when its waits are satisfied; transferred when the
        unit starts it.
    done : In(1), high for a cycle when a command has completed with all its effects visible; in command
        order.
    error : In(1), high for a cycle when a command fails; ``code`` (:class:`ErrorCode`) says why. It comes no
        later than the command's ``done`` would; from then on nobody looks at ``done``.
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
    request's transfer. With ``ecc`` ``failed`` says with ``valid`` that the data are not what was written.
    """

    def __init__(self, *, addr_width, shape, ecc=False):
        members = {"req": Out(stream.Signature(addr_width)), "valid": In(1), "data": In(shape)}
        super().__init__(members | ({"failed": In(1)} if ecc else {}))


class LocalWrite(data.StructLayout):
    """A write of one row of a tile's local memory.

    ``space`` 0: vector memory, ``addr`` is a row of ``lanes`` words, ``mask`` enables each word, ``data``
    the words. ``space`` 1: activation memory, ``addr`` is a block, ``data`` a :class:`BlockLayout`; ``mask``
    is not used. ``data`` has the members ``row`` and ``block``.
    """

    def __init__(self, config: LocalConfig):
        super().__init__(
            {
                "space": 1,
                "addr": config.addr_width,
                "mask": config.lanes,
                "data": data.UnionLayout({"row": RowLayout(config), "block": BlockLayout(config.sum_width)}),
            }
        )


class BusWrite(data.StructLayout):
    """A :class:`LocalWrite` and which of ``tiles`` tiles it goes to; the transfer completes when every one
    of them has taken it."""

    def __init__(self, config: LocalConfig, *, tiles):
        super().__init__({"tiles": tiles, "write": LocalWrite(config)})


def vmem_port(config: LocalConfig):
    """A read port of vector memory."""
    return ReadPortSignature(addr_width=config.vmem_addr_width, shape=RowLayout(config), ecc=config.ecc)


def block_port(config: LocalConfig):
    """A read port of activation memory: a block with its scale and sum."""
    layout = BlockLayout(config.sum_width)
    return ReadPortSignature(addr_width=config.amem_addr_width, shape=layout, ecc=config.ecc)


def word_port(config: LocalConfig):
    """A read port of activation memory: the elements of a word of ``segments`` blocks."""
    return ReadPortSignature(
        addr_width=config.word_addr_width, shape=data.ArrayLayout(8 * BLOCK, config.segments), ecc=config.ecc
    )


def meta_port(config: LocalConfig):
    """A read port of activation memory: the scales and sums of a word of ``segments`` blocks."""
    return ReadPortSignature(
        addr_width=config.word_addr_width,
        shape=data.ArrayLayout(MetaLayout(config.sum_width), config.segments),
        ecc=config.ecc,
    )
