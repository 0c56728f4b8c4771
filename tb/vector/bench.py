"""cocotb bench of :class:`VectorUnit`: random commands with random stalls against the reference, cycles,
resets."""

from collections import deque
from itertools import product
import os

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
import numpy as np

from poblano.config import BLOCK, LINE_WORDS
from poblano.formats.element import Activation
from poblano.interfaces import block_meta, bus_write, local_write
from poblano.isa.check import check
from poblano.isa.commands import Command, Opcode
from poblano.isa.topology import UnitKind
from poblano.isa.vector_ops import AluOp, SfuOp
from poblano.vector import reference
from poblano.vector.reducer import Reducer
from tb.compute.configs import CONFIGS

CONFIG = CONFIGS[os.environ["CONFIG"]]
SEED = int(os.environ.get("SEED", "1"))
COUNT = int(os.environ.get("COUNT", "12"))
TILE = CONFIG.tile
LANES = TILE.lanes
OWN = CONFIG.tiles - 1
UNIT = CONFIG.topology.unit(UnitKind.VECTOR, OWN)
GRAIN = max(1, LANES // LINE_WORDS)
"""Lines that operands are aligned to."""
ACTIVATIONS = TILE.array.arithmetic.activations
META_BYTES = -(-block_meta(CONFIG).size // 8)
SPECIAL = np.array(
    [
        0x00000000,
        0x80000000,
        0x7F800000,
        0xFF800000,
        0x7FC00000,
        0xFFC12345,
        0x00000001,
        0x807FFFFF,
        0x7F7FFFFF,
        0x00800000,
        0x0D7FFFFF,
        0x0D800000,
        0x3F800000,
        0xBF800000,
    ],
    np.uint32,
).view(np.float32)


def field_of(value, layout, name):
    field = layout[name]
    return value >> field.offset & (1 << field.width) - 1


class Bench:
    """Drives every port once a cycle; ``stall`` is each port's probability of not being ready."""

    def __init__(self, dut, name):
        self.dut = dut
        self.rng = np.random.default_rng([SEED, *f"{name} {CONFIG.name}".encode()])
        self.stall = dict.fromkeys(("a", "b", "local", "bus", "cmd"), 0.0)
        self.latency = int(os.environ.get("LATENCY", "2"))
        self.unit = {
            n: getattr(dut, f"unit__{n}")
            for n in (
                "cmd__valid",
                "cmd__ready",
                "cmd__payload",
                "done",
                "busy",
                "error",
                "stall_in",
                "stall_out",
            )
        }
        self.ports = {
            n: {
                k: getattr(dut, f"{n}__{k}")
                for k in ("req__valid", "req__ready", "req__payload", "valid", "data")
            }
            for n in ("a", "b")
        }
        self.sinks = {
            n: {k: getattr(dut, f"{n}__{k}") for k in ("valid", "ready", "payload")} for n in ("local", "bus")
        }
        self.vmem = np.zeros(LINE_WORDS * TILE.vmem_lines, np.float32)
        self.fill()
        self.clear()

    def fill(self):
        """New contents of vector memory: lines of different magnitudes, special numbers, blocks of them."""
        rng = self.rng
        lines = TILE.vmem_lines
        x = rng.normal(0, 1, (lines, LINE_WORDS)) * 2.0 ** np.clip(
            rng.normal(0, 4, (lines, 1)).round(), -20, 20
        )
        x[rng.random(lines) < 0.02] *= 2.0**100
        x[rng.random(lines) < 0.02] *= 2.0**-110
        x[rng.random(lines) < 0.02] *= 2.0**-130
        x = x.astype(np.float32)
        special = rng.random(x.shape) < 0.005
        x[special] = rng.choice(SPECIAL, special.sum())
        zero = rng.random(lines) < 0.05
        x[zero] = 0
        self.vmem[:] = x.ravel()

    def clear(self):
        self.commands, self.offered = deque(), None
        self.current = None
        self.elements, self.results = deque(), deque()
        self.pending = {n: deque() for n in ("a", "b")}
        self.reads = {"a": deque(), "b": deque()}
        self.best = reference.ARGMAX_START
        self.cycle = self.done = self.to_do = self.start = 0
        self.held = dict.fromkeys(self.sinks)
        self.cycles, self.stalls = [], [0, 0]

    async def reset(self):
        dut = self.dut
        dut.rst.value = 1
        dut.tile.value = OWN
        dut.unit__flush.value = 0
        self.unit["cmd__valid"].value = 0
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

    def add(self, **operands):
        o = (
            dict.fromkeys(Opcode.VECTOR.definition.field, 0)
            | Opcode.VECTOR.definition.defaults
            | {"rows": 1, "blocks": 1, "limit": reference.NO_LIMIT, "tiles": 1 << OWN}
            | operands
        )
        if o["sink"] == 2 and "activation" not in operands:
            o["activation"] = int(self.rng.choice(ACTIVATIONS))
        for name in ("imm1", "imm2"):
            o[name] = float(np.float32(o[name]))
        self.commands.append(check(Command(Opcode.VECTOR, UNIT, o).encode(), CONFIG, 1 << 20))
        self.to_do += 1

    def add_nop(self):
        self.commands.append(Command(Opcode.NOP, UNIT, {}))
        self.to_do += 1

    def add_random(self, **fixed):
        rng = self.rng
        rows, blocks = (fixed.get(n, int(rng.integers(1, top))) for n, top in (("rows", 6), ("blocks", 5)))
        extent = blocks * BLOCK // LINE_WORDS

        def region(stride):
            """A free place for the rows; the lines of vector memory are given out in turn."""
            size = -(-(stride * (rows - 1) + extent) // GRAIN) * GRAIN
            at = place[0]
            place[0] += size
            return at

        place = [int(rng.integers(0, TILE.vmem_lines // 2 // GRAIN)) * GRAIN]
        strides = [extent + GRAIN * int(rng.integers(0, 3)) for _ in range(3)]
        o = {
            "rows": rows,
            "blocks": blocks,
            "op1": int(rng.choice(7)),
            "op2": int(rng.choice(7)),
            "sfu": int(rng.choice(6)),
            "sel1": int(rng.choice(3)),
            "sel2": int(rng.choice(3)),
            "swap": int(rng.choice(2)),
            "fill": int(rng.choice(2)),
            "first": int(rng.random() < 0.3),
            "index": int(rng.integers(0, 1 << 24)),
            "imm1": float(rng.choice([rng.normal(), 0.0, 1.5])),
            "imm2": float(rng.normal() * 8),
            "tiles": 1 << OWN if rng.random() < 0.5 else int(rng.integers(1, 1 << CONFIG.tiles)),
        }
        if rng.random() < 0.5:  # keep values in range, so that there is something to see
            o |= {
                "op1": int(rng.choice([AluOp.PASS, AluOp.MAX, AluOp.MIN])),
                "sfu": int(rng.choice([0, 4, 5])),
            }
        o["sink"], o["reduce"] = [
            (0, 0),
            (0, 1),
            (0, 2),
            (0, 3),
            (1, 0),
            (1, 1),
            (1, 2),
            (1, 3),
            (2, 0),
            (2, 1),
            (2, 2),
        ][int(rng.choice(11, p=np.array([1, 4, 4, 4, 8, 2, 2, 2, 12, 3, 3]) / 45))]
        o |= fixed  # before places are chosen, which depend on the sink
        if rng.random() < 0.4:
            o |= {
                "limit": int(
                    rng.choice([rng.integers(0, BLOCK * blocks + 3), 0xFFFE, 0xF800], p=[0.8, 0.1, 0.1])
                ),
                "limit_step": int(rng.choice([0, 1, 5, BLOCK, 3000, 4095])),
            }
        else:
            o |= {"limit": reference.NO_LIMIT, "limit_step": int(rng.choice([0, 1, 4095]))}
        for name, stride in zip("ab", strides):
            stride = 0 if rng.random() < 0.3 else stride
            o |= {name: region(stride), f"{name}_stride": stride}
        for name in ("c", "r"):
            o[name] = place[0]
            scalars = -(-rows // LINE_WORDS)
            place[0] += -(-scalars // GRAIN) * GRAIN
        if o["sink"] == 2:
            o["dst_stride"] = int(rng.choice([blocks, blocks + 3]))
            o["dst"] = int(rng.integers(0, TILE.amem_blocks - o["dst_stride"] * rows))
        else:
            o |= {"dst": region(strides[2]), "dst_stride": strides[2]}
            same = "ab"[int(rng.choice(2))]
            if rng.random() < 0.3 and o[f"{same}_stride"]:
                o |= {"dst": o[same], "dst_stride": o[f"{same}_stride"]}
        assert place[0] <= TILE.vmem_lines
        self.add(**o | fixed)

    def begin(self, command):
        """A command was transferred: what it has to read and write, from memory as it is now."""
        assert self.current is None, "a command starts before the one before is done"
        assert not self.elements and not self.results and not any(self.reads.values())
        self.current, self.start = command, self.cycle
        if command.opcode is Opcode.NOP or not (command.operands["sink"] or command.operands["reduce"]):
            return
        o = command.operands
        rows, words = o["rows"], BLOCK * o["blocks"]
        x = reference.operands(o, self.vmem)
        uses = {(o["sel1"] if o["op1"] else None), (o["sel2"] if o["op2"] else None)}
        row_of = lambda line, stride: [
            (LINE_WORDS * (line + r * stride) + i) // LANES
            for r in range(rows)
            for i in range(0, words, LANES)
        ]
        self.reads["a"] = deque(row_of(o["a"], o["a_stride"]))
        scalars = [(LINE_WORDS * o["c"] + r) // LANES for r in range(rows)] if 1 in uses else []
        self.reads["b"] = deque(sorted((row_of(o["b"], o["b_stride"]) if 0 in uses else []) + scalars))
        if o["sink"] == 1:
            for r, data in enumerate(x):
                first = LINE_WORDS * (o["dst"] + r * o["dst_stride"]) // LANES
                self.elements.extend(
                    (0, first + k, data[k * LANES : (k + 1) * LANES].tobytes()) for k in range(words // LANES)
                )
        elif o["sink"] == 2:
            q, scale, total = reference.quantise(x, Activation(o["activation"]))
            field = block_meta(CONFIG)["sum"]
            for r in range(rows):
                for k in range(o["blocks"]):
                    number = (
                        int(scale[r, k].view(np.uint32))
                        | (int(total[r, k]) & (1 << field.width) - 1) << field.offset
                    )
                    data = q[r, BLOCK * k : BLOCK * (k + 1)].tobytes() + number.to_bytes(META_BYTES, "little")
                    self.elements.append((1, o["dst"] + r * o["dst_stride"] + k, data))
        if o["reduce"] == 3:
            self.best = reference.argmax(x, o["index"], reference.ARGMAX_START if o["first"] else self.best)
            values = [np.float32(self.best[0]), np.uint32(self.best[1]).view(np.float32)]
        elif o["reduce"]:
            values = {1: reference.reduce_sum, 2: reference.reduce_max}[o["reduce"]](x)
        else:
            values = []
        self.results.extend((LINE_WORDS * o["r"] + r, value.tobytes()) for r, value in enumerate(values))

    def read(self, name, row):
        reads = self.reads[name]
        if name == "a":
            assert reads and reads.popleft() == row, f"unexpected read of row {row} by port a"
        else:  # rows and scalars take turns
            assert row in reads, f"unexpected read of row {row} by port b"
            reads.remove(row)
        return int.from_bytes(self.vmem[row * LANES : (row + 1) * LANES].tobytes(), "little")

    def write(self, name, value):
        tiles = self.current.operands["tiles"]
        assert (name == "local") == (tiles == 1 << OWN), f"a write for tiles {tiles:#b} on {name}"
        if name == "bus":
            assert field_of(value, bus_write(CONFIG), "tiles") == tiles
            value = field_of(value, bus_write(CONFIG), "write")
        space, addr, mask, data = (
            field_of(value, local_write(CONFIG), n) for n in ("space", "addr", "mask", "data")
        )
        if space or mask == (1 << LANES) - 1:
            expected = self.elements.popleft()
            data = data.to_bytes(256, "little")[: len(expected[2])]
            if (space, addr, data) != expected:
                kind = np.int8 if space else np.float32
                raise AssertionError(
                    f"{self.current}: space {space} addr {addr} {np.frombuffer(data[:32], kind)} "
                    f"{data.hex()}, not "
                    f"{expected[:2]} {np.frombuffer(expected[2][:32], kind)} {expected[2].hex()}"
                )
            first, data = addr * LANES, data if not space else b""
        else:
            lane = mask.bit_length() - 1
            assert mask == 1 << lane
            first, data = addr * LANES + lane, (data >> 32 * lane & 0xFFFFFFFF).to_bytes(4, "little")
            expected = self.results.popleft()
            assert (first, data) == expected, (
                f"{self.current}: result {first} {np.frombuffer(data, np.float32)}, not {expected[0]} "
                f"{np.frombuffer(expected[1], np.float32)}"
            )
        if tiles >> OWN & 1 and data:
            self.vmem[first : first + len(data) // 4] = np.frombuffer(data, np.float32)

    async def run(self, limit=100000, until=None):
        """Until every command is done, or for ``until`` cycles."""
        unit, rng = self.unit, self.rng
        ready = {}
        end = self.cycle + (until or limit)
        while self.done < self.to_do and (until is None or self.cycle < end):
            # What the next cycle shows.
            if self.offered is None and self.commands and rng.random() >= self.stall["cmd"]:
                self.offered = self.commands.popleft()
                unit["cmd__payload"].value = int.from_bytes(self.offered.encode(), "little")
            unit["cmd__valid"].value = self.offered is not None
            for name, port in self.ports.items():
                queue = self.pending[name]
                valid = bool(queue) and queue[0][0] == self.cycle
                port["valid"].value = valid
                port["data"].value = queue.popleft()[1] if valid else 0
            for name, port in (
                *((n, p["req__ready"]) for n, p in self.ports.items()),
                *((n, s["ready"]) for n, s in self.sinks.items()),
            ):
                ready[name] = rng.random() >= self.stall[name]
                port.value = int(ready[name])
            await RisingEdge(self.dut.clk)
            assert self.cycle < end, (
                f"{self.done} of {self.to_do} done after {limit} cycles, {len(self.elements)} elements and "
                f"{len(self.results)} results to come of {self.current}"
            )
            # Reads before writes: a read sees what earlier cycles wrote.
            for name, port in self.ports.items():
                if ready[name] and port["req__valid"].value:
                    self.pending[name].append(
                        (self.cycle + self.latency, self.read(name, int(port["req__payload"].value)))
                    )
            for name, sink in self.sinks.items():
                value = int(sink["payload"].value) if sink["valid"].value else None
                assert self.held[name] in (None, value), f"{name} changed before it was accepted"
                self.held[name] = None if ready[name] else value
                if ready[name] and value is not None:
                    self.write(name, value)
            if unit["done"].value:
                self.done += 1
                assert not self.elements and not self.results, f"done before the last write of {self.current}"
                assert not any(self.reads.values()), f"done before everything was read by {self.current}"
                self.cycles.append(self.cycle - self.start)
                self.current = None
            if self.current is not None:
                assert unit["busy"].value
            if self.offered is not None and unit["cmd__ready"].value:
                self.begin(self.offered)
                self.offered = None
            assert not unit["error"].value
            self.stalls[0] += int(unit["stall_in"].value)
            self.stalls[1] += int(unit["stall_out"].value)
            self.cycle += 1


async def start(dut, name):
    b = Bench(dut, name)
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    await b.reset()
    return b


@cocotb.test()
async def random_commands(dut):
    """Random commands; reads, results, addresses, order and completions, with and without stalls."""
    b = await start(dut, "random")
    for stall in (
        {},
        {"a": 0.3, "b": 0.3, "local": 0.3, "bus": 0.3, "cmd": 0.5},
        {"a": 0.6, "b": 0.1, "local": 0.1, "bus": 0.1},
        {"a": 0.1, "b": 0.7},
        {"local": 0.8, "bus": 0.8},
    ):
        await b.reset()
        b.fill()
        b.stall = dict.fromkeys(b.stall, 0.0) | stall
        for _ in range(COUNT):
            b.add_random()
            if b.rng.random() < 0.1:
                b.add_nop()
        await b.run()


@cocotb.test()
async def operations(dut):
    """Every pair of operation and selected operand, and every special function."""
    b = await start(dut, "operations")
    for n, (op, select) in enumerate(product(AluOp, range(3))):
        tiles = 1 << OWN
        b.add_random(rows=2, blocks=1, op1=int(op), sel1=select, sfu=0, op2=0, sink=1, reduce=0, tiles=tiles)
        b.add_random(
            rows=2, blocks=1, op1=0, sfu=n % 6, op2=int(op), sel2=select, sink=1, reduce=0, tiles=tiles
        )
    for sfu in SfuOp:
        b.add_random(rows=1, blocks=2, op1=0, sfu=int(sfu), op2=0, sink=1, reduce=0)
    await b.run()


@cocotb.test()
async def special_blocks(dut):
    """Quantising blocks of zeros, infinities, NaNs, tiny and huge numbers, at and beside the limits."""
    b = await start(dut, "special")
    values = [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-45,
        2.0**-126,
        2.0**-100,
        np.nextafter(np.float32(2.0**-100), np.float32(0)),
        2.0**126,
        2.0**127,
        3.4e38,
        1.0,
    ]
    for k, value in enumerate(values):
        block = b.vmem[BLOCK * k : BLOCK * (k + 1)]
        block[:] = b.rng.uniform(-1, 1, BLOCK).astype(np.float32) * np.float32(
            abs(value) if np.isfinite(value) else 1
        )
        block[int(b.rng.integers(0, BLOCK))] = value
    b.vmem[BLOCK * len(values) : BLOCK * (len(values) + 1)] = 127 * 2.0**-8 - np.arange(BLOCK) / 256  # ties
    count = len(values) + 1
    for activation in ACTIVATIONS:
        b.add(blocks=count, sink=2, dst=3, activation=int(activation))
        b.add(
            rows=count,
            a_stride=BLOCK // LINE_WORDS,
            blocks=1,
            sink=2,
            dst=100,
            dst_stride=2,
            tiles=(1 << CONFIG.tiles) - 1,
            activation=int(activation),
        )
    for reduce in (1, 2, 3):
        b.add(
            rows=count,
            a_stride=BLOCK // LINE_WORDS,
            blocks=1,
            reduce=reduce,
            r=BLOCK * 20 // LINE_WORDS,
            first=1,
        )
    await b.run()


@cocotb.test()
async def argmax(dut):
    """Ties, NaNs only, zeros of both signs, and searches that go on over commands."""
    b = await start(dut, "argmax")
    line = GRAIN * BLOCK // LINE_WORDS  # a block, at least
    x = b.vmem[: BLOCK * 8 * GRAIN].reshape(-1, BLOCK)
    x[:] = b.rng.integers(-3, 3, x.shape)
    x[:, 0] = np.nan
    # Nothing found, after reset and afresh; then less, equal and larger numbers, and a NaN row in between.
    x[0] = np.nan
    x[1] = -np.inf
    x[2] = -0.0
    x[2, 7:9] = 0.0
    x[3] = 0.0
    x[4] = np.nan
    x[4, 20] = -1
    for first, rows in ((0, [0]), (1, [0, 1]), (0, [2, 3, 4, 5, 0]), (1, [4, 0, 5]), (1, [0]), (0, [4])):
        for k, row in enumerate(rows):
            b.add(
                a=row * BLOCK // LINE_WORDS // GRAIN * GRAIN,
                blocks=1,
                reduce=3,
                first=int(first and k == 0),
                r=40 * line,
                index=BLOCK * k,
            )
    b.add(a=0, blocks=8, reduce=3, first=1, index=0xFFFFF0, r=40 * line)
    b.add(
        a=0,
        rows=3,
        a_stride=2 * line,
        blocks=2,
        reduce=3,
        first=1,
        index=100,
        r=40 * line,
        sink=1,
        dst=50 * line,
        dst_stride=2 * line,
        op1=int(AluOp.RSUB),
        sel1=2,
        imm1=0.25,
    )
    await b.run()


@cocotb.test()
async def blocked(dut):
    """Nothing is lost while no write, or no read, is accepted for a long time."""
    b = await start(dut, "blocked")
    for name in ("local", "a"):
        b.add_random(rows=3, blocks=8, sink=2, reduce=1, op1=3, sel1=0, op2=1, sel2=1, tiles=1 << OWN)
        b.add_random(rows=3, blocks=8, sink=1, reduce=2, tiles=1 << OWN)
        b.stall[name] = 1.0
        await b.run(until=400)
        assert b.stalls[1 if name == "local" else 0] > 100
        b.stall[name] = 0.0
        await b.run()


@cocotb.test()
async def resets(dut):
    """A reset at any moment; what follows is as after the first, argmax too."""
    b = await start(dut, "resets")
    for n in range(10):
        b.stall = dict.fromkeys(b.stall, 0.3 * (n & 1))
        for _ in range(4):
            b.add_random()
        await b.run(until=int(b.rng.integers(3, 300)))
        await b.reset()
        b.add_random(reduce=3, sink=1, first=0)
        b.add_random(reduce=1 + n % 2)
        b.add_random(sink=2, reduce=0)
        await b.run()
        await b.reset()


@cocotb.test()
async def cycles(dut):
    """Without stalls a beat a cycle (a reduction: every interval), and 80 cycles to fill and empty the
    pipelines."""
    b = await start(dut, "cycles")
    interval = Reducer(LANES).interval
    blocks = min(32, TILE.vmem_lines // 16)
    line = GRAIN * blocks * BLOCK // LINE_WORDS
    quick = {"rows": 1, "blocks": blocks, "b": line, "op1": int(AluOp.MUL)}
    rows = {
        "rows": 8,
        "blocks": max(1, blocks // 8),
        "a_stride": blocks // 8 * BLOCK // LINE_WORDS,
        "b": line,
        "op2": int(AluOp.ADD),
    }
    for name, period, extra in (
        ("multiply, quantise", 1, quick | {"sink": 2}),
        ("multiply, write", 1, quick | {"sink": 1, "dst": 2 * line}),
        ("sum", interval, quick | {"reduce": 1, "r": 3 * line}),
        ("argmax", 1, quick | {"reduce": 3, "r": 3 * line}),
        ("short rows, quantise", 1, rows | {"sink": 2, "dst_stride": 8}),
        (
            "short rows, quantise, maximum",
            interval,
            rows | {"sink": 2, "reduce": 2, "dst_stride": 8, "r": 3 * line},
        ),
    ):
        b.add(**extra)
        await b.run()
        beats = extra["rows"] * extra["blocks"] * BLOCK // LANES
        writes = extra["rows"] if extra.get("reduce") in (1, 2) else 0
        dut._log.info(f"{name}: {b.cycles[-1]} cycles for {beats} beats")
        assert b.cycles[-1] <= beats * period + writes + 80, name
