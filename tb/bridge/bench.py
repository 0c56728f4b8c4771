"""cocotb bench of :class:`Bridge`: every request against a memory and registers that stall, and what can go
wrong on the line."""

import os
import struct

import cocotb
from cocotb.triggers import ClockCycles

from poblano.bridge.protocol import (
    ENTRY_BYTES,
    FLAG,
    HEADER_BYTES,
    IDENTITY_WORDS,
    STATISTICS,
    WAIT_BITS,
    Operation,
    Request,
    Status,
    encode_frame,
)
from tb.bridge.driver import CONFIG, MEMORY, setup

LENGTH = int(os.environ.get("LENGTH", "60"))


@cocotb.test()
async def identify(dut):
    bench = await setup(dut, "identify")
    assert await bench.words(Operation.IDENTIFY) == CONFIG.identity
    assert len(CONFIG.identity) == len(IDENTITY_WORDS) and len(STATISTICS) == 3
    await bench.counters()


@cocotb.test()
async def random_requests(dut):
    bench = await setup(dut, "random")
    for _ in range(LENGTH):
        request, status, data = bench.random_request()
        got = await bench.exchange(request)
        assert got == (status, data), f"{request}: {got}"
        bench.compare()
    await bench.counters()


@cocotb.test()
async def repeated(dut):
    """A request whose answer was lost is answered again, and acts once; sequence number 0 always acts."""
    bench = await setup(dut, "repeated")
    for _ in range(LENGTH // 4):
        request, status, data = bench.random_request()
        answers = [await bench.exchange(request)]
        bench.compare()
        writes = bench.memory.writes, bench.registers.writes
        bench.memory.mem[0:4], old = bench.rng.randbytes(4), bytes(bench.memory.mem[0:4])
        other = Request(request.sequence, Operation.WRITE_REGISTER, 4, 0, bytes(4))
        answers += [await bench.exchange(again) for again in (request, other)]
        bench.memory.mem[0:4] = old
        bench.repeats += 2
        assert answers == [(status, data)] * 3
        assert writes == (bench.memory.writes, bench.registers.writes)
    await bench.counters()
    for value in range(3):
        assert (await bench.exchange(Request(0, Operation.WRITE_REGISTER, 4, 8, bytes([value] * 4))))[
            0
        ] == Status.OK
        assert bytes(bench.registers.mem[8:12]) == bytes([value] * 4)


@cocotb.test()
async def corrupted(dut):
    """Frames with flipped bits, that end early, or that are too long are dropped and counted, and nothing
    else."""
    bench = await setup(dut, "corrupted")
    rng = bench.rng
    for n in range(LENGTH // 2):
        request = bench.request(Operation.WRITE_MEMORY, 8, 64, rng.randbytes(8))
        line = bytearray(encode_frame(request.encode()))
        kind = n % 6
        if kind == 0:  # never to a flag or an escape, or from one
            at = rng.choice([i for i in range(1, len(line) - 1) if line[i] not in (0x7E, 0x7D)])
            line[at] = rng.choice(
                [line[at] ^ 1 << b for b in range(8) if line[at] ^ 1 << b not in (0x7E, 0x7D)]
            )
        elif kind == 1:
            line[rng.randrange(2, len(line) - 1) :] = bytes([FLAG])
        elif kind == 2:  # aborted by an escape before the flag
            line[-1:] = b"\x7d\x7e"
        elif kind == 3:
            line = bytearray(
                encode_frame(request.encode() + rng.randbytes(CONFIG.payload + rng.choice([-7, 1, 100])))
            )
        elif kind == 4:
            line = bytearray(encode_frame(rng.randbytes(rng.randrange(1, HEADER_BYTES))))
        else:
            del line[rng.randrange(1, len(line) - 1)]
        await bench.send(line)
        bench.dropped += 1
        if rng.random() < 0.3:
            await bench.send(bytes([FLAG]) * rng.randrange(1, 4))
        if rng.random() < 0.3 and kind != 3:
            # Bytes outside of frames; the flag that ends them closes a bad frame.
            await bench.send(rng.randbytes(5).replace(b"\x7e", b"x").replace(b"\x7d", b"y") + bytes([FLAG]))
            bench.dropped += 1
        if rng.random() < 0.3:
            await bench.counters()
    await ClockCycles(dut.clk, 100 * bench.divider)
    assert not bench.frames and not bench.memory.writes
    bench.compare()
    await bench.counters()


@cocotb.test()
async def line_errors(dut):
    """A byte without a stop bit spoils its frame; a start bit that is too short does nothing."""
    bench = await setup(dut, "line")
    for n in range(4):
        line = encode_frame(bench.request(Operation.WRITE_REGISTER, 4, 4, b"abcd").encode())
        for i, byte in enumerate(line):
            bad = i == 3 + n
            await bench.send_byte(byte, stop=not bad)
            await ClockCycles(dut.clk, bench.divider)
        bench.line_errors += 1
        bench.dropped += 1
        dut.rx.value = 0
        await ClockCycles(dut.clk, max(1, bench.divider // 2 - 2))
        dut.rx.value = 1
        await ClockCycles(dut.clk, 2 * bench.divider)
        await bench.counters()
    assert not bench.registers.writes


@cocotb.test()
async def back_to_back(dut):
    """A flag ends a frame and begins the next; what comes during an answer is skipped."""
    bench = await setup(dut, "back to back")
    size = min(64, CONFIG.payload)
    read = bench.request(Operation.READ_MEMORY, size, 128)
    lost = bench.request(Operation.WRITE_REGISTER, 4, 4, b"abcd")
    await bench.send(encode_frame(read.encode()) + encode_frame(lost.encode()))
    answer = await bench.answer()
    assert answer == bytes([read.sequence, Status.OK]) + bytes(bench.memory.mem[128 : 128 + size])
    assert await bench.answer() is None and not bench.registers.writes
    bad = bytearray(encode_frame(lost.encode()))
    bad[3] ^= 1
    await bench.send(bad[:-1] + encode_frame(lost.encode()))
    assert await bench.answer() == bytes([lost.sequence, Status.OK])
    bench.dropped += 1
    await bench.counters()


@cocotb.test()
async def divider(dut):
    """The answer comes at the old speed; a break brings the first speed back."""
    bench = await setup(dut, "divider")
    for value in (4, 5, 33, 7):
        status, _ = await bench.exchange(bench.request(Operation.SET_DIVIDER, 0, value))
        assert status == Status.OK
        await ClockCycles(dut.clk, 2 * bench.divider)
        bench.divider = value
        await bench.counters()
    for value in (0, 3, 1 << 16, 1 << 31):
        assert await bench.exchange(bench.request(Operation.SET_DIVIDER, 0, value)) == (
            Status.BAD_ADDRESS,
            b"",
        )
    dut.rx.value = 0
    await ClockCycles(dut.clk, (1 << CONFIG.break_bits) + 10)
    dut.rx.value = 1
    bench.divider = CONFIG.divider
    await ClockCycles(dut.clk, 20 * bench.divider)
    bench.line_errors += 1
    await bench.counters()


@cocotb.test(skip=not CONFIG.chip)
async def patches(dut):
    """Tables with good and bad entries, and memory that fails; a patch may change its own table."""
    bench = await setup(dut, "patches")
    seen = []
    for _ in range(2 * LENGTH):
        request, status = bench.random_patch()
        got = await bench.exchange(request)
        assert got == (status, b""), f"{request}: {got}, not {status}"
        bench.compare()
        seen.append(status)
    assert set(seen) >= {Status.OK, Status.BAD_LENGTH, Status.BAD_ADDRESS, Status.BAD_ENTRY}
    await bench.counters()


@cocotb.test(skip=not CONFIG.chip)
async def last_table(dut):
    """A table at the end of memory; one that passes the last address is refused there."""
    bench = await setup(dut, "last table")
    bench.memory.bad = MEMORY
    for count in (2, 3):
        table, values = MEMORY - 2 * ENTRY_BYTES, [5, 1 << 63]
        for n in range(2):
            bench.put_entry(table + n * ENTRY_BYTES, bench.rng.getrandbits(64), 8 * n, n)
        if count == 2 or 1 << CONFIG.addr_width == MEMORY:
            status = bench.patched(table, count, values)
            data = struct.pack("<QQ", *values)
            assert await bench.exchange(bench.request(Operation.PATCH, count, table, data)) == (status, b"")
            assert status == (Status.OK if count == 2 else Status.BAD_ADDRESS)
            bench.compare()


@cocotb.test(skip=not CONFIG.chip)
async def waits(dut):
    """A WAIT ends with the interrupt, or after its cycles; no request comes in while it lasts."""
    bench = await setup(dut, "waits")
    request = lambda cycles, count=4, data=b"": bench.request(Operation.WAIT, count, cycles, data)
    for cycles, bad in ((0, {}), (1 << WAIT_BITS, {}), (8, dict(count=8)), (8, dict(count=0))):
        status = Status.OK if not cycles else Status.BAD_LENGTH if bad else Status.BAD_ADDRESS
        wanted = status, bytes(4) if status == Status.OK else b""
        assert await bench.exchange(request(cycles, **bad)) == wanted
    assert (await bench.exchange(request(8, data=bytes(4))))[0] == Status.BAD_LENGTH
    for after in (100, 900, None, 0):
        waiting = request(3000)
        dut.irq.value = after == 0
        await bench.send(encode_frame(waiting.encode()))
        taken = 0
        while not bench.frames:
            await ClockCycles(dut.clk, 1)
            taken += 1
            if taken == after:
                dut.irq.value = 1
        line = 12 * 10 * bench.divider
        least = 3000 if after is None else after
        assert least <= taken + line // 10 and taken < least + 2 * line, (after, taken)
        assert await bench.answer() == bytes([waiting.sequence, 0, after is not None, 0, 0, 0])
        dut.irq.value = 0
    await bench.counters()
