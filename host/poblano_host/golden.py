"""The golden model of the chip: executes command rings on numpy arrays, bit for bit what the hardware must do."""

from collections import deque
import random

import numpy as np

from poblano.compute.reference import matmul, unpack_weights
from poblano.compute.weight_format import Element, ScaleFormat, step_bytes
from poblano.config import BLOCK, LINE_BYTES, LINE_WORDS
from poblano.control.check import check
from poblano.control.commands import COMMAND_BYTES, COUNT_BITS, CommandError, Opcode, unit_name
from poblano.vector import reference

__all__ = ["GoldenChip", "GoldenError"]


class GoldenError(RuntimeError):
    """A ring that hangs the chip: a wait that never holds, or a weight stream of another length than its matmul."""


class _Tile:
    """A tile's local memories: vector memory as FP32 words, activation memory as elements, scales and sums."""

    def __init__(self, config):
        tile = config.tile
        self.vmem = np.zeros(tile.vmem_lines * LINE_WORDS, np.float32)
        self.amem_q = np.zeros((tile.amem_blocks, BLOCK), np.int8)
        self.amem_scale = np.zeros(tile.amem_blocks, np.float32)
        self.amem_sum = np.zeros(tile.amem_blocks, np.int16)
        self.fifo = deque()
        self.best = reference.ARGMAX_START


