"""Drives the matmul unit's ports, answers its reads and compares its writes with the reference."""

from collections import deque
import os

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
import numpy as np

from poblano.compute.reference import matmul, pack_weights
from poblano.config import BLOCK, LINE_WORDS
from poblano.interfaces import BusWrite, LocalWrite, MetaLayout
from poblano.isa.check import check
from poblano.isa.commands import Command, Opcode
from poblano.isa.topology import UnitKind
from poblano.isa.weight_stream import Element, ScaleFormat
from tb.common.monitor import Monitor
from tb.common.reset import reset_unit
from tb.compute.configs import CONFIGS

__all__ = ["ARITHMETIC", "ARRAY", "CONFIG", "OWN", "TILE", "Bench", "start"]

CONFIG = CONFIGS[os.environ["CONFIG"]]
SEED = int(os.environ.get("SEED", "1"))
ARRAY, TILE = CONFIG.tile.array, CONFIG.tile
ARITHMETIC = ARRAY.arithmetic
META = MetaLayout(ARITHMETIC.activation_sum_width)
LOCAL, BUS = LocalWrite(TILE.local), BusWrite(TILE.local, tiles=CONFIG.tiles)
OWN = CONFIG.tiles - 1
UNIT = CONFIG.topology.unit(UnitKind.MATMUL, OWN)


def field_of(layout, name):
    """Offset and mask of a field."""
    field = layout[name]
    return field.offset, (1 << field.width) - 1


def random_codes(rng, element, shape):
    """Codes of ``element``, integers in their range; mostly finite."""
    form = element.format
    codes = rng.integers(0, 1 << form.bits, shape)
    special = ~np.isfinite(element.values(codes))
    codes[special & (rng.random(shape) < 0.99)] = 1
    if element in (Element.S8, Element.S4):
        codes = codes - (1 << form.bits - 1)
    return codes.astype(np.int16).astype(
        np.int8 if element in (Element.S8, Element.S4, Element.U4) else np.uint8
    )


