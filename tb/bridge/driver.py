"""The bench of the bridge: its host, a memory and registers that stall, random requests and what must come
of them."""

from dataclasses import replace
import os
import random
import struct

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteSlave, AxiSlave, MemoryRegion

from poblano.bridge.protocol import (
    CHIP_OPERATIONS,
    ENTRY_BYTES,
    FLAG,
    KIND_BIT,
    MOST_VALUES,
    Operation,
    Request,
    Status,
    decode_frame,
    encode_frame,
)
from tb.bridge.configs import CONFIGS
from tb.common.monitor import Monitor

__all__ = ["CONFIG", "MEMORY", "Bench", "setup"]

CONFIG = CONFIGS[os.environ["CONFIG"]]
MEMORY = 4 * 4096
UNKNOWN = len(Operation) - (0 if CONFIG.chip else len(CHIP_OPERATIONS))
REGISTERS = 1024


class Memory(MemoryRegion):
    """Counts its writes; bytes from ``bad`` on answer with SLVERR."""

    def __init__(self, size, bad):
        super().__init__(size)
        self.bad, self.writes = bad, 0

    async def _read(self, address, length, **kwargs):
        if address + length > self.bad:
            raise ValueError("bad address")
        return await super()._read(address, length, **kwargs)

    async def _write(self, address, data, **kwargs):
        if address + len(data) > self.bad:
            raise ValueError("bad address")
        self.writes += 1
        await super()._write(address, data, **kwargs)


