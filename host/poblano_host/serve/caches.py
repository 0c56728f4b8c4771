"""Where the KV caches of a sequence are, and commands that copy them."""

from poblano.config import LINE_BYTES
from poblano.isa.commands import Command, Opcode
from poblano.isa.topology import UnitKind

__all__ = ["copy", "extents"]


def copy(compiled, source, slot):
    """Commands (bytes) that copy the caches of sequence ``source`` to those of sequence ``slot``, by way of
    the first tile's vector memory, of which nothing is kept from step to step."""
    config = compiled.config
    dma, most = config.topology.unit(UnitKind.DMA), config.tile.vmem_lines
    commands = []
    for (start, size), (end, _) in zip(extents(compiled, source), extents(compiled, slot)):
        for first in range(0, size // LINE_BYTES, most):
            form = dict(mem_stride=0, rows=1, lines=min(most, size // LINE_BYTES - first))
            load = form | dict(mem_addr=start + LINE_BYTES * first, dst=0, dst_stride=0, tiles=1)
            store = form | dict(mem_addr=end + LINE_BYTES * first, src=0, src_stride=0, tile=0)
            commands += [Command(Opcode.LOAD, dma, load), Command(Opcode.STORE, dma, store)]
    return b"".join(command.encode() for command in commands)


def extents(compiled, slot):
    """(address, bytes) of a sequence's caches, of each attention in each home."""
    return [
        (address + slot * places.layout.size, places.layout.size)
        for places in compiled.memory.caches
        for address in places.address
    ]