class Bench:
    """Drives every port once a cycle; ``stall`` is each port's probability of not being ready or valid."""

    def __init__(self, dut, name):
        self.dut = dut
        self.rng = np.random.default_rng(abs(hash_of(f"{name} {CONFIG.name} {SEED}")))
        rng, blocks = self.rng, TILE.amem_blocks
        self.a_q = rng.integers(-128, 128, (blocks, BLOCK)).astype(np.int8)
        # As codes of FP8 few are NaN or infinite.
        top = (self.a_q & 0x7C) == 0x7C
        self.a_q[top & (rng.random((blocks, 1)) < 0.95)] ^= 0x40
        self.a_q[rng.random(blocks) < 0.1] = -128
        self.a_scale = rng.normal(0, 1, blocks).astype(np.float32)
        # The sum is read from memory, not computed: any number will do.
        limit = 1 << ARITHMETIC.activation_sum_width - 1
        self.a_sum = rng.integers(-limit, limit, blocks) >> rng.integers(0, 12, blocks)
        self.stall = dict.fromkeys(("a", "meta", "weights", "local", "bus"), 0.0)
        self.latency = int(os.environ.get("LATENCY", "2"))
        self.clear()
        self.names = {
            n: getattr(dut, n)
            for n in (
                "unit__cmd__valid",
                "unit__cmd__ready",
                "unit__cmd__payload",
                "unit__done",
                "unit__busy",
                "unit__error",
                "unit__code",
                "unit__stall_in",
                "unit__stall_out",
                "weights__valid",
                "weights__ready",
                "weights__payload",
                "last",
            )
        }
        self.ports = {
            n: {
                k: getattr(dut, f"{n}__{k}")
                for k in ("req__valid", "req__ready", "req__payload", "valid", "data")
            }
            for n in ("a", "meta")
        }
        self.sinks = {
            n: {k: getattr(dut, f"{n}__{k}") for k in ("valid", "ready", "payload")} for n in ("local", "bus")
        }

    def clear(self):
        self.commands, self.words, self.expected = deque(), deque(), deque()
        self.pending = {n: deque() for n in ("a", "meta")}
        self.done_at, self.started_at, self.offered_at = [], [], []
        self.writes = self.to_finish = self.cycle = 0
        self.finish_counts = deque()  # writes after which each command is done
        self.stalls = [0, 0]
        self.wrong, self.errors = False, []  # whether there may be some; commands done before, and the codes
        self.held = None, None

    def answer(self, name, word):
        segments = ARRAY.segments
        blocks = range(word * segments, (word + 1) * segments)
        if name == "a":
            return int.from_bytes(b"".join(self.a_q[b].tobytes() for b in blocks), "little")
        meta = META
        at, mask = field_of(meta, "sum")
        scales = self.a_scale.view(np.uint32)
        return sum(
            (int(scales[b]) | (int(self.a_sum[b]) & mask) << at) << k * meta.size
            for k, b in enumerate(blocks)
        )

    async def reset(self):
        valids = [self.names["unit__cmd__valid"], self.names["weights__valid"]]
        await reset_unit(
            self.dut, tile=OWN, valids=valids, ports=self.ports, sinks=self.sinks, clear=self.clear
        )

    def add(
        self,
        *,
        rows,
        steps,
        groups,
        element=ARITHMETIC.weights[0],
        activation=ARITHMETIC.activations[0],
        scale=ScaleFormat.NONE,
        minimum=False,
        transpose=False,
        interleaved=False,
        tiles=1 << OWN,
        spread=0,
        special=False,
        whole=True,
    ):
        """A random command: its weights, which end where a STREAM does if they are ``whole``, and the writes
        that are expected."""
        blocks = ARRAY.segments * steps
        w_q, w_scale, w_min = self._weights(blocks, ARRAY.cols * groups, element, scale, minimum, special)
        stream = pack_weights(w_q, w_scale, w_min, CONFIG, element, scale, transpose, interleaved)
        size = CONFIG.stream_bytes
        words = [int.from_bytes(stream[i : i + size], "little") for i in range(0, len(stream), size)]
        ends = self.rng.random(len(words)) < 0.1  # a stream may come in parts
        ends[-1] = whole
        self.words.extend(zip(words, ends.tolist()))
        a, a_stride = self._place_activations(rows, blocks)
        at = a + a_stride * np.arange(rows)[:, None] + np.arange(blocks)  # (row, block)
        result = matmul(
            self.a_q[at].reshape(rows, BLOCK * blocks),
            self.a_scale[at],
            self.a_sum[at],
            w_q,
            w_scale,
            w_min,
            activation=activation,
            element=element,
            scale_format=scale,
        )
        dst, dst_stride = self._place_results(min(rows, spread or rows), ARRAY.cols * groups)
        self._expect(result, dst, dst_stride, tiles, spread)
        command = Command(
            Opcode.MATMUL,
            UNIT,
            {
                "element": element,
                "scale": scale,
                "minimum": int(minimum),
                "transpose": int(transpose),
                "interleaved": int(interleaved),
                "activation": activation,
                "a": a,
                "a_stride": a_stride,
                "rows": rows,
                "k_blocks": blocks,
                "groups": groups,
                "dst_stride": dst_stride,
                "dst": dst,
                "tiles": tiles,
                "spread": spread,
            },
        )
        self.commands.append(check(command.encode(), CONFIG, 1 << 20))

    def _weights(self, blocks, n, element, scale, minimum, special):
        """Codes (k, n), and the FP32 scales and minima (block, n), None where there are none; with
        ``special`` some of them are zero, subnormal, huge, infinite or NaN."""
        rng = self.rng
        w_q = random_codes(rng, element, (BLOCK * blocks, n))
        w_scale = w_min = None
        if scale is ScaleFormat.E8M0:
            w_scale = np.ldexp(
                np.float32(1),
                rng.integers(-20, 20, (blocks, n))
                if rng.random() < 0.7
                else rng.integers(-127, 128, (blocks, n)),
            )
        elif scale is not ScaleFormat.NONE:
            w_scale = rng.normal(0, 0.1, (blocks, n)).astype(
                np.float16 if scale is ScaleFormat.F16 else np.float32
            )
        if minimum:
            w_min = rng.normal(0, 0.1, (blocks, n)).astype(np.float16)
        if special:
            for values in (w_scale, w_min):
                if values is not None and scale is ScaleFormat.E8M0:
                    values[rng.random(values.shape) < 0.05] = np.nan
                elif values is not None:
                    at = rng.random(values.shape) < 0.05
                    values[at] = rng.choice(
                        np.array([0, np.inf, np.nan, 6e-8, 65504], values.dtype), values.shape
                    )[at]
        widen = lambda x: None if x is None else x.astype(np.float32)
        return w_q, widen(w_scale), widen(w_min)

    def _place_activations(self, rows, blocks):
        """A random place of a command's activations: the first block, and the blocks from row to row."""
        rng, segments = self.rng, ARRAY.segments
        stride = int(rng.integers(0, 3)) * segments
        stride = stride if rng.random() < 0.3 or blocks * rows > TILE.amem_blocks // 2 else blocks + stride
        room = TILE.amem_blocks - (rows - 1) * stride - blocks
        return int(rng.integers(0, room // segments + 1)) * segments, stride

    def _place_results(self, rows, n):
        """A random place of a tile's results, ``rows`` rows of ``n`` columns: the first line, and the lines
        from row to row."""
        grain = max(1, TILE.lanes // LINE_WORDS)
        extent = -(-n // LINE_WORDS)
        stride = extent + int(self.rng.integers(0, 4)) * grain
        used = (rows - 1) * stride + extent
        if used > TILE.vmem_lines:
            stride, used = extent, rows * extent
        return int(self.rng.integers(0, (TILE.vmem_lines - used) // grain + 1)) * grain, stride

    def _expect(self, result, dst, dst_stride, tiles, spread):
        """The writes of ``result`` (row, n), in the unit's order: groups, rows, lanes."""
        bits, (rows, n) = result.view(np.uint32), result.shape
        each = min(rows, spread or rows)  # rows of a tile
        targets = [1 << t for t in range(CONFIG.tiles) if tiles >> t & 1]
        for group in range(0, n, ARRAY.cols):
            for r in range(rows):
                for first in range(group, group + ARRAY.cols, TILE.lanes):
                    word = LINE_WORDS * (dst + r % each * dst_stride) + first
                    target = targets[r // spread] if spread else tiles
                    self.expected.append(
                        (target, word // TILE.lanes, bits[r, first : first + TILE.lanes].tobytes())
                    )
        self.to_finish += rows * n // TILE.lanes
        self.finish_counts.append(self.to_finish)

    def add_nop(self):
        self.finish_counts.append(self.to_finish)
        self.commands.append(Command(Opcode.NOP, UNIT, {}))

    def add_random(self, rows=None, special=False):
        rng = self.rng
        element = ARITHMETIC.weights[int(rng.integers(len(ARITHMETIC.weights)))]
        activation = ARITHMETIC.activations[int(rng.integers(len(ARITHMETIC.activations)))]
        scale = ScaleFormat(int(rng.integers(0, 3 + (element in ARITHMETIC.mx_weights))))
        minimum = (
            scale is ScaleFormat.F16 and element in (Element.S4, Element.U4) and bool(rng.integers(0, 2))
        )
        groups = int(rng.integers(1, 4))
        if rng.random() < 0.1:
            return self.add_nop()
        rows = rows or int(
            rng.choice([1, 2, 3, TILE.tokens // 2, TILE.tokens, int(rng.integers(1, TILE.tokens + 1))])
        )
        tiles = 1 << OWN if rng.random() < 0.5 else int(rng.integers(1, 1 << CONFIG.tiles))
        least = -(-rows // tiles.bit_count())
        spread = int(rng.choice([0, least, int(rng.integers(least, 2 * rows + 1)), 0xFFFF]))
        self.add(
            rows=rows,
            steps=int(rng.integers(1, 5)),
            groups=groups,
            element=element,
            activation=activation,
            scale=scale,
            minimum=minimum,
            transpose=element.bits == 8 and bool(rng.integers(0, 2)),
            interleaved=rows << (groups - 1).bit_length() <= TILE.tokens and bool(rng.integers(0, 2)),
            tiles=tiles,
            spread=spread,
            special=special,
        )

    async def run(self, limit=200000, until=None):
        """Until every command is done, or for ``until`` cycles."""
        total = len(self.finish_counts)
        n, rng = self.names, self.rng
        command, word = self.held  # what is on the ports
        ready = dict.fromkeys(("a", "meta", "local", "bus"), 0)
        while len(self.done_at) < total and (until is None or self.cycle < until):
            # What the next cycle shows.
            if command is None and self.commands:
                command = self.commands.popleft()
                self.offered_at.append(self.cycle)
                n["unit__cmd__payload"].value = int.from_bytes(command.encode(), "little")
            n["unit__cmd__valid"].value = command is not None
            if word is None and self.words and rng.random() >= self.stall["weights"]:
                word = self.words.popleft()
                n["weights__payload"].value, n["last"].value = word
            n["weights__valid"].value = word is not None
            for name, port in self.ports.items():
                queue = self.pending[name]
                valid = bool(queue) and queue[0][0] == self.cycle
                port["valid"].value = valid
                if valid:
                    port["data"].value = queue.popleft()[1]
                ready[name] = rng.random() >= self.stall[name]
                port["req__ready"].value = int(ready[name])
            for name, sink in self.sinks.items():
                ready[name] = rng.random() >= self.stall[name]
                sink["ready"].value = int(ready[name])
            await RisingEdge(self.dut.clk)
            assert self.cycle < limit, (
                f"{len(self.done_at)} of {total} done after {limit} cycles, {len(self.expected)} writes to "
                "come"
            )
            if command is not None and n["unit__cmd__ready"].value:
                self.started_at.append(self.cycle)
                command = None
            if word is not None and n["weights__ready"].value:
                word = None
            for name, port in self.ports.items():
                if ready[name] and port["req__valid"].value:
                    self.pending[name].append(
                        (self.cycle + self.latency, self.answer(name, int(port["req__payload"].value)))
                    )
            for name, sink in self.sinks.items():
                if ready[name] and sink["valid"].value:
                    self.check(name, int(sink["payload"].value))
            if n["unit__done"].value:
                self.done_at.append(self.cycle)
                assert self.finish_counts.popleft() <= self.writes, "done before the last write"
            if n["unit__error"].value:
                self.errors.append((len(self.done_at), int(n["unit__code"].value)))
            assert self.wrong or not self.errors
            self.stalls[0] += int(n["unit__stall_in"].value)
            self.stalls[1] += int(n["unit__stall_out"].value)
            self.cycle += 1
            self.held = command, word

    def check(self, name, value):
        tiles, row, data = self.expected.popleft()
        assert (name == "local") == (tiles == 1 << OWN), f"write {self.writes} for tiles {tiles:#b} on {name}"
        if name == "bus":
            at, mask = field_of(BUS, "tiles")
            assert value >> at & mask == tiles
            at, mask = field_of(BUS, "write")
            value = value >> at & mask
        part = lambda field: value >> field_of(LOCAL, field)[0] & field_of(LOCAL, field)[1]
        assert part("space") == 0 and part("mask") == (1 << TILE.lanes) - 1
        assert part("addr") == row, f"write {self.writes} to row {part('addr')}, not {row}"
        got = (part("data") & (1 << 32 * TILE.lanes) - 1).to_bytes(4 * TILE.lanes, "little")
        assert got == data, (
            f"write {self.writes}: {np.frombuffer(got, np.float32)}, not {np.frombuffer(data, np.float32)}"
        )
        self.writes += 1

    def finished(self):
        assert not self.expected and not self.words and self.held == (None, None) and not self.commands
        assert not any(self.pending.values())


def hash_of(text):
    """The same on every run, unlike hash()."""
    return int.from_bytes(text.encode()[-8:], "little") ^ len(text) << 32


async def start(dut, name):
    b = Bench(dut, name)
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    Monitor(dut)
    await b.reset()
    return b
