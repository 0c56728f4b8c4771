"""What DMA and STREAM commands do, in numpy, from docs/specification.md."""

import numpy as np

from poblano.config import BLOCK, LINE_BYTES
from poblano.isa.commands import Opcode

__all__ = ["MemoryModel", "pack_block"]


def pack_block(data, scale, total):
    """``LocalWrite.data`` of an activation block: 32 bytes, the scale's bits and the signed sum."""
    return {
        "block": {
            "data": int.from_bytes(bytes(data), "little"),
            "meta": {"scale": int(scale), "sum": int(total)},
        }
    }


class MemoryModel:
    """Memory (a uint8 array) and each tile's local memories; :meth:`run` executes a command."""

    def __init__(self, config, memory):
        self.config = config
        self.memory = np.array(memory, np.uint8)
        self.vmem = np.zeros((config.tiles, config.tile.vmem_lines, LINE_BYTES), np.uint8)
        self.blocks = np.zeros((config.tiles, config.tile.amem_blocks, BLOCK), np.uint8)
        self.scales = np.zeros((config.tiles, config.tile.amem_blocks), np.uint32)

    def write_row(self, tile, row, words, mask):
        """A LocalWrite of vector memory: ``words`` are the row's."""
        lanes = self.config.tile.lanes
        flat = self.vmem[tile].reshape(-1).view(np.uint32)
        for lane in range(lanes):
            if mask >> lane & 1:
                flat[row * lanes + lane] = words[lane]

    def run(self, command):
        """Execute a DMA command; for STREAM returns the bytes."""
        o = command.operands
        out = bytearray()
        for r in range(o.get("rows", 0)):
            at = o["mem_addr"] + r * o["mem_stride"]
            if command.opcode is Opcode.LOAD:
                first = o["dst"] + r * o["dst_stride"]
                data = self.memory[at : at + o["lines"] * LINE_BYTES].reshape(-1, LINE_BYTES)
                for tile in range(self.config.tiles):
                    if o["tiles"] >> tile & 1:
                        self.vmem[tile, first : first + o["lines"]] = data
                continue
            if command.opcode is Opcode.STREAM:
                out += self.memory[at : at + o["row_bytes"]].tobytes()
                continue
            if command.opcode is Opcode.STORE_WORD:
                self.memory[at : at + 4] = np.array([o["value"]], "<u4").view(np.uint8)
                continue
            first = o["src"] + r * o["src_stride"]
            if command.opcode is Opcode.STORE:
                data = self.vmem[o["tile"], first : first + o["lines"]].reshape(-1)
            elif command.opcode is Opcode.STORE_BLOCK:
                data = self.blocks[o["tile"], first, o["offset"] : o["offset"] + o["length"]]
            else:
                data = self.scales[o["tile"], first : first + 1].view(np.uint8)
            self.memory[at : at + len(data)] = data
        return bytes(out)