class Bench:
    """The host at the bridge's pins, a memory and registers that stall, and what they should hold."""

    def __init__(self, dut, name):
        self.dut, self.rng = dut, random.Random(f"{name} {os.environ.get('SEED', '1')}")
        self.divider = CONFIG.divider
        self.memory, self.registers = Memory(MEMORY, MEMORY - 512), Memory(REGISTERS, REGISTERS - 64)
        for region in self.memory, self.registers:
            region.mem[:] = self.rng.randbytes(region.size)
        self.expected = [bytearray(region.mem) for region in (self.memory, self.registers)]
        axi = AxiSlave(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, target=self.memory)
        lite = AxiLiteSlave(AxiLiteBus.from_prefix(dut, "m_axil"), dut.clk, dut.rst, target=self.registers)
        for slave in axi, lite:
            for part in slave.write_if, slave.read_if:
                part.log.setLevel("CRITICAL")  # it warns of the errors that it is told to answer
            for channel in (
                slave.write_if.aw_channel,
                slave.write_if.w_channel,
                slave.write_if.b_channel,
                slave.read_if.ar_channel,
                slave.read_if.r_channel,
            ):
                channel.set_pause_generator(self.stalls())
        self.sequence, self.frames = 0, []
        self.dropped = self.repeats = self.line_errors = 0

    def stalls(self):
        while True:
            yield self.rng.random() < 0.4

    async def start(self):
        self.dut.rx.value = 1
        self.dut.irq.value = 0
        self.dut.rst.value = 1
        cocotb.start_soon(Clock(self.dut.clk, 10, unit="ns").start())
        Monitor(self.dut)
        await ClockCycles(self.dut.clk, 5)
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 5)
        cocotb.start_soon(self.watch())
        cocotb.start_soon(self.check_bursts())

    async def check_bursts(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk)
            for valid, address, length in (
                (dut.m_axi_awvalid, dut.m_axi_awaddr, dut.m_axi_awlen),
                (dut.m_axi_arvalid, dut.m_axi_araddr, dut.m_axi_arlen),
            ):
                if valid.value == 1:
                    first, last = int(address.value), int(address.value) + 4 * int(length.value)
                    assert first >> 12 == last >> 12, f"a burst from {first:#x} to {last:#x}"

    async def send_byte(self, byte, stop=1):
        for bit in [0, *(byte >> n & 1 for n in range(8)), stop]:
            self.dut.rx.value = bit
            await ClockCycles(self.dut.clk, self.divider)
        self.dut.rx.value = 1

    async def send(self, line):
        for byte in line:
            await self.send_byte(byte)
            if self.rng.random() < 0.05:
                await ClockCycles(self.dut.clk, self.rng.randrange(1, 5 * self.divider))

    async def watch(self):
        """Collects what is between the flags on tx."""
        body = bytearray()
        while True:
            await FallingEdge(self.dut.tx)
            await ClockCycles(self.dut.clk, self.divider // 2)
            assert self.dut.tx.value == 0
            byte = 0
            for n in range(8):
                await ClockCycles(self.dut.clk, self.divider)
                byte |= int(self.dut.tx.value) << n
            await ClockCycles(self.dut.clk, self.divider)
            assert self.dut.tx.value == 1, "stop bit"
            if byte != FLAG:
                body.append(byte)
            elif body:
                content = decode_frame(bytes(body))
                assert content is not None, body.hex()
                self.frames.append(content)
                body.clear()

    async def answer(self):
        """The next frame; None if none comes in the time of the longest."""
        for _ in range(2 * (CONFIG.payload + 20) * 10 * self.divider // 100 + 40):
            if self.frames:
                return self.frames.pop(0)
            await ClockCycles(self.dut.clk, 100)

    def request(self, operation, count=0, address=0, data=b""):
        self.sequence = self.sequence % 255 + 1
        return Request(self.sequence, operation, count, address, data)

    async def exchange(self, request):
        """Status and data of the answer."""
        await self.send(encode_frame(request.encode()))
        answer = await self.answer()
        assert answer is not None, f"no answer to {request}"
        assert answer[0] == request.sequence
        return answer[1], answer[2:]

    async def words(self, operation):
        status, data = await self.exchange(self.request(operation))
        assert status == Status.OK
        return struct.unpack(f"<{len(data) // 4}I", data)

    def random_request(self):
        """A request and what it must be answered with; ``expected`` is changed as it must change the
        memories."""
        rng = self.rng
        operation = rng.choice(
            [Operation.READ_REGISTER, Operation.WRITE_REGISTER]
            + 2 * [Operation.READ_MEMORY, Operation.WRITE_MEMORY]
        )
        register = operation in (Operation.READ_REGISTER, Operation.WRITE_REGISTER)
        one = register and not (CONFIG.chip and operation == Operation.READ_REGISTER)
        region, content = (self.registers, self.expected[1]) if register else (self.memory, self.expected[0])
        count = (
            4
            if one
            else 4 * rng.choice([1, 2, rng.randrange(1, CONFIG.payload // 4 + 1), CONFIG.payload // 4])
        )
        address = 4 * rng.randrange((region.size - count) // 4 + 1)
        if not register and rng.random() < 0.4:  # over the end of a page
            address = max(0, 4096 * rng.randrange(1, 3) - 4 * rng.randrange(0, count // 4 + 2))
        writes = operation in (Operation.WRITE_REGISTER, Operation.WRITE_MEMORY)
        data = bytes(rng.choices([FLAG, FLAG ^ 3, *rng.randbytes(6)], k=count)) if writes else b""
        kind = rng.random()
        if kind < 0.05:
            return (
                self.request(rng.randrange(UNKNOWN, 256), count, address, data),
                Status.UNKNOWN_OPERATION,
                b"",
            )
        if kind < 0.1:
            return (
                self.request(operation, count, address | rng.randrange(1, 4), data),
                Status.BAD_ADDRESS,
                b"",
            )
        if kind < 0.13:
            outside = 1 << (12 if register else CONFIG.addr_width)
            beyond = [outside - 4] * (not one and count > 4) + [outside] * (outside < 1 << 32)
            if beyond:
                return self.request(operation, count, rng.choice(beyond), data), Status.BAD_ADDRESS, b""
        if kind < 0.2:
            wrong = rng.choice([count + 1, 0, count + 2, CONFIG.payload + 4, 65532])
            return self.request(operation, wrong, address, data), Status.BAD_LENGTH, b""
        bad = self.request(operation, count, address, data), Status.SLAVE_ERROR, b""
        if writes:
            # Bursts before the page's end take effect on their own.
            at = address
            while at < address + count:
                end = min(address + count, (at // 4096 + 1) * 4096)
                for word in range(at, min(end, region.bad), 4):
                    content[word : word + 4] = data[word - address : word - address + 4]
                at = end
        if address + count > region.bad:
            return bad
        return (
            self.request(operation, count, address, data),
            Status.OK,
            b"" if writes else bytes(content[address : address + count]),
        )

    def put_entry(self, at, word, address, kind):
        """An entry of a table, in both memories."""
        packed = struct.pack("<QQ", word, kind << KIND_BIT | address)
        self.memory.mem[at : at + ENTRY_BYTES] = self.expected[0][at : at + ENTRY_BYTES] = packed

    def random_patch(self):
        """A PATCH and its status; the table is put in memory, and ``expected`` is changed as it must change
        memory."""
        rng, size = self.rng, self.memory.size
        values = [rng.getrandbits(64) for _ in range(rng.choice([1, 2, 9, MOST_VALUES]))]
        count = rng.choice([1, 2, rng.randrange(1, 30)])
        table = ENTRY_BYTES * rng.randrange((size - 1024) // ENTRY_BYTES - count)
        for at in range(table, table + ENTRY_BYTES * count, ENTRY_BYTES):
            address, kind = 8 * rng.randrange((size - 512) // 8), rng.randrange(len(values))
            flaw = rng.random()
            if flaw < 0.02:
                address += rng.choice([1, 2, 4, 1 << CONFIG.addr_width, 1 << KIND_BIT - 1])
            elif flaw < 0.04:
                kind = rng.choice([len(values), 1 << 15, len(values) + rng.randrange(100)])
            elif flaw < 0.05:
                address = self.memory.bad + 8
            self.put_entry(at, rng.choice([0, (1 << 64) - 1, rng.getrandbits(64)]), address, kind)
        data, flaw = struct.pack(f"<{len(values)}Q", *values), rng.random()
        request = self.request(Operation.PATCH, count, table, data)
        if flaw < 0.1:
            return replace(request, data=data[: -rng.randrange(1, 8)]), Status.BAD_LENGTH
        if flaw < 0.15:
            return replace(request, **rng.choice([dict(data=b""), dict(count=0)])), Status.BAD_LENGTH
        if flaw < 0.2:
            return replace(request, address=table + rng.choice([1, 4, 8])), Status.BAD_ADDRESS
        return request, self.patched(table, count, values)

    def patched(self, table, count, values):
        """Does a patch in ``expected``; the status. An entry may be what an entry before it has written."""
        content = self.expected[0]
        for at in range(table, table + ENTRY_BYTES * count, ENTRY_BYTES):
            if at == 1 << CONFIG.addr_width:
                return Status.BAD_ADDRESS
            if at + ENTRY_BYTES > self.memory.bad:
                return Status.SLAVE_ERROR
            word, second = struct.unpack_from("<QQ", content, at)
            address, kind = second % (1 << KIND_BIT), second >> KIND_BIT
            if address % 8 or address >> CONFIG.addr_width or kind >= len(values):
                return Status.BAD_ENTRY
            if address + 8 > self.memory.bad:
                return Status.SLAVE_ERROR
            struct.pack_into("<Q", content, address, (word + values[kind]) % (1 << 64))
        return Status.OK

    def compare(self):
        for region, content in zip((self.memory, self.registers), self.expected):
            assert bytes(region.mem) == bytes(content)

    async def counters(self):
        assert await self.words(Operation.STATISTICS) == (self.dropped, self.line_errors, self.repeats)


async def setup(dut, name):
    """A :class:`Bench` after the reset; ``name`` is of its random numbers."""
    bench = Bench(dut, name)
    await bench.start()
    return bench
