"""Commands before they have an order: what each does, what it reads and writes, how long it takes."""

from dataclasses import dataclass

from poblano.isa.commands import Opcode
from poblano.isa.topology import UnitKind
from poblano.isa.vector_ops import NO_LIMIT

from .regions import regions
from .symbols import affine
from .timing import Timing

__all__ = ["Block", "Builder", "Op"]


@dataclass(slots=True, eq=False)
class Op:
    """A command to be.

    Members
    -------
    operands : by field name; an int, a float or an :class:`.symbols.Affine`
    reads, writes : regions of local memories, see :func:`.regions.regions`
    reads_memory, writes_memory : names of parts of memory
    layer : the layer that it belongs to, -1 before the first, None after the last
    segment : the same of the commands that are put in order together
    rank : of two commands that a unit could take, the one of the lower rank goes first
    cycles, latency : about how long it keeps its unit, and how long until its effects can be seen
    stream : of a MATMUL the STREAM that feeds it
    block : None, or the :class:`Block` that it is one of; its first is an EXPERT
    after : more commands that must be complete before
    """

    opcode: Opcode
    unit: int
    operands: dict
    layer: int | None
    label: str
    reads: tuple = ()
    writes: tuple = ()
    reads_memory: tuple = ()
    writes_memory: tuple = ()
    rank: int = 0
    cycles: int = 0
    latency: int = 0
    stream: "Op | None" = None
    block: "Block | None" = None
    after: tuple = ()
    segment: int | None = None


@dataclass(frozen=True, eq=False)
class Block:
    """The commands of an expert: of the ``slot``-th of a ``mixture``, whose blocks follow each other."""

    mixture: object
    slot: int


class Builder:
    """Collects commands in the order in which their effects are meant.

    Operands that are not given are 0. ``bounds`` has the largest value of each symbol, which regions are
    for; ``usual`` those that times are for.

    Parameters
    ----------
    parts : of the second half of a step, the parts before it; what both halves read and write in memory is
        apart
    """

    def __init__(self, config, bounds=None, usual=None, parts=0):
        self.config = config
        self.bounds = {} if bounds is None else bounds
        self.usual = self.bounds if usual is None else usual
        self.timing = Timing(config)
        self.ops = []
        self.parts = parts
        self.layer = self.segment = -1
        self.group = self.head = self.rank = 0
        self.awaited: tuple = ()
        self.block: Block | None = None

    def _op(self, opcode, unit, operands, label, **names):
        open_ = {name: value for name, value in operands.items() if not isinstance(value, int | float)}
        sizes, usual = (
            operands | {name: affine(value).at(values) for name, value in open_.items()}
            for values in (self.bounds, self.usual)
        )
        if self.parts:
            for key in names.keys() & {"reads_memory", "writes_memory"}:
                names[key] = tuple((self.parts, name) for name in names[key])
            operands = operands | {name: affine(value).behind(self.parts) for name, value in open_.items()}
        reads, writes = regions(opcode, unit, sizes, self.config)
        cycles, latency = self.timing.of(opcode, usual)
        if opcode is Opcode.LOAD and self.awaited:  # streams take half of the memory's cycles
            cycles, latency = 2 * cycles, latency + cycles
        return Op(
            opcode,
            unit,
            operands,
            self.layer,
            label,
            reads,
            writes,
            rank=self.rank + (self.group if opcode not in (Opcode.STREAM, Opcode.MATMUL) else self.head),
            cycles=cycles,
            latency=latency,
            block=self.block,
            segment=self.segment,
            **names,
        )

    def _unit(self, kind, tile=0):
        return self.config.topology.unit(kind, tile)

    def _emit(self, *arguments, **names):
        self.ops.append(self._op(*arguments, **names))

    def load(self, tiles, addr, stride, dst, dst_stride, rows, lines, *, reads=(), writes=(), label):
        """Rows of memory to lines of the vector memory of ``tiles``."""
        operands = dict(
            mem_addr=addr, mem_stride=stride, dst=dst, dst_stride=dst_stride, rows=rows, lines=lines
        )
        self._emit(
            Opcode.LOAD,
            self._unit(UnitKind.DMA),
            operands | dict(tiles=mask(tiles)),
            label,
            reads_memory=reads,
            writes_memory=writes,
        )

    def store(self, tile, src, src_stride, rows, lines, addr, stride, *, writes=(), label):
        """Lines of a tile's vector memory to memory."""
        operands = dict(
            mem_addr=addr, mem_stride=stride, src=src, src_stride=src_stride, rows=rows, lines=lines
        )
        self._emit(
            Opcode.STORE, self._unit(UnitKind.DMA), operands | dict(tile=tile), label, writes_memory=writes
        )

    def store_block(self, tile, src, src_stride, rows, offset, length, addr, stride, *, writes=(), label):
        """Bytes of blocks of a tile's activation memory to memory; with ``length`` 0 their scales."""
        operands = dict(
            mem_addr=addr, mem_stride=stride, src=src, src_stride=src_stride, rows=rows, tile=tile
        )
        if length:
            operands |= dict(offset=offset, length=length)
        opcode = Opcode.STORE_BLOCK if length else Opcode.STORE_SCALE
        self._emit(opcode, self._unit(UnitKind.DMA), operands, label, writes_memory=writes)

    def matmul(self, tile, tiles, stream, *, label, reads=(), **operands):
        """A product in ``tile`` for the vector memories of ``tiles``; ``stream``: operands of the STREAM of
        its weights."""
        operands = operands | dict(tiles=mask(tiles))
        feed = self._op(
            Opcode.STREAM,
            self._unit(UnitKind.STREAM, tile),
            dict(rows=1, mem_stride=0) | stream,
            label,
            reads_memory=(*reads, *self.awaited),
        )
        op = self._op(Opcode.MATMUL, self._unit(UnitKind.MATMUL, tile), operands, label, stream=feed)
        self.ops += [feed, op]

    def vector(self, tile, tiles=None, *, label, opcode=Opcode.VECTOR, **operands):
        """An element-wise command of ``tile``, for the memories of ``tiles`` (its own)."""
        defaults = dict(rows=1, limit=NO_LIMIT, tiles=mask([tile] if tiles is None else tiles))
        self._emit(opcode, self._unit(UnitKind.VECTOR, tile), defaults | operands, label)

    def route(self, tile, tiles, *, label, **operands):
        """A routing by ``tile`` for the memories of ``tiles``; the command."""
        operands = operands | dict(tiles=mask(tiles))
        self._emit(Opcode.ROUTE, self._unit(UnitKind.VECTOR, tile), operands, label)
        return self.ops[-1]

    def expert(self, route, slot, stride, *, label):
        """Begins the block of the ``slot``-th expert of a ``route``, whose memory is ``stride`` bytes behind
        that of the one before."""
        self.block = Block(route, slot)
        operands = dict(slot=slot, stride=stride)
        self._emit(Opcode.EXPERT, self._unit(UnitKind.DMA), operands, label, after=(route,))


def mask(tiles):
    """The mask of a list of tiles."""
    return sum(1 << tile for tile in tiles)
