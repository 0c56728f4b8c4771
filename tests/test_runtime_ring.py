"""The ring driver on a chip made up here: what it writes and in which order, how few accesses a program
takes, and a chip that does not go on."""

import random

import numpy as np
import pytest

from poblano.isa.commands import COMMAND_BYTES, ErrorCode
from poblano.isa.registers import Control, Irq, Status, address, constants
from poblano_host.compiler.template import Template
from poblano_host.runtime.errors import ChipError, DeviceError
from poblano_host.runtime.patches import apply_patches
from poblano_host.runtime.ring import Ring, command_rows
from tests.models_tiny import chip

CONFIG = chip(4, 4, lanes=2, tiles=1, data_width=64)
BASE = 512


class Chip:
    """A device whose chip takes commands out of its ring in steps of random size and does nothing.

    ``taken`` has the commands, ``accesses`` the names of the registers as they are read and written; the
    chip stops before command ``stop``, with an error if that has a ``code``.
    """

    patience, sees_cycles, zeroed, memory_bytes = 400, False, True, 1 << 16

    def __init__(self, *, sees_interrupt=True, stop=None, code=None, resets=True):
        self.sees_interrupt, self.stop, self.code, self.resets = sees_interrupt, stop, code, resets
        self.random = random.Random(1)
        self.memory = np.zeros(self.memory_bytes, np.uint8)
        self.names = {address(name): name for name in constants(CONFIG)}
        self.values = {address(name): value for name, value in constants(CONFIG).items()}
        self.accesses, self.written, self.taken, self.patches, self.count = [], [], [], [], 0

    def completed(self):
        return None

    def value(self, name, unit=None):
        return self.values.get(address(name, unit), 0)

    def set(self, **values):
        self.values |= {address(name): value for name, value in values.items()}

    def read_memory(self, at, size):
        return self.memory[at : at + size].tobytes()

    def write_memory(self, at, data):
        self.written.append(data)
        data = np.frombuffer(data, np.uint8)
        self.memory[at : at + len(data)] = data

    def read_registers(self, at, count):
        self.count += 1
        self.accesses.append(("read", at))
        return [self.values.get(at + 4 * n, 0) for n in range(count)]

    def patch(self, table, count, values):
        self.patches.append((count, len(values)))
        apply_patches(self.memory, table, count, values)

    def write_register(self, at, value):
        self.count += 1
        self.accesses.append(("write", at))
        if at == address("IRQ_STATUS"):
            value = self.value("IRQ_STATUS") & ~value
        self.values[at] = value
        if at == address("CONTROL") and value & Control.QUEUE_RESET and self.resets:
            self.set(CONTROL=value & Control.ENABLE, HEAD=0, TAIL=0, STATUS=0, IRQ_STATUS=0, CYCLES_LO=0)
            self.set(CYCLES_HI=0)
            self.values[address("COMPLETED", 0)] = 0
            self.taken = []
        if at == address("TAIL"):
            assert value - self.value("HEAD") <= self.value("RING_SIZE")
            self.set(STATUS=Status.RUNNING)

    def wait(self, brief=False):
        head, tail = self.value("HEAD"), self.value("TAIL")
        assert self.value("CONTROL") & Control.ENABLE and self.value("IRQ_ENABLE") == Irq.DONE | Irq.ERROR
        end = min(tail, head + self.random.randrange(6), tail if self.stop is None else self.stop)
        for n in range(head, end):
            place = self.value("RING_BASE_LO") + COMMAND_BYTES * (n % self.value("RING_SIZE"))
            self.taken.append(self.read_memory(place, COMMAND_BYTES))
        self.set(HEAD=end, CYCLES_LO=7, CYCLES_HI=2)
        self.values[address("COMPLETED", 0)] = end
        if end == self.stop and self.code is not None:
            self.set(STATUS=Status.RUNNING | Status.ERROR, IRQ_STATUS=Irq.ERROR)
            self.set(ERROR_CODE=self.code, ERROR_INDEX=end, ERROR_UNIT=0)
        elif end == tail and self.value("STATUS"):
            self.set(STATUS=0, IRQ_STATUS=Irq.DONE)
        return bool(self.value("IRQ_STATUS")) if self.sees_interrupt else None

    def clock(self):
        return self.count

    def close(self):
        pass


def program(count):
    """Commands that differ, as words."""
    return np.arange(8 * count, dtype=np.uint64).reshape(count, 8) * np.uint64(0x123456789)


@pytest.mark.parametrize("sees_interrupt", [True, False])
@pytest.mark.parametrize("size", [4, 32])
def test_feeds(size, sees_interrupt):
    """Programs shorter and longer than the ring reach the chip in order, whatever holds them."""
    device = Chip(sees_interrupt=sees_interrupt)
    ring = Ring(CONFIG, device, BASE, size)
    for count in (0, 1, size - 1, size, 5 * size + 3):
        words, seen = program(count), []
        for commands in (words, words.tobytes(), bytearray(words.tobytes()), memoryview(words)):
            result = ring.run(commands, progress=lambda *arguments: seen.append(arguments))
            assert b"".join(device.taken) == words.tobytes() and result.commands == ring.written == count
            assert result.cycles == (2 << 32 | 7 if count else 0)
            assert result.counters[0]["COMPLETED"] == count
        assert not count or seen[-1] == (count, count, 0)
    assert command_rows(words).shape == (count, COMMAND_BYTES)
    with pytest.raises(ValueError, match="cannot reshape"):
        ring.run(bytes(COMMAND_BYTES + 1))