class GoldenChip:
    """The chip as commands see it.

    Parameters
    ----------
    config : ChipConfig
    memory : uint8 array, the memory behind the chip; written in place.

    ``run`` executes a list of commands. ``shuffle``, a seed, runs them in a random order that the waits allow, instead of
    in the ring's order: a program whose waits suffice gives the same bits.
    """

    def __init__(self, config, memory):
        self.config = config
        self.memory = memory
        self.tiles = [_Tile(config) for _ in range(config.tiles)]
        self.completed = [0] * config.units
        self._weights = {}

    def reset_queue(self):
        """What QUEUE_RESET does: counts at zero, weight FIFOs and argmax empty; local memories keep their contents."""
        self.completed = [0] * self.config.units
        for tile in self.tiles:
            tile.fifo.clear()
            tile.best = reference.ARGMAX_START

    def run(self, commands, *, shuffle=None, progress=None):
        """Execute ``commands`` (bytes, 64 each). CommandError has the refused command's number in ``index``.

        Commands before a refused one are executed. GoldenError for a ring that would hang.
        """
        decoded, refused = [], None
        for index in range(len(commands) // COMMAND_BYTES):
            try:
                decoded.append(check(commands[index * COMMAND_BYTES:(index + 1) * COMMAND_BYTES], self.config,
                                     len(self.memory)))
            except CommandError as error:
                error.index = index
                refused = error
                break
        order = self._in_order if shuffle is None else self._shuffled
        for done, (index, command) in enumerate(order(decoded, shuffle)):
            self._execute(index, command)
            self.completed[command.unit] += 1
            if progress is not None:
                progress(done + 1, len(decoded))
        if refused is not None:
            raise refused

    def _ready(self, command):
        return all((self.completed[unit] - count) % (1 << COUNT_BITS) < 1 << COUNT_BITS - 1
                   for unit, count in command.waits)

    def _in_order(self, commands, _):
        for index, command in enumerate(commands):
            if not self._ready(command):
                waits = ", ".join(f"{unit_name(unit)} >= {count}" for unit, count in command.waits)
                raise GoldenError(f"command {index} ({command.opcode.name} on {unit_name(command.unit)}) waits for a later "
                                  f"command: {waits}")
            yield index, command

    def _shuffled(self, commands, seed):
        generator = random.Random(seed)
        queues = [deque() for _ in range(self.config.units)]
        for index, command in enumerate(commands):
            queues[command.unit].append((index, command))
        left = len(commands)
        while left:
            ready = [queue for queue in queues if queue and self._ready(queue[0][1]) and self._has_weights(queue[0][1])]
            if not ready:
                raise GoldenError("no command can start: the waits form a cycle")
            yield generator.choice(ready).popleft()
            left -= 1

    def _has_weights(self, command):
        return command.opcode is not Opcode.MATMUL or bool(self.tiles[(command.unit - 1) // 3].fifo)

    def _execute(self, index, command):
        operation = {Opcode.LOAD: self._load, Opcode.STORE: self._store, Opcode.STORE_BLOCK: self._store_block,
                     Opcode.STORE_SCALE: self._store_scale, Opcode.STREAM: self._stream, Opcode.MATMUL: self._matmul,
                     Opcode.VECTOR: self._vector}.get(command.opcode)
        if operation is not None:
            operation(index, (command.unit - 1) // 3, command.operands)

    def _selected(self, mask):
        return [tile for n, tile in enumerate(self.tiles) if mask >> n & 1]

    def _load(self, index, _, o):
        size = LINE_BYTES * o["lines"]
        for row in range(o["rows"]):
            at, to = o["mem_addr"] + row * o["mem_stride"], LINE_WORDS * (o["dst"] + row * o["dst_stride"])
            words = np.frombuffer(self.memory[at:at + size].tobytes(), np.float32)
            for tile in self._selected(o["tiles"]):
                tile.vmem[to:to + size // 4] = words

    def _store_rows(self, o, rows):
        """Write the bytes ``rows`` (rows, n) to memory."""
        for row, data in enumerate(rows):
            at = o["mem_addr"] + row * o["mem_stride"]
            self.memory[at:at + len(data)] = data

    def _store(self, index, _, o):
        vmem = self.tiles[o["tile"]].vmem.view(np.uint8)
        starts = LINE_BYTES * (o["src"] + o["src_stride"] * np.arange(o["rows"]))
        self._store_rows(o, [vmem[start:start + LINE_BYTES * o["lines"]] for start in starts])

    def _store_block(self, index, _, o):
        blocks = o["src"] + o["src_stride"] * np.arange(o["rows"])
        data = self.tiles[o["tile"]].amem_q[blocks].view(np.uint8)
        self._store_rows(o, data[:, o["offset"]:o["offset"] + o["length"]])

    def _store_scale(self, index, _, o):
        blocks = o["src"] + o["src_stride"] * np.arange(o["rows"])
        self._store_rows(o, self.tiles[o["tile"]].amem_scale[blocks].reshape(-1, 1).view(np.uint8))

    def _stream(self, index, tile, o):
        starts = o["mem_addr"] + o["mem_stride"] * np.arange(o["rows"])
        data = b"".join(self.memory[start:start + o["row_bytes"]].tobytes() for start in starts)
        self.tiles[tile].fifo.append((o["mem_addr"], data))

    def _take(self, index, tile, size):
        """``size`` bytes from the tile's weight FIFO, and the address of their start."""
        parts, address = [], None
        while size > 0:
            if not tile.fifo:
                raise GoldenError(f"command {index}: the weight stream lacks {size} bytes")
            at, data = tile.fifo.popleft()
            address = at if address is None else address
            if len(data) > size:
                tile.fifo.appendleft((at + size, data[size:]))
                data = data[:size]
            parts.append(data)
            size -= len(data)
        return address, parts[0] if len(parts) == 1 else b"".join(parts)

    def _matmul(self, index, number, o):
        tile, array = self.tiles[number], self.config.tile.array
        element, scale = Element(o["element"]), ScaleFormat(o["scale"])
        steps = o["k_blocks"] // array.segments
        size = o["groups"] * steps * step_bytes(array, element=element, scale=scale, minimum=o["minimum"])
        address, data = self._take(index, tile, size)
        key = (address, size, element, scale, o["k_blocks"])
        known = self._weights.get(key)
        if known is None or known[0] != data:
            known = (data, unpack_weights(data, self.config, k_blocks=o["k_blocks"], element=element, scale_format=scale,
                                          minimum=bool(o["minimum"]), transpose=bool(o["transpose"])))
            if scale is ScaleFormat.F16:  # weights, which stay; KV caches do not
                self._weights[key] = known
        blocks = (o["a"] + o["a_stride"] * np.arange(o["rows"]))[:, None] + np.arange(o["k_blocks"])  # (rows, k_blocks)
        result = matmul(tile.amem_q[blocks].reshape(o["rows"], -1), tile.amem_scale[blocks], tile.amem_sum[blocks],
                        *known[1])
        for target in self._selected(o["tiles"]):
            self._write_rows(target, o["dst"], o["dst_stride"], result)

    @staticmethod
    def _write_rows(tile, line, stride, values):
        words = values.shape[1]
        for row, data in enumerate(values):
            start = LINE_WORDS * (line + row * stride)
            tile.vmem[start:start + words] = data

    def _vector(self, index, number, o):
        tile = self.tiles[number]
        if not o["sink"] and not o["reduce"]:
            return
        x = reference.operands(o, tile.vmem)
        targets = self._selected(o["tiles"])
        if o["reduce"] in (1, 2):
            reduced = (reference.reduce_sum if o["reduce"] == 1 else reference.reduce_max)(x)
        elif o["reduce"] == 3:
            tile.best = reference.argmax(x, o["index"], reference.ARGMAX_START if o["first"] else tile.best)
            reduced = np.array([tile.best[0], np.uint32(tile.best[1]).view(np.float32)], np.float32)
        if o["sink"] == 1:
            for target in targets:
                self._write_rows(target, o["dst"], o["dst_stride"], x)
        elif o["sink"] == 2:
            q, scale, total = reference.quantise(x)
            for row in range(o["rows"]):
                at = o["dst"] + row * o["dst_stride"]
                for target in targets:
                    target.amem_q[at:at + o["blocks"]] = q[row].reshape(-1, BLOCK)
                    target.amem_scale[at:at + o["blocks"]] = scale[row]
                    target.amem_sum[at:at + o["blocks"]] = total[row]
        if o["reduce"]:
            start = LINE_WORDS * o["r"]
            for target in targets:
                target.vmem[start:start + len(reduced)] = reduced
