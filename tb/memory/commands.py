"""Random commands that move data."""

from poblano.isa.commands import Command, Opcode
from poblano.isa.topology import UnitKind

__all__ = ["RandomCommands", "rows_of"]

DMA_OPCODES = [op for op in Opcode if op.kind is UnitKind.DMA] + [Opcode.NOP]


class RandomCommands:
    """Commands of a chip's DMA engine and stream units, whose memory lies in given ranges."""

    def __init__(self, config, rng):
        self.config, self.rng = config, rng

    def region(self, rows, row_bytes, granule, low, high, stride_choices):
        """Address and stride of rows within low..high."""
        stride = self.rng.choice(
            [s for s in stride_choices if s % granule == 0 and (rows - 1) * s + row_bytes <= high - low]
        )
        addr = (
            low + self.rng.randrange((high - low - (rows - 1) * stride - row_bytes) // granule + 1) * granule
        )
        return addr, stride

    def dma(self, low, high):
        rng, tile = self.rng, self.config.tile
        beat = self.config.memory.data_bytes
        opcode = rng.choice(DMA_OPCODES)
        if opcode is Opcode.NOP:
            return Command(opcode, 0, {})
        rows = rng.choice([1, 2, 3, 7, 16, 20])
        o = {"rows": rows}
        local = "dst" if opcode is Opcode.LOAD else "src"
        if opcode in (Opcode.LOAD, Opcode.STORE):
            unit = max(1, beat // 32)
            o["lines"] = unit * rng.choice([1, 2, 5, 16 // unit] if rows < 8 else [1, 3])
            row_bytes, granule, depth, items = 32 * o["lines"], beat, tile.vmem_lines, o["lines"]
        else:
            depth, items, unit = tile.amem_blocks, 1, 1
            row_bytes = granule = 4
            if opcode is Opcode.STORE_BLOCK:
                row_bytes = o["length"] = rng.choice([2, 4, 8, 16, 32])
                granule = min(row_bytes, beat)
                o["offset"] = rng.randrange(0, 32, row_bytes)
        o["mem_addr"], o["mem_stride"] = self.region(
            rows,
            row_bytes,
            granule,
            low,
            high,
            [0, row_bytes, row_bytes, row_bytes + granule, 3 * granule, 416, 1024, 4096],
        )
        if opcode in (Opcode.STORE_SCALE, Opcode.STORE_WORD) and rng.random() < 0.5:
            o["mem_addr"] -= o["mem_addr"] % beat  # words that may fill beats
        if opcode is Opcode.STORE_WORD:
            return Command(opcode, 0, o | {"value": rng.getrandbits(32)})
        stride = o[f"{local}_stride"] = rng.choice(
            [s for s in (0, unit, items, 3 * unit) if (rows - 1) * s + items <= depth]
        )
        o[local] = rng.randrange(depth - (rows - 1) * stride - items + 1) // unit * unit
        if opcode is Opcode.LOAD:
            o["tiles"] = rng.randrange(1, 1 << self.config.tiles)
        else:
            o["tile"] = rng.randrange(self.config.tiles)
        return Command(opcode, 0, o)

    def stream(self, tile, low, high):
        word = self.config.stream_bytes
        if self.rng.random() < 0.1:
            return Command(Opcode.NOP, self.config.topology.unit(UnitKind.STREAM, tile), {})
        rows, row_bytes = self.rng.choice([1, 1, 2, 5]), word * self.rng.choice([1, 2, 3, 10, 30])
        addr, stride = self.region(
            rows, row_bytes, self.config.memory.data_bytes, low, high, [row_bytes, row_bytes + word, 0, 1024]
        )
        return Command(
            Opcode.STREAM,
            self.config.topology.unit(UnitKind.STREAM, tile),
            {"mem_addr": addr, "mem_stride": stride, "rows": rows, "row_bytes": row_bytes},
        )


def rows_of(command):
    """The rows of a STORE, as commands."""
    o = command.operands
    for r in range(o.get("rows", 0)):
        row = {"rows": 1, "mem_addr": o["mem_addr"] + r * o["mem_stride"]}
        if "src" in o:
            row["src"] = o["src"] + r * o["src_stride"]
        yield Command(command.opcode, 0, o | row)
