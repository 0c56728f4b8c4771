"""The golden model of the chip: executes command rings on numpy arrays, bit for bit what the hardware must
do."""

from collections import deque

import numpy as np

from poblano.compute.reference import matmul, unpack_weights
from poblano.config import BLOCK, LINE_BYTES, LINE_WORDS
from poblano.isa.errors import CommandError, ErrorCode
from poblano.isa.weight_stream import Activation, Element, ScaleFormat, step_bytes
from poblano.moe.reference import chosen, chosen_with_room, routes
from poblano.vector import reference

from .order import GoldenError, Order
from .pages import PageTables
from .program import Program

__all__ = ["GoldenChip", "GoldenError"]


class _Tile:
    """A tile's local memories: vector memory as FP32 words, activation memory as codes of elements, scales
    and sums."""

    def __init__(self, config):
        tile = config.tile
        self.vmem = np.zeros(tile.vmem_lines * LINE_WORDS, np.float32)
        self.amem_q = np.zeros((tile.amem_blocks, BLOCK), np.int8)
        self.amem_scale = np.zeros(tile.amem_blocks, np.float32)
        self.amem_sum = np.zeros(tile.amem_blocks, np.int64)
        self.fifo = deque()
        self.best = reference.ARGMAX_START


class GoldenChip:
    """The chip as commands see it.

    Parameters
    ----------
    config : ChipConfig
    memory : uint8 array, the memory behind the chip; written in place.

    ``run`` executes commands in an order that the chip could choose: dispatched in order into queues of
    ``queue_depth``, started when their waits hold. It is the ring's order where that is possible.
    ``shuffle``, a seed, makes every choice at random, and half of the seeds give weight FIFOs no room: a
    program whose waits suffice gives the same bits.

    ``routes`` are what the last ROUTE command that was not quiet has found: a tuple for each expert with
    rows, its number, how many rows it has, and the line of its list.

    ``rerouted`` are the choices of ROUTE commands that were not quiet for which there was no room.

    ``block_sums``, see :func:`~poblano.compute.reference.matmul`, is what computes the MATMULs' sums, on a
    device for example.
    """

    def __init__(self, config, memory, *, block_sums=None):
        self.config, self.topology = config, config.topology
        self.block_sums = block_sums
        self.memory = memory
        self.tiles = [_Tile(config) for _ in range(config.tiles)]
        self.completed = [0] * config.units
        self.tables = PageTables(config, len(memory))
        self.routes, self.rerouted = [], 0
        self._weights = {}

    def reset_queue(self):
        """What QUEUE_RESET does: counts at zero, weight FIFOs and argmax empty, no experts with rows; local
        memories keep their contents."""
        self.completed, self.routes = [0] * self.config.units, []
        for tile in self.tiles:
            tile.fifo.clear()
            tile.best = reference.ARGMAX_START

    def run(self, commands, *, shuffle=None, progress=None):
        """Execute ``commands`` (bytes, 64 each). CommandError has the refused command's number in ``index``.

        Commands before a refused one are executed; of one that fails in its unit those of other units that do
        not depend on it, also behind it. GoldenError for a ring that would hang the chip.
        """
        program = Program(self, commands)
        order = Order(self, program, shuffle)
        for done, _ in enumerate(order):
            if progress is not None:
                progress(done + 1, program.count)
        for failure in (*order.failed.values(), program.refused):
            if failure is not None:
                raise failure

    def ready(self, command):
        """Whether the command's waits hold."""
        return all(self.reached(unit, count) for unit, count in command.waits)

    def reached(self, unit, count):
        """Whether a unit has completed ``count`` commands, modulo 2**20."""
        return (self.completed[unit] - count) % 2**20 < 2**19

    def stream_size(self, o):
        """Bytes of the weight stream that a MATMUL's operands take."""
        size = step_bytes(
            self.config, element=Element(o["element"]), scale=ScaleFormat(o["scale"]), minimum=o["minimum"]
        )
        return o["groups"] * (o["k_blocks"] // self.config.tile.array.segments) * size

    def execute(self, index, command):
        """The effect of a command, whatever its waits."""
        if command.opcode not in ("NOP", "EXPERT"):
            operation = getattr(self, f"_{command.opcode.lower()}")
            operation(index, self.topology.tile_of(command.unit), command.operands)

    def _selected(self, mask):
        return [tile for n, tile in enumerate(self.tiles) if mask >> n & 1]

    def _load(self, index, _, o):
        size = LINE_BYTES * o["lines"]
        for row in range(o["rows"]):
            at, to = self._place(o, row), LINE_WORDS * (o["dst"] + row * o["dst_stride"])
            words = np.frombuffer(self.memory[at : at + size].tobytes(), np.float32)
            for tile in self._selected(o["tiles"]):
                tile.vmem[to : to + size // 4] = words

    def _place(self, o, row):
        """Where a row of memory is."""
        return self.tables.translate(o["mem_addr"] + row * o["mem_stride"])

    def _store_rows(self, o, rows):
        """Write the bytes ``rows`` (rows, n) to memory."""
        for row, data in enumerate(rows):
            at = self._place(o, row)
            self.memory[at : at + len(data)] = data

    def _store(self, index, _, o):
        vmem = self.tiles[o["tile"]].vmem.view(np.uint8)
        starts = LINE_BYTES * (o["src"] + o["src_stride"] * np.arange(o["rows"]))
        self._store_rows(o, [vmem[start : start + LINE_BYTES * o["lines"]] for start in starts])

    def _store_block(self, index, _, o):
        blocks = o["src"] + o["src_stride"] * np.arange(o["rows"])
        data = self.tiles[o["tile"]].amem_q[blocks].view(np.uint8)
        self._store_rows(o, data[:, o["offset"] : o["offset"] + o["length"]])

    def _store_scale(self, index, _, o):
        blocks = o["src"] + o["src_stride"] * np.arange(o["rows"])
        self._store_rows(o, self.tiles[o["tile"]].amem_scale[blocks].reshape(-1, 1).view(np.uint8))

    def _store_word(self, index, _, o):
        self._store_rows(o, [np.array([o["value"]], "<u4").view(np.uint8)] * o["rows"])

    def _stream(self, index, tile, o):
        starts = [self._place(o, row) for row in range(o["rows"])]
        data = b"".join(self.memory[start : start + o["row_bytes"]].tobytes() for start in starts)
        self.tiles[tile].fifo.append((o["mem_addr"], data))

    def _take(self, index, tile, size):
        """``size`` bytes from the tile's weight FIFO, and the address of their start; CommandError if they
        end inside of a STREAM."""
        parts, address = [], None
        while size > 0:
            if not tile.fifo:
                raise GoldenError(f"command {index}: the weight stream lacks {size} bytes")
            at, data = tile.fifo.popleft()
            address = at if address is None else address
            if len(data) > size:
                text = f"the weights of command {index} end {len(data) - size} bytes before those of a STREAM"
                raise CommandError(ErrorCode.LENGTH, text)
            parts.append(data)
            size -= len(data)
        return address, parts[0] if len(parts) == 1 else b"".join(parts)

    def _matmul(self, index, number, o):
        tile = self.tiles[number]
        element, scale = Element(o["element"]), ScaleFormat(o["scale"])
        size = self.stream_size(o)
        address, data = self._take(index, tile, size)
        key = (address, size, element, scale, o["k_blocks"], o["interleaved"])
        known = self._weights.get(key)
        if known is None or known[0] != data:
            known = (
                data,
                unpack_weights(
                    data,
                    self.config,
                    k_blocks=o["k_blocks"],
                    element=element,
                    scale_format=scale,
                    minimum=bool(o["minimum"]),
                    transpose=bool(o["transpose"]),
                    interleaved=bool(o["interleaved"]),
                ),
            )
            if scale in (ScaleFormat.F16, ScaleFormat.E8M0):  # weights, which stay; KV caches do not
                self._weights[key] = known
        blocks = (o["a"] + o["a_stride"] * np.arange(o["rows"]))[:, None] + np.arange(
            o["k_blocks"]
        )  # (rows, k_blocks)
        result = matmul(
            tile.amem_q[blocks].reshape(o["rows"], -1),
            tile.amem_scale[blocks],
            tile.amem_sum[blocks],
            *known[1],
            activation=Activation(o["activation"]),
            element=element,
            scale_format=scale,
            block_sums=self.block_sums,
        )
        targets, spread = self._selected(o["tiles"]), o["spread"]
        for n, target in enumerate(targets):
            rows = result[n * spread : (n + 1) * spread] if spread else result
            self._write_rows(target, o["dst"], o["dst_stride"], rows)

    @staticmethod
    def _write_rows(tile, line, stride, values):
        words = values.shape[1]
        for row, data in enumerate(values):
            start = LINE_WORDS * (line + row * stride)
            tile.vmem[start : start + words] = data

    def _vector(self, index, number, o):
        tile = self.tiles[number]
        if not o["sink"] and not o["reduce"]:
            return
        x = reference.operands(o, tile.vmem)
        targets = self._selected(o["tiles"])
        if o["reduce"] == 3:
            tile.best = reference.argmax(x, o["index"], reference.ARGMAX_START if o["first"] else tile.best)
            reduced = np.array([tile.best[0], np.uint32(tile.best[1]).view(np.float32)], np.float32)
        elif o["reduce"]:
            reduced = reference.reduce_rows(o["reduce"], x)
        if o["sink"] == 1:
            for target in targets:
                self._write_rows(target, o["dst"], o["dst_stride"], x)
        elif o["sink"] == 2:
            q, scale, total = reference.quantise(x, Activation(o["activation"]))
            turns = np.arange(o["rows"]) // o["share"] if o["dst_step"] else np.arange(o["rows"])
            inside = o["dst_step"] * (np.arange(o["rows"]) - turns)
            for row, at in enumerate(o["dst"] + turns * o["dst_stride"] + inside):
                for target in targets:
                    target.amem_q[at : at + o["blocks"]] = q[row].reshape(-1, BLOCK)
                    target.amem_scale[at : at + o["blocks"]] = scale[row]
                    target.amem_sum[at : at + o["blocks"]] = total[row]
        if o["reduce"]:
            start = LINE_WORDS * o["r"]
            for target in targets:
                target.vmem[start : start + len(reduced)] = reduced

    def _route(self, index, number, o):
        vmem, used = self.tiles[number].vmem, o["used"]
        row_of = lambda name, row, words: (
            (LINE_WORDS * (o[name] + row * o[f"{name}_stride"])) + np.arange(words)
        )
        rows = lambda name: vmem[[row_of(name, row, o["experts"]) for row in range(o["rows"])]]
        groups, used_groups = (o["group_count"], o["group_used"]) if o["group_count"] else (1, 1)
        choice = rows("a"), used, groups, used_groups
        if o["capacity"]:
            windows = vmem[[row_of("c", row, 1)[0] for row in range(o["rows"])]]
            experts, refused = chosen_with_room(*choice, o["capacity"], windows)
            self.rerouted += 0 if o["quiet"] else refused
        else:
            experts = chosen(*choice)
        weights = np.take_along_axis(rows("b"), experts, -1)
        found = routes(experts, weights)
        lists = [o["list"] + route.line for route in found]
        if not o["quiet"]:
            self.routes = [(route.expert, len(route.rows), line) for route, line in zip(found, lists)]
        for tile in self._selected(o["tiles"]):
            for row, its in enumerate(weights):
                tile.vmem[row_of("dst", row, used)] = its
            for route, line in zip(found, lists):
                entries = tile.vmem[LINE_WORDS * line :][: 2 * len(route.rows)]
                entries[0::2] = route.rows.astype(np.uint32).view(np.float32)
                entries[1::2] = route.weights

    def _gather(self, index, number, o, listed=("a",)):
        """A VECTOR command of one row for each entry of the list."""
        vmem = self.tiles[number].vmem
        only = dict(rows=1, reduce=0, first=0, dst_step=0, limit_step=0, share=1, c=0, r=0, index=0)
        for row in range(o["rows"]):
            entry = vmem[LINE_WORDS * o["c"] + 2 * row :][:2].copy()
            named = int(entry.view(np.uint32)[0])
            if named >= o["numbers"]:
                text = f"entry {row} of the list of command {index} names row {named} of {o['numbers']}"
                raise CommandError(ErrorCode.LOCAL_RANGE, text)
            one = o | only
            for name in ("a", "b", "dst"):
                one[name] += o[f"{name}_stride"] * (named if name in listed else row)
            for n in (1, 2):
                if o[f"sel{n}"] == 1:
                    one |= {f"sel{n}": 2, f"imm{n}": entry[1]}
            self._vector(index, number, one)

    def _scatter(self, index, number, o):
        self._gather(index, number, o, listed=("b", "dst"))

    def _clear(self, index, number, o):
        tile = self.tiles[number]
        for memory in (tile.vmem, tile.amem_q, tile.amem_scale, tile.amem_sum):
            memory[:] = 0
