"""Drives the vector unit's ports, answers its reads and compares its writes."""

from collections import deque
import os

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
import numpy as np

from poblano.config import LINE_WORDS
from poblano.interfaces import BusWrite, LocalWrite
from poblano.isa.check import check
from poblano.isa.commands import Command, Opcode
from poblano.isa.topology import UnitKind
from poblano.vector import reference
from tb.common.monitor import Monitor
from tb.common.reset import reset_unit
from tb.vector.contents import (
    ACTIVATIONS,
    CONFIG,
    GROUP,
    LANES,
    OWN,
    SEED,
    TILE,
    random_operands,
    random_words,
)
from tb.vector.expected import Expected

__all__ = ["Bench", "start"]

LOCAL, BUS = LocalWrite(TILE.local), BusWrite(TILE.local, tiles=CONFIG.tiles)
NUMBER = CONFIG.topology.unit(UnitKind.VECTOR, OWN)
UNIT = ("cmd__valid", "cmd__ready", "cmd__payload", "done", "busy", "error", "stall_in", "stall_out")
PORT = ("req__valid", "req__ready", "req__payload", "valid", "data")


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
        self.unit = {n: getattr(dut, f"unit__{n}") for n in UNIT}
        self.ports = {n: {k: getattr(dut, f"{n}__{k}") for k in PORT} for n in ("a", "b")}
        self.sinks = {
            n: {k: getattr(dut, f"{n}__{k}") for k in ("valid", "ready", "payload")} for n in ("local", "bus")
        }
        self.vmem = np.zeros(LINE_WORDS * TILE.vmem_lines, np.float32)
        self.fill()
        self.clear()

    def fill(self):
        """New contents of vector memory."""
        self.vmem[:] = random_words(self.rng)

    def clear(self):
        self.commands, self.offered = deque(), None
        self.current = self.expected = None
        self.pending = {n: deque() for n in ("a", "b")}
        self.best = reference.ARGMAX_START
        self.cycle = self.done = self.to_do = 0
        self.held = dict.fromkeys(self.sinks)
        self.ends, self.stalls = [], [0, 0]

    async def reset(self):
        valids = [self.unit["cmd__valid"]]
        await reset_unit(
            self.dut, tile=OWN, valids=valids, ports=self.ports, sinks=self.sinks, clear=self.clear
        )

    def add(self, **operands):
        o = (
            dict.fromkeys(Opcode.VECTOR.definition.field, 0)
            | {"rows": 1, "blocks": 1, "share": 1, "limit": reference.NO_LIMIT, "tiles": 1 << OWN}
            | operands
        )
        if o["sink"] == 2 and "activation" not in operands:
            o["activation"] = int(self.rng.choice(ACTIVATIONS))
        for name in ("imm1", "imm2"):
            o[name] = float(np.float32(o[name]))
        self.commands.append(check(Command(Opcode.VECTOR, NUMBER, o).encode(), CONFIG, 1 << 20))
        self.to_do += 1

    def add_nop(self):
        self.commands.append(Command(Opcode.NOP, NUMBER, {}))
        self.to_do += 1

    def add_random(self, **fixed):
        self.add(**random_operands(self.rng, **fixed))

    def begin(self, command):
        """A command was transferred: what it has to read and write, from memory as it is now."""
        assert self.current is None, "a command starts before the one before is done"
        self.current = command
        if command.opcode is Opcode.VECTOR:
            self.expected = Expected(command.operands, self.vmem, self.best)
            self.best = self.expected.best

    def read(self, name, row):
        assert self.expected is not None, f"a read of row {row} by port {name} before any command"
        reads = self.expected.reads[name]
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
            assert field_of(value, BUS, "tiles") == tiles
            value = field_of(value, BUS, "write")
        space, addr, mask, data = (field_of(value, LOCAL, n) for n in ("space", "addr", "mask", "data"))
        if space or mask == (1 << LANES) - 1:
            expected = self.expected.elements.popleft()
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
            lanes = [lane for lane in range(LANES) if mask >> lane & 1]
            assert 1 <= len(lanes) <= GROUP and lanes == list(range(lanes[0], lanes[-1] + 1))
            first = addr * LANES + lanes[0]
            data = b"".join((data >> 32 * lane & 0xFFFFFFFF).to_bytes(4, "little") for lane in lanes)
            for n in range(len(lanes)):
                expected, got = self.expected.results.popleft(), data[4 * n : 4 * n + 4]
                assert (first + n, got) == expected, (
                    f"{self.current}: result {first + n} {np.frombuffer(got, np.float32)}, not {expected[0]} "
                    f"{np.frombuffer(expected[1], np.float32)}"
                )
        if tiles >> OWN & 1 and data:
            self.vmem[first : first + len(data) // 4] = np.frombuffer(data, np.float32)

    async def run(self, limit=100000, until=None):
        """Until every command is done, or for ``until`` cycles."""
        end = self.cycle + (until or limit)
        while self.done < self.to_do and (until is None or self.cycle < end):
            ready = self._drive()
            await RisingEdge(self.dut.clk)
            assert self.cycle < end, (
                f"{self.done} of {self.to_do} done after {limit} cycles, {len(self.expected.elements)} "
                f"elements and {len(self.expected.results)} results to come of {self.current}"
            )
            self._observe(ready)
            self.cycle += 1

    def _drive(self):
        """What the next cycle shows; which ports are ready in it."""
        unit, rng = self.unit, self.rng
        if self.offered is None and self.commands and rng.random() >= self.stall["cmd"]:
            self.offered = self.commands.popleft()
            unit["cmd__payload"].value = int.from_bytes(self.offered.encode(), "little")
        unit["cmd__valid"].value = self.offered is not None
        for name, port in self.ports.items():
            queue = self.pending[name]
            valid = bool(queue) and queue[0][0] == self.cycle
            port["valid"].value = valid
            port["data"].value = queue.popleft()[1] if valid else 0
        ready = {}
        for name, port in (
            *((n, p["req__ready"]) for n, p in self.ports.items()),
            *((n, s["ready"]) for n, s in self.sinks.items()),
        ):
            ready[name] = rng.random() >= self.stall[name]
            port.value = int(ready[name])
        return ready

    def _observe(self, ready):
        """The cycle's reads, writes, completion and command, in this order: a read sees what earlier cycles
        wrote, a command what the one before wrote."""
        unit = self.unit
        for name, port in self.ports.items():
            if ready[name] and port["req__valid"].value:
                data = self.read(name, int(port["req__payload"].value))
                self.pending[name].append((self.cycle + self.latency, data))
        for name, sink in self.sinks.items():
            value = int(sink["payload"].value) if sink["valid"].value else None
            assert self.held[name] in (None, value), f"{name} changed before it was accepted"
            self.held[name] = None if ready[name] else value
            if ready[name] and value is not None:
                self.write(name, value)
        if unit["done"].value:
            self.done += 1
            assert self.expected is None or self.expected.complete, f"done too early: {self.current}"
            self.ends.append(self.cycle)
            self.current = None
        if self.current is not None:
            assert unit["busy"].value
        if self.offered is not None and unit["cmd__ready"].value:
            self.begin(self.offered)
            self.offered = None
        assert not unit["error"].value
        self.stalls[0] += int(unit["stall_in"].value)
        self.stalls[1] += int(unit["stall_out"].value)


async def start(dut, name):
    b = Bench(dut, name)
    cocotb.start_soon(Clock(dut.clk, 10, unit="ns").start())
    Monitor(dut)
    await b.reset()
    return b
