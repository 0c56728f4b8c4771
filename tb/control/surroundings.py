"""What is around the command processor: units of random speed, and memory."""

from collections import deque
import os
import random

from cocotb.triggers import RisingEdge

from poblano.isa.commands import COMMAND_BYTES, COUNT_BITS, NO_UNIT, ErrorCode
from poblano.isa.topology import UnitKind
from tb.control.configs import CONFIGS

__all__ = ["CONFIG", "MEMORY", "SEED", "UNITS", "Surroundings"]

CONFIG = CONFIGS[os.environ["CONFIG"]]
UNITS = CONFIG.units
ROOM = {UnitKind.DMA: 1, UnitKind.STREAM: 2, UnitKind.MATMUL: 3, UnitKind.VECTOR: 1}
"""Commands that a unit takes before it has completed one."""
SEED = os.environ.get("SEED", "1")
MEMORY = 1 << 20
BOUNDARY = 4096


class Surroundings:
    """The processor's units and memory, with all of its rules checked in every cycle."""

    def __init__(self, dut, name):
        self.dut = dut
        self.rng = random.Random(f"{name} {CONFIG.name} {SEED}")
        self.memory = bytearray(MEMORY)
        self.bad = None  # addresses from here on, of a beat's size, answer with an error
        self.base = 0
        self.ring = 8
        self.cycle = 0
        self.stall = 0.3
        self.slow = 20  # most cycles that a unit takes
        self.times = {}  # cycles that certain units take
        self.doorbell = 0.1  # how often TAIL is written
        self.fails = None  # (unit, number): its command that ends in an error; the other units go on
        self.hangs = None  # (unit, number, idle): its command that never ends, with or without transactions
        self.silent = False  # memory does not take addresses
        self.failed_index = None
        self.clears = 0
        self.last_start = self.last_beat = 0  # cycles
        self.beats = [0, 0]
        self.counted = {name: [0] * UNITS for name in ("busy", "stall_in", "stall_out")}
        self.reads, self.current = deque(), None
        self.resetting = False
        self.forget()

    def forget(self):
        """Nothing is queued: as after a reset."""
        self.program = []
        self.expected = [deque() for _ in range(UNITS)]
        self.completed = [0] * UNITS
        self.started = [0] * UNITS
        self.in_unit = [deque() for _ in range(UNITS)]  # the cycles in which commands end
        self.axi_until = [0] * UNITS
        self.errors_at = None
        self.tail = 0

    def holds(self, command):
        return all(
            unit == NO_UNIT or (self.completed[unit] - count) % (1 << COUNT_BITS) < 1 << COUNT_BITS - 1
            for unit, count in command.waits
        )

    async def run_units(self):
        dut, rng = self.dut, self.rng
        ready, everyone = 0, (1 << UNITS) - 1
        done = was_valid = 0
        while True:
            await RisingEdge(dut.clk)
            self.cycle += 1
            if self.resetting:
                ready = done = was_valid = 0
                dut.cmd_ready.value = dut.done.value = dut.error.value = 0
                continue
            valid, flush = int(dut.cmd_valid.value), int(dut.flush.value)
            assert flush in (0, everyone)
            if dut.clear.value:
                self._clear(
                    flush == everyone and (self.hangs or self.silent or int(dut.idle.value) == everyone)
                )
            taken = valid & ready
            assert not (flush and valid)
            if not flush and self.errors_at is None:
                assert not was_valid & ~valid, "a command offered and withdrawn"
            was_valid = valid & ~ready
            self._starts(taken, done)
            done, error, ready, idle = self._answers(flush)
            ready &= rng.getrandbits(UNITS) if rng.random() < self.stall else everyone
            dut.cmd_ready.value, dut.done.value, dut.error.value, dut.idle.value = ready, done, error, idle
            dut.code.value = int(ErrorCode.AXI_READ) if error else rng.getrandbits(4)
            self._count()

    def _clear(self, quiet):
        """All units are reset, which must be ``quiet``."""
        assert quiet and (self.silent or self.current is None and not self.reads)
        self.clears += 1
        self.reads.clear()
        self.axi_until = [0] * UNITS
        for queue in self.in_unit:
            queue.clear()

    def _starts(self, taken, done):
        """Commands that start in this cycle; units have ``taken`` some, and were ``done`` with others."""
        start, trace_done = int(self.dut.trace_start.value), int(self.dut.trace_done.value)
        ignored = 0 if self.errors_at is None else 1 << self.fails[0]
        assert done & ~trace_done & ~ignored == 0 == trace_done & ignored & ~start
        for unit in [unit for unit in range(UNITS) if start >> unit & 1]:
            failed = self.errors_at is not None and self.cycle > self.errors_at and self.fails[0] == unit
            assert not failed, "started after an error"
            index, command = self.expected[unit].popleft()
            assert self.holds(command), f"unit {unit} starts {command} too early"
            self.started[unit] += 1
            self.last_start = self.cycle
            nop = command.opcode == "NOP"
            assert nop != bool(taken >> unit & 1)
            if nop:
                assert not self.in_unit[unit] and trace_done >> unit & 1
                self.completed[unit] += 1
                continue
            given = int(getattr(self.dut, f"cmd{unit}").value)
            assert given.to_bytes(COMMAND_BYTES, "little") == command.encode()
            end = self.cycle + self.times.get(unit, self.rng.randrange(self.slow))
            self.in_unit[unit].append((index, end))
            if CONFIG.topology.kind_of(unit) in (UnitKind.DMA, UnitKind.STREAM):
                self.axi_until[unit] = max(self.axi_until[unit], end)
        assert taken & ~start == 0 and trace_done & ~done & ~start == 0

    def _answers(self, flush):
        """Masks of the units that complete a command, fail, have room for one, and have no transaction."""
        done = error = ready = idle = 0
        for unit, queue in enumerate(self.in_unit):
            if queue and queue[0][1] <= self.cycle and (self.errors_at is None or self.fails[0] != unit):
                if self.fails == (unit, self.completed[unit]):
                    error = 1 << unit
                    self.errors_at, self.failed_index = self.cycle + 1, queue[0][0]
                    queue.clear()
                    done |= self.rng.randrange(2) << unit  # which nobody may look at
                elif self.hangs is None or self.hangs[:2] != (unit, self.completed[unit]):
                    done |= 1 << unit
                    queue.popleft()
                    self.completed[unit] += 1
            if len(queue) < ROOM[CONFIG.topology.kind_of(unit)] and not flush:
                ready |= 1 << unit
            hangs = self.hangs is not None and self.hangs[:2] == (unit, self.completed[unit]) and bool(queue)
            if self.hangs[2] if hangs else self.axi_until[unit] <= self.cycle:
                idle |= 1 << unit
        return done, error, ready, idle

    def _count(self):
        """Random events for the counters."""
        for name, counted in self.counted.items():
            bits = self.rng.getrandbits(UNITS)
            getattr(self.dut, name).value = bits
            for unit in range(UNITS):
                counted[unit] += bits >> unit & 1
        for n, name in enumerate(("read_beats", "write_beats")):
            bit = self.rng.randrange(2)
            getattr(self.dut, name).value = bit
            self.beats[n] += bit

    async def run_memory(self):
        dut, rng = self.dut, self.rng
        beat = CONFIG.memory.data_bytes
        ready, waiting, offered = 0, None, False
        while True:
            await RisingEdge(dut.clk)
            if self.resetting:
                self.reads.clear()
                self.current, waiting, ready, offered = None, None, False, False
                dut.rvalid.value = dut.arready.value = 0
                continue
            if dut.arvalid.value:
                request = int(dut.araddr.value), int(dut.arlen.value) + 1
                assert waiting in (None, request), "AR changed"
                waiting = request
                if ready:
                    at, beats = request
                    assert at % beat == 0 and at // BOUNDARY == (at + beats * beat - 1) // BOUNDARY
                    assert beats <= CONFIG.memory.burst_beats
                    first, last = (
                        (at - self.base) // COMMAND_BYTES,
                        (at + beats * beat - 1 - self.base) // COMMAND_BYTES,
                    )
                    assert 0 <= first <= last < self.ring, "read outside the ring"
                    self.reads.append([at, beats, self.cycle + rng.randrange(30)])
                    waiting = None
            else:
                assert waiting is None or self.silent
                waiting = None
            if offered:
                self.last_beat = self.cycle
                assert dut.rready.value, "fetch has no room for what it asked for"
                self.current = [self.current[0] + beat, self.current[1] - 1] if self.current[1] > 1 else None
            if self.current is None and self.reads and self.reads[0][2] <= self.cycle:
                self.current = self.reads.popleft()[:2]
            offered = self.current is not None and rng.random() >= self.stall
            dut.rvalid.value = offered
            if offered:
                at, left = self.current
                failed = self.bad is not None and self.bad <= at < self.bad + beat
                dut.rdata.value = int.from_bytes(
                    rng.randbytes(beat) if failed else self.memory[at : at + beat], "little"
                )
                dut.rresp.value = rng.choice((2, 3)) if failed else 0
                dut.rlast.value = left == 1
            ready = rng.random() >= self.stall and not self.silent
            dut.arready.value = ready
