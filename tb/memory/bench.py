"""cocotb bench of :class:`MemorySystem`: random transfers against cocotbext-axi's AxiRam, protocol checks,
errors, flushes."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, with_timeout
import numpy as np

from poblano.interfaces import BusWrite, LocalWrite
from poblano.isa.commands import Command, ErrorCode, Opcode
from tb.common.monitor import Monitor
from tb.memory.commands import RandomCommands, rows_of
from tb.memory.configs import CONFIGS
from tb.memory.model import MemoryModel, pack_block
from tb.memory.ram import BAD, SIZE, Ram, check_protocol

CONFIG = CONFIGS[os.environ["CONFIG"]]
SEED = int(os.environ.get("SEED", "1"))


class Bench:
    def __init__(self, dut, name):
        self.dut, self.config = dut, CONFIG
        self.rng = random.Random(f"{name} {CONFIG.name} {SEED}")
        self.ram = Ram(dut, self.rng)
        self.commands = RandomCommands(CONFIG, self.rng)
        data = np.frombuffer(self.rng.randbytes(SIZE), np.uint8)
        self.ram.write(0, data.tobytes())
        self.model = MemoryModel(CONFIG, data)
        self.writers = np.full(SIZE, None, object)  # of each byte, the command that changed it last
        self.units = ["dma"] + [f"streams__{t}" for t in range(CONFIG.tiles)]
        self.done = dict.fromkeys(self.units, 0)
        self.errors = {unit: [] for unit in self.units}
        self.words = [[] for _ in range(CONFIG.tiles)]
        self.drain = 1.0
        self.violations = []

    def port(self, name):
        return getattr(self.dut, name)

    async def start(self):
        dut = self.dut
        cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
        self.monitor = Monitor(dut)
        dut.rst.value = 1
        dut.clear.value = 0
        for unit in self.units:
            self.port(f"{unit}__cmd__valid").value = 0
            self.port(f"{unit}__flush").value = 0
        for t in range(CONFIG.tiles):
            self.port(f"writes__{t}__valid").value = 0
            self.port(f"results__{t}__valid").value = 0
            self.port(f"weights__{t}__ready").value = 0
        for _ in range(4):
            await RisingEdge(dut.clk)
        dut.rst.value = 0
        cocotb.start_soon(self.watch())
        cocotb.start_soon(check_protocol(dut, CONFIG, self.violations))
        for t in range(CONFIG.tiles):
            cocotb.start_soon(self.consume(t))

    async def cycles(self, count):
        for _ in range(count):
            await RisingEdge(self.dut.clk)

    async def watch(self):
        """Counts completions and errors."""
        while True:
            await RisingEdge(self.dut.clk)
            for unit in self.units:
                if self.port(f"{unit}__done").value:
                    self.done[unit] += 1
                    assert not self.errors[unit], f"{unit}: done after an error"
                if self.port(f"{unit}__error").value:
                    self.errors[unit].append(int(self.port(f"{unit}__code").value))

    async def consume(self, tile):
        valid, ready, payload = (self.port(f"weights__{tile}__{n}") for n in ("valid", "ready", "payload"))
        while True:
            ready.value = on = self.rng.random() < self.drain
            await RisingEdge(self.dut.clk)
            if on and valid.value:
                self.words[tile].append(int(payload.value))

    async def transfer(self, port, payload):
        self.port(f"{port}__payload").value = payload
        self.port(f"{port}__valid").value = 1
        while True:
            await RisingEdge(self.dut.clk)
            if self.port(f"{port}__ready").value:
                break
        self.port(f"{port}__valid").value = 0

    async def issue(self, unit, commands, pause=0.0):
        for command in commands:
            await self.transfer(f"{unit}__cmd", int.from_bytes(command.encode(), "little"))
            while self.rng.random() < pause:
                await RisingEdge(self.dut.clk)

    async def until(self, condition, cycles=60000):
        for _ in range(cycles):
            if condition():
                return
            await RisingEdge(self.dut.clk)
        raise AssertionError(f"no end after {cycles} cycles: done {self.done}, errors {self.errors}")

    async def fill(self):
        """Random contents of the local memories, by the tiles' own writes and over the bus at the same
        time."""
        tile, rng, model = CONFIG.tile, self.rng, self.model
        local, bus = LocalWrite(tile.local), BusWrite(tile.local, tiles=CONFIG.tiles)

        def write(mask_of_tiles, space, at, all_lanes=False):
            if space:
                data, scale, total = rng.randbytes(32), rng.getrandbits(32), rng.randint(-4096, 4095)
                for t in range(CONFIG.tiles):
                    if mask_of_tiles >> t & 1:
                        model.blocks[t, at], model.scales[t, at] = np.frombuffer(data, np.uint8), scale
                return {"space": 1, "addr": at, "data": pack_block(data, scale, total)}
            words = [rng.getrandbits(32) for _ in range(tile.lanes)]
            mask = (1 << tile.lanes) - 1 if all_lanes else rng.getrandbits(tile.lanes)
            for t in range(CONFIG.tiles):
                if mask_of_tiles >> t & 1:
                    model.write_row(t, at, words, mask)
            return {"space": 0, "addr": at, "mask": mask, "data": {"row": words}}

        # Memories keep what an earlier test left there: first all of them.
        async def whole(t):
            for space, depth in ((0, tile.vmem_rows), (1, tile.amem_blocks)):
                for at in range(depth):
                    await self.transfer(
                        f"writes__{t}", local.const(write(1 << t, space, at, True)).as_value().value
                    )

        # Own writes go to even places, bus writes of tile t to those that are 2t + 1 modulo 2 tiles.
        async def own(t):
            for space, depth in ((0, tile.vmem_rows), (1, tile.amem_blocks)):
                for at in range(0, depth, 2):
                    await self.transfer(
                        f"writes__{t}", local.const(write(1 << t, space, at)).as_value().value
                    )

        async def others(t):
            for space, depth in ((0, tile.vmem_rows), (1, tile.amem_blocks)):
                for at in range(2 * t + 1, depth, 2 * CONFIG.tiles):
                    tiles = rng.randrange(1 << CONFIG.tiles)
                    value = bus.const({"tiles": tiles, "write": write(tiles, space, at)})
                    await self.transfer(f"results__{t}", value.as_value().value)

        for writers in ((whole,), (own, others)):
            for task in [cocotb.start_soon(f(t)) for t in range(CONFIG.tiles) for f in writers]:
                await with_timeout(task, 1, "ms")

    async def crowd(self, tile):
        """Keeps the bus busy with writes that enable no lane."""
        payload = (
            BusWrite(CONFIG.tile.local, tiles=CONFIG.tiles)
            .const({"tiles": (1 << CONFIG.tiles) - 1, "write": {"space": 0, "mask": 0}})
            .as_value()
            .value
        )
        while True:
            await self.transfer(f"results__{tile}", payload)
            while self.rng.random() < 0.2:
                await RisingEdge(self.dut.clk)

    def check_words(self, tile, commands):
        """The stream's words are a prefix of what the commands read; returns how many words these are in
        all."""
        data = b"".join(self.model.run(c) for c in commands)
        size = CONFIG.stream_bytes
        expected = [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]
        got = self.words[tile]
        assert got == expected[: len(got)], f"tile {tile}: weights differ"
        return len(expected)

    async def check_everything(self):
        """All of vector memory by STORE; then the whole RAM."""
        before = self.done["dma"]
        lines = CONFIG.tile.vmem_lines
        commands = [
            Command(
                Opcode.STORE,
                0,
                {
                    "mem_addr": 0,
                    "mem_stride": 0,
                    "src": 0,
                    "src_stride": 0,
                    "rows": 1,
                    "lines": lines,
                    "tile": t,
                },
            )
            for t in range(CONFIG.tiles)
        ]
        for command in commands:
            await self.issue("dma", [command])
            before += 1
            await self.until(lambda: self.done["dma"] == before)
            self.expect(command)
            self.check_ram()
        self.monitor.check_idle()

    def expect(self, command):
        """What memory is after a command."""
        before = self.model.memory.copy()
        self.model.run(command)
        self.writers[before != self.model.memory] = command

    def check_ram(self):
        got = np.frombuffer(self.ram.read(0, SIZE), np.uint8)
        wrong = np.nonzero(got != self.model.memory)[0]
        if len(wrong):
            writer = self.writers[wrong[0]]
            by = (
                f"written last by {writer.opcode.name} {writer.operands}"
                if writer
                else "written by no command"
            )
            raise AssertionError(
                f"DMA engine: memory differs in {len(wrong)} bytes, first at {wrong[0]:#x}, {by}"
            )
        assert not self.violations, self.violations[:5]

    async def flush(self):
        """What the command processor does for QUEUE_RESET."""
        for unit in self.units:
            self.port(f"{unit}__flush").value = 1
            self.port(f"{unit}__cmd__valid").value = 0
        await RisingEdge(self.dut.clk)
        await self.until(lambda: all(self.port(f"{unit}__idle").value for unit in self.units), 5000)
        self.dut.clear.value = 1
        await self.cycles(2)
        self.dut.clear.value = 0
        for unit in self.units:
            self.port(f"{unit}__flush").value = 0
            self.done[unit], self.errors[unit] = 0, []
        await self.cycles(2)
        self.words = [[] for _ in range(CONFIG.tiles)]


DMA_LOW, DMA_HIGH = 0, SIZE // 2
STREAM_LOW, STREAM_HIGH = SIZE // 2, SIZE


@cocotb.test()
async def random_transfers(dut):
    """All units at once with random stalls; memory, local memories and weights as the model says."""
    b = Bench(dut, "random")
    await b.start()
    await b.fill()
    crowd = []
    for stall, drain in ((0.0, 1.0), (0.3, 0.5), (0.7, 0.9)):
        b.ram.stall, b.drain = stall, drain
        count = {unit: b.done[unit] for unit in b.units}
        dma = [b.commands.dma(DMA_LOW, DMA_HIGH) for _ in range(25)]
        streams = [
            [b.commands.stream(t, STREAM_LOW, STREAM_HIGH) for _ in range(8)] for t in range(CONFIG.tiles)
        ]
        b.words = [[] for _ in range(CONFIG.tiles)]
        tasks = [cocotb.start_soon(b.issue("dma", dma, 0.3))]
        tasks += [cocotb.start_soon(b.issue(f"streams__{t}", streams[t], 0.3)) for t in range(CONFIG.tiles)]
        for task in tasks:
            await with_timeout(task, 2, "ms")
        await b.until(lambda: b.done["dma"] == count["dma"] + len(dma))
        for t in range(CONFIG.tiles):
            total = b.check_words(t, streams[t])
            # A NOP at the end is done after the last word has been taken.
            await b.until(
                lambda: (
                    len(b.words[t]) == total
                    and b.done[f"streams__{t}"] == count[f"streams__{t}"] + len(streams[t])
                ),
                5000,
            )
            await b.cycles(20)
            assert b.done[f"streams__{t}"] == count[f"streams__{t}"] + len(streams[t])
            b.check_words(t, streams[t])
        for command in dma:
            b.expect(command)
        b.check_ram()
        crowd = crowd or [cocotb.start_soon(b.crowd(t)) for t in range(CONFIG.tiles)]
    b.ram.stall = 0.0
    await b.check_everything()
    assert not any(b.errors.values()), b.errors


@cocotb.test()
async def errors(dut):
    """An error response: the error's code, no done, and a flush and a reset make all well again."""
    b = Bench(dut, "errors")
    await b.start()
    await b.fill()
    crowd = [
        cocotb.start_soon(b.crowd(t)) for t in range(CONFIG.tiles)
    ]  # data wait for the bus when the error comes
    for opcode, code in (
        (Opcode.LOAD, ErrorCode.AXI_READ),
        (Opcode.STORE, ErrorCode.AXI_WRITE),
        (Opcode.STREAM, ErrorCode.AXI_READ),
        (Opcode.STORE_SCALE, ErrorCode.AXI_WRITE),
    ):
        unit = "streams__0" if opcode is Opcode.STREAM else "dma"
        good, lines = {"mem_addr": 1024, "mem_stride": 0, "rows": 2}, 3 * CONFIG.memory.beat_lines
        good |= {
            Opcode.LOAD: {"dst": 4, "dst_stride": lines, "lines": lines, "tiles": 1},
            Opcode.STORE: {"src": 4, "src_stride": lines, "lines": lines, "tile": 0},
            Opcode.STORE_SCALE: {"src": 1, "src_stride": 1, "tile": 0},
            Opcode.STREAM: {"row_bytes": 4 * CONFIG.stream_bytes},
        }[opcode]
        bad = good | {"mem_addr": BAD}
        number = 1 if opcode is Opcode.STREAM else 0
        await b.issue(unit, [Command(opcode, number, o) for o in (good, bad)])
        third = cocotb.start_soon(b.issue(unit, [Command(opcode, number, good)]))
        await b.until(lambda: b.errors[unit], 3000)
        await b.cycles(100)
        assert b.errors[unit] == [code] and b.done[unit] == 1, (opcode, b.errors, b.done)
        if not third.done():
            third.cancel()
        await b.flush()
        await b.issue(unit, [Command(opcode, number, good)])
        await b.until(lambda: b.done[unit] == 1, 3000)
        await b.flush()
        b.model.run(Command(opcode, number, good))
    for t, task in enumerate(crowd):
        task.cancel()
        b.port(f"results__{t}__valid").value = 0
    await b.check_everything()


