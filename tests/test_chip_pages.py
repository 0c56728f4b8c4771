"""Pages on the RTL and on the golden chip: programs, hostile ones too, read and write what their slots'
tables name and nothing else."""

from collections import Counter
from dataclasses import replace
import random

import numpy as np
import pytest

from poblano.config import PagingConfig
from poblano.isa.errors import CommandError
from poblano_host.golden.rules import check
from poblano_host.runtime.backend import open_backend
from poblano_host.runtime.ring import Ring
from tb.control.random_commands import PAGE_BYTES, page_counts, valid_command
from tests.models_tiny import chip
from tests.test_chip_commands import run, short
from tests.test_first_light import dump

PAGED = chip(4, 4, lanes=2, tiles=2, data_width=64, vmem_lines=512, amem_blocks=128).with_memory(
    paging=PagingConfig(slots=4, pages=4)
)
SETTINGS = {
    "page tables": PAGED,
    "with check bits": PAGED.with_ecc(),
    "two homes": PAGED.with_memory(homes=2, home_bytes=1 << 19),
}
DATA, RING = 1 << 16, 64
"""Bytes that programs reach without page tables, and commands in the ring."""
OPCODES = ("LOAD", "STORE", "STORE_BLOCK", "STORE_SCALE", "STORE_WORD")


def hostile(rng, config):
    """A command whose addresses are in the window, anywhere: past pages, tables and slots, or across them."""
    paging = config.memory.paging
    command = valid_command(rng, config, DATA, rng.choice(OPCODES))
    o = command.operands | {name: 0 for name in ("src", "dst") if name in command.operands}
    o |= {name: rng.choice((1, 8)) for name in ("lines", "src_stride", "dst_stride") if name in o}
    row = 32 * o["lines"] if "lines" in o else o.get("length", 4)
    near = rng.choice(
        (PAGE_BYTES - row, PAGE_BYTES - row, PAGE_BYTES, row * rng.randrange(PAGE_BYTES // row))
    )
    offset = rng.choice((0, near, near, near + 8, rng.getrandbits(paging.part_bits)))
    home = rng.randrange(paging.homes)
    address = paging.address(rng.choice((0, 0, 1, 1, 2, 3, 4)), rng.randrange(5), offset, home)
    address = address // row * row if rng.random() < 0.9 else address
    strides = (0, row, row, -row, PAGE_BYTES, *[paging.stride] * 4, paging.stride + row)
    stride, rows = rng.choice(strides) % (1 << 32), rng.choice((1, 1, 2, 3, 6))
    return replace(
        command, operands=o | dict(mem_addr=address % (1 << 40), mem_stride=stride, rows=rows), waits=()
    )


class Chips:
    """The RTL and the golden chip with the same pages of owners, and others between them whose contents
    differ."""

    def __init__(self, config, rng):
        self.config = config
        ring, dump_at = (DATA, RING), DATA + 64 * RING
        self.dumping, end = dump(config, dump_at)
        first = -(-end // 4096) * 4096
        counts = page_counts(config)
        pages = rng.sample(range(sum(counts) + 6), sum(counts))
        size = first + PAGE_BYTES * (sum(counts) + 6)
        homes = [home * config.memory.bytes_of_home for home in range(config.memory.homes)]
        self.sim, self.golden = (
            open_backend(name, config, homes[-1] + size, ring) for name in ("sim", "golden")
        )
        parts = lambda n: [home + first + PAGE_BYTES * n for home in homes]
        extents = lambda numbers: [(at, at + PAGE_BYTES) for n in numbers for at in parts(n)]
        self.owned = extents(pages)
        self.others = extents(n for n in range(sum(counts) + 6) if n not in pages)
        contents = rng.randbytes(DATA), [rng.randbytes(PAGE_BYTES) for _ in self.owned]
        for backend in (self.sim, self.golden):
            backend.write(0, contents[0])
            for (start, _), data in zip(self.owned, contents[1]):
                backend.write(start, data)
            for start, _ in self.others:
                backend.write(start, rng.randbytes(PAGE_BYTES))
            backend.use_pages(first, PAGE_BYTES)
            at = iter(first + PAGE_BYTES * n for n in pages)
            for slot, count in enumerate(counts):
                backend.set_pages(slot, [next(at) for _ in range(count)])
        self._secrets = self._others()
        self._compared = [(0, DATA), (dump_at, end), *self.owned]

    def _others(self):
        return [[b.read(first, end - first) for first, end in self.others] for b in (self.sim, self.golden)]

    def run(self, code):
        """Run a program on both; how it ended. What owners see is the same, and others' pages are as they
        were."""
        ended = [run(backend, code) for backend in (self.sim, self.golden)]
        assert ended[0] == ended[1]
        for backend in (self.sim, self.golden):
            backend.run(self.dumping)
        for first, end in self._compared:
            ours, theirs = (
                np.frombuffer(backend.read(first, end - first), np.uint8)
                for backend in (self.sim, self.golden)
            )
            np.testing.assert_array_equal(ours, theirs)
        assert self._others() == self._secrets
        return ended[0]


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param("page tables", marks=pytest.mark.slow),
        pytest.param("with check bits", marks=pytest.mark.nightly),
        pytest.param("two homes", marks=pytest.mark.slow),
    ],
)
def test_programs_reach_their_own_pages_alone(setting):
    rng, seen = random.Random(setting), Counter()
    config = SETTINGS[setting]
    chips = Chips(config, rng)
    for _ in range(250):
        command = hostile(rng, config)
        try:
            valid = check(command.encode(), config, DATA, chips.golden.chip.tables)
        except CommandError:
            valid = None
        if valid is None or short(valid):
            ended = chips.run(command.encode())
            seen[ended and ended[0].name] += 1
    assert min(seen[None], seen["MEMORY_RANGE"]) >= 40, seen
    chips.sim.close()


@pytest.mark.parametrize("setting", ["page tables", "two homes"])
def test_random_programs(setting):
    """Valid commands, of which half are of the window, each behind the one before."""
    rng = random.Random(7)
    config = SETTINGS[setting]
    chips = Chips(config, rng)
    for _ in range(20):
        commands = [valid_command(rng, config, DATA, rng.choice((*OPCODES, "VECTOR"))) for _ in range(40)]
        counts, code, waits = [0] * config.units, [], ()
        for command in [command for command in commands if short(command)][:12]:
            counts[command.unit] += 1
            code.append(replace(command, waits=waits).encode())
            waits = ((command.unit, counts[command.unit]),)
        assert chips.run(b"".join(code)) is None
    chips.sim.close()


def test_tables_are_empty_at_first_and_after_a_reset():
    """No slot has a page before it is given one."""
    config = SETTINGS["page tables"]
    chips = Chips(config, random.Random(3))
    command = valid_command(random.Random(1), config, DATA, "STORE_WORD")
    first = config.memory.paging.address(0)
    code = replace(command, operands=dict(mem_addr=first, mem_stride=4, rows=1, value=1), waits=()).encode()
    assert chips.run(code) is None
    chips.sim.simulation.reset()
    chips.sim.ring = Ring(config, chips.sim.device, DATA, RING)
    assert run(chips.sim, code)[0].name == "MEMORY_RANGE"
    chips.sim.open_ring()  # gives the chip its tables back
    assert chips.run(code) is None
    for backend in (chips.sim, chips.golden):
        backend.set_pages(0, [])
    assert chips.run(code)[0].name == "MEMORY_RANGE"
    chips.sim.close()