def test_few_accesses():
    """From the request to the doorbell: three accesses of registers, one of memory, nothing copied."""
    device = Chip()
    ring = Ring(CONFIG, device, BASE, 512)
    words = program(500)
    device.accesses, device.written = [], []
    ring.run(words)
    control = address("CONTROL")
    assert device.accesses[:3] == [("write", control), ("read", control), ("write", address("TAIL"))]
    assert len(device.written) == 1 and np.shares_memory(device.written[0], words)


def template(count, patched, kinds):
    """A template with patched words of so many kinds."""
    places = np.arange(patched) * (8 * count // patched)
    coefficients = np.array([[n % kinds, 1] for n in range(patched)], np.uint64)
    return Template(program(count), places, ("a", "b"), coefficients, [(None, "")] * count)


def test_resident():
    """Programs of templates are written once and patched; they reach the chip as they would bound."""
    device = Chip()
    ring = Ring(CONFIG, device, BASE, 64)
    first, second, large = template(13, 5, 3), template(20, 8, 8), template(60, 3, 1)
    for some, brought in ((first, 2), (first, 0), (second, 2), (first, 0), (large, 1), (first, 2)):
        for n in range(3):
            device.written, device.patches, device.accesses = [], [], []
            bound = some.bind({"a": 7 * n, "b": (1 << 63) - n})
            result = ring.run(bound)
            assert b"".join(device.taken) == bound.words.tobytes() and result.commands == len(bound)
            if some is large:  # no room beside its table: it is written each time
                assert len(device.written) == 1 and not device.patches
            else:
                assert len(device.written) == (brought if n == 0 else 0)
                assert device.patches == [(len(some.places), len(some.kinds[0]))]
    # What is not a template's takes the whole ring, and nothing stays.
    words = program(100)
    ring.run(words)
    assert b"".join(device.taken) == words.tobytes() and device.value("RING_SIZE") == 64
    device.written = []
    ring.run(first.bind({"a": 1, "b": 2}))
    assert len(device.written) == 2 and device.value("RING_SIZE") == 16
    # A few accesses: reset, its end, the doorbell, the status, the counters twice.
    device.accesses = []
    ring.run(first.bind({"a": 1, "b": 3}))
    control = address("CONTROL")
    assert device.accesses[:3] == [("write", control), ("read", control), ("write", address("TAIL"))]
    assert device.accesses[-2:] == [("read", address("CYCLES_LO")), ("read", address("COMPLETED", 0))]
    none = Template.constant(program(0), [])
    assert ring.run(none.bind({})).commands == 0
    constant = Template.constant(program(6), [(None, "")] * 6)
    device.patches = []
    assert ring.run(constant.bind({})).commands == 6 and not device.patches


def test_many_kinds():
    """More kinds of patches than a request has values: the program is written each time."""
    device = Chip()
    ring = Ring(CONFIG, device, BASE, 256)
    for kinds, patches in ((32, 1), (33, 0)):
        bound = template(40, 40, kinds).bind({"a": 3, "b": 1})
        device.patches = []
        ring.run(bound)
        assert b"".join(device.taken) == bound.words.tobytes() and len(device.patches) == patches


def test_bad_tables():
    """What is refused in a table, and that nothing of it is written."""
    memory = np.zeros(256, np.uint8)
    table = memory[64:96].view(np.uint64)
    for word, message in (
        (8 | 1 << 48, "entry 1 of the table at 0x40: kind 1 of 1, address 0x8"),
        (12, "entry 1 .* kind 0 of 1, address 0xc"),
        (256, "entry 1 .* address 0x100"),
        (1 << 47, "entry 1 .* address 0x800000000000"),
    ):
        table[:] = 5, 0, 6, word
        with pytest.raises(ValueError, match=message):
            apply_patches(memory, 64, 2, np.ones(1, np.uint64))
        assert not memory[:64].any()
    table[:] = 5, 0, (1 << 64) - 1, 8 | 1 << 48
    apply_patches(memory, 64, 2, np.array([1, 3], np.uint64))
    assert memory[:16].view(np.uint64).tolist() == [6, 2]


def test_errors():
    device = Chip(stop=6, code=ErrorCode.FIELD)
    ring = Ring(CONFIG, device, BASE, 4)
    commands = bytearray(program(9).tobytes())
    commands[6 * COMMAND_BYTES] = 0xFF
    with pytest.raises(ChipError, match=r"FIELD .* at command 6 \(dma\): ff") as caught:
        ring.run(commands)
    assert (caught.value.code, caught.value.index, caught.value.unit) == (ErrorCode.FIELD, 6, 0)
    device.code, device.stop = None, None
    assert ring.run(commands).commands == 9


def test_hangs():
    device = Chip(stop=6)
    ring = Ring(CONFIG, device, BASE, 4)
    with pytest.raises(
        DeviceError,
        match="the chip hangs: nothing completed in 400 accesses; 6 of 10 commands are dispatched, and "
        "completed are dma 6, tile0.stream 0, tile0.matmul 0, tile0.vector 0",
    ):
        ring.run(program(19))
    device.resets = False
    with pytest.raises(DeviceError, match="the queue's reset has not ended in 400 accesses"):
        ring.run(program(1))
    device = Chip()
    device.set(CONFIG1=5)
    with pytest.raises(DeviceError, match="the chip's CONFIG1 is 0x00000005; that of custom is 0x00040004"):
        Ring(CONFIG, device, BASE, 4)