@cocotb.test()
async def flushes(dut):
    """Flushes at random moments: all transactions end, nothing else is written, and everything works
    afterwards."""
    b = Bench(dut, "flush")
    await b.start()
    await b.fill()
    for n in range(12):
        b.ram.stall, b.drain = b.rng.choice([0.0, 0.5]), b.rng.choice([0.0, 0.5, 1.0])
        dma = [
            c for c in (b.commands.dma(DMA_LOW, DMA_HIGH) for _ in range(20)) if c.opcode is not Opcode.LOAD
        ]
        streams = [
            [b.commands.stream(t, STREAM_LOW, STREAM_HIGH) for _ in range(8)] for t in range(CONFIG.tiles)
        ]
        tasks = [cocotb.start_soon(b.issue("dma", dma))]
        tasks += [cocotb.start_soon(b.issue(f"streams__{t}", streams[t])) for t in range(CONFIG.tiles)]
        await b.cycles(b.rng.randrange(20, 300))
        finished = b.done["dma"]
        for task in tasks:
            if not task.done():
                task.cancel()
        for t in range(CONFIG.tiles):
            b.check_words(t, streams[t])
        await b.flush()
        # What was done is in memory; every other byte is old or one that a command would have written.
        got = np.frombuffer(b.ram.read(0, SIZE), np.uint8).copy()
        for command in dma[:finished]:
            b.model.run(command)
        allowed = got == b.model.memory
        for command in dma[finished:]:
            for row in rows_of(command):
                b.model.run(row)
                allowed |= got == b.model.memory
        assert allowed.all(), (
            f"flush {n}: byte {np.nonzero(~allowed)[0][0]:#x} is none that was to be written"
        )
        b.model.memory[:] = got
        b.ram.stall, b.drain = 0.0, 1.0
    await b.check_everything()
