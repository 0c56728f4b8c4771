"""cocotb bench of :class:`MatmulUnit`: random commands with random stalls against the reference, cycles,
resets."""

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
from poblano.isa.weight_stream import Element, ScaleFormat, step_bytes
from tb.compute.configs import CONFIGS

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
                "unit__stall_in",
                "unit__stall_out",
                "weights__valid",
                "weights__ready",
                "weights__payload",
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
        dut = self.dut
        dut.rst.value = 1
        dut.tile.value = OWN
        dut.unit__flush.value = 0
        self.names["unit__cmd__valid"].value = 0
        self.names["weights__valid"].value = 0
        for port in self.ports.values():
            port["valid"].value = 0
            port["req__ready"].value = 0
        for sink in self.sinks.values():
            sink["ready"].value = 0
        for _ in range(3):
            await RisingEdge(dut.clk)
        self.clear()
        dut.rst.value = 0
        await RisingEdge(dut.clk)

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
        tiles=1 << OWN,
        spread=0,
        special=False,
    ):
        """A random command: its weights, and the writes that are expected."""
        rng, segments = self.rng, ARRAY.segments
        k, n = BLOCK * segments * steps, ARRAY.cols * groups
        blocks = segments * steps
        w_q = random_codes(rng, element, (k, n))
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
        stream = pack_weights(w_q, widen(w_scale), widen(w_min), CONFIG, element, scale, transpose)
        size = CONFIG.stream_bytes
        self.words.extend(int.from_bytes(stream[i : i + size], "little") for i in range(0, len(stream), size))

        stride = int(rng.integers(0, 3)) * segments
        stride = stride if rng.random() < 0.3 or blocks * rows > TILE.amem_blocks // 2 else blocks + stride
        a = int(rng.integers(0, (TILE.amem_blocks - (rows - 1) * stride - blocks) // segments + 1)) * segments
        at = a + stride * np.arange(rows)[:, None] + np.arange(blocks)  # (row, block)
        result = matmul(
            self.a_q[at].reshape(rows, k),
            self.a_scale[at],
            self.a_sum[at],
            w_q,
            widen(w_scale),
            widen(w_min),
            activation=activation,
            element=element,
            scale_format=scale,
        )

        grain = max(1, TILE.lanes // LINE_WORDS)
        extent = -(-n // LINE_WORDS)
        dst_stride = extent + int(rng.integers(0, 4)) * grain
        each = min(rows, spread or rows)  # rows of a tile
        used = (each - 1) * dst_stride + extent
        if used > TILE.vmem_lines:
            dst_stride, used = extent, each * extent
        dst = int(rng.integers(0, (TILE.vmem_lines - used) // grain + 1)) * grain
        bits = result.view(np.uint32)
        targets = [1 << t for t in range(CONFIG.tiles) if tiles >> t & 1]
        for g in range(groups):
            for r in range(rows):
                for j in range(ARRAY.cols // TILE.lanes):
                    first = g * ARRAY.cols + j * TILE.lanes
                    word = LINE_WORDS * (dst + r % each * dst_stride) + first
                    target = targets[r // spread] if spread else tiles
                    self.expected.append(
                        (target, word // TILE.lanes, bits[r, first : first + TILE.lanes].tobytes())
                    )
        self.to_finish += groups * rows * (ARRAY.cols // TILE.lanes)
        self.finish_counts.append(self.to_finish)
        command = Command(
            Opcode.MATMUL,
            UNIT,
            {
                "element": element,
                "scale": scale,
                "minimum": int(minimum),
                "transpose": int(transpose),
                "activation": activation,
                "a": a,
                "a_stride": stride,
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
                n["weights__payload"].value = word
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
            assert not n["unit__error"].value
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
    await b.reset()
    return b


COUNT = int(os.environ.get("COUNT", "12"))


@cocotb.test()
async def random_commands(dut):
    """Random commands back to back; results, addresses, order and completions, with and without stalls."""
    b = await start(dut, "random")
    for stall in (
        dict.fromkeys(b.stall, 0.0),
        {"a": 0.3, "meta": 0.3, "weights": 0.3, "local": 0.4, "bus": 0.4},
        {"a": 0.5, "meta": 0.7, "weights": 0.0, "local": 0.1, "bus": 0.1},
        {"a": 0.0, "meta": 0.0, "weights": 0.7, "local": 0.0, "bus": 0.8},
    ):
        await b.reset()
        b.stall = stall
        for _ in range(COUNT):
            b.add_random()
        await b.run()
        b.finished()


@cocotb.test()
async def special_values(dut):
    """Infinities, NaNs, subnormals and zeros in scales and minima."""
    b = await start(dut, "special")
    at = b.rng.random(len(b.a_scale)) < 0.1
    b.a_scale[at] = b.rng.choice(np.array([0, -0.0, np.inf, np.nan, 1e-44, 3e38], np.float32), len(at))[at]
    for _ in range(COUNT):
        b.add_random(rows=min(3, TILE.tokens), special=True)
    await b.run()
    b.finished()


@cocotb.test()
async def output_blocked(dut):
    """Nothing is lost while no result is accepted for a long time, and weights of later commands wait."""
    b = await start(dut, "blocked")
    for tiles in (1 << OWN, (1 << CONFIG.tiles) - 1, 1 << OWN):
        b.add(rows=TILE.tokens, steps=1, groups=2, tiles=tiles)
        b.add(rows=1, steps=2, groups=3, scale=ScaleFormat.F16, tiles=tiles)
    b.stall["local"] = b.stall["bus"] = 1.0
    await b.run(until=600 + 4 * TILE.tokens * ARRAY.passes)
    assert b.stalls[1] > 100
    b.stall["local"] = b.stall["bus"] = 0.0
    await b.run()
    b.finished()
    # Short steps that have piled up behind a blocked result must not follow each other too closely.
    for rows in (1, 2):
        await b.reset()
        b.add(rows=rows, steps=3, groups=8, scale=ScaleFormat.F16)
        b.stall["local"] = 1.0
        await b.run(until=24 * ARRAY.passes * max(ARRAY.rows, ARRAY.cols))
        b.stall["local"] = 0.0
        await b.run()
        b.finished()


@cocotb.test()
async def resets(dut):
    """A reset at any moment; what follows is as after the first."""
    b = await start(dut, "resets")
    for n in range(8):
        b.stall = dict.fromkeys(b.stall, 0.3 * (n & 1))
        for _ in range(4):
            b.add_random()
        await b.run(until=int(b.rng.integers(5, 400)))
        await b.reset()
        b.add_random(rows=2)
        b.add_random(rows=1)
        await b.run()
        b.finished()
        await b.reset()


@cocotb.test()
async def cycles(dut):
    """With weights and outputs always there a command takes the array's cycles, and the pipelines' once."""
    b = await start(dut, "cycles")
    parts = ARRAY.cols // TILE.scalers
    kinds = []
    for element in ARITHMETIC.weights:
        if element in (Element.S4, Element.U4):
            kinds.append({"element": element, "scale": ScaleFormat.F16, "minimum": True})
        elif element in ARITHMETIC.mx_weights:
            kinds.append({"element": element, "scale": ScaleFormat.E8M0})
        if element.bits == 8:
            kinds += [
                {"element": element, "scale": ScaleFormat.F16},
                {"element": element, "scale": ScaleFormat.F32, "transpose": True},
            ]
    for rows, steps, groups, kind in (
        (rows, steps, 3, kind) for kind in kinds for rows, steps in ((1, 6), (32, 2), (64, 2))
    ):
        items = (ARRAY.cols if kind.get("transpose") else ARRAY.rows) // ARRAY.load_rows
        period = (ARRAY.passes_4bit if kind["element"].bits == 4 else ARRAY.passes) * max(rows, items)
        words = -(
            -step_bytes(CONFIG, **{"minimum": False} | {k: v for k, v in kind.items() if k != "transpose"})
            // CONFIG.stream_bytes
        )
        recurrence = 2 + 4 * ARRAY.segments
        if (
            rows > TILE.tokens
            or rows * parts > period
            or words > period
            or recurrence > period
            or rows * ARRAY.cols // TILE.lanes >= steps * period
        ):
            continue
        for count in (1, 3):
            await b.reset()
            for _ in range(count):
                b.add(rows=rows, steps=steps, groups=groups, **kind)
            await b.run()
            b.finished()
            taken = b.done_at[-1] - b.offered_at[0]
            work = count * groups * steps * period
            bound = 2 * ARRAY.rows + ARRAY.cols + rows * ARRAY.cols // TILE.lanes + 80
            dut._log.info(
                f"rows {rows} steps {steps} groups {groups} {kind} x{count}: {taken} cycles, {work} of work, "
                f"bound +{bound}"
            )
            assert taken <= work + bound
