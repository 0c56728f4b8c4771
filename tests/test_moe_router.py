"""ROUTE commands against the numpy reference: what is written, what the command processor is told."""

import random

import numpy as np
import pytest

from poblano.config import LINE_WORDS, ExpertsConfig, LocalConfig
from poblano.isa.check import check
from poblano.isa.commands import Command, Opcode
from poblano.moe.reference import chosen, chosen_with_room, routes
from poblano.moe.router import Router
from poblano_host.golden import rules as golden_rules
from tb.common.streams import simulate
from tests.moe_memory import VectorMemory
from tests.test_control_checker import code_of, encode

LINES = 1024
OWN = 1


def local(lanes, ecc):
    rows = LINES * LINE_WORDS // lanes
    return LocalConfig(
        lanes=lanes,
        segments=1,
        sum_width=14,
        vmem_addr_width=(rows - 1).bit_length(),
        amem_addr_width=6,
        ecc=ecc,
    )


def operands(rng, config, lanes):
    """A command's, in lines that do not overlap."""
    experts = int(rng.integers(1, config.experts + 1))
    used = int(rng.integers(1, min(config.used, experts) + 1))
    groups = [n for n in range(1, 9) if not experts % n and 1 < experts // n < 256]
    grouped = {}
    if groups and rng.random() < 0.7:
        groups = int(rng.choice(groups))
        group = experts // groups
        most = int(rng.integers(-(-used // group), min(groups, config.used) + 1))
        grouped = dict(group_count=groups, group_size=group, group_used=most)
    rows, stride = int(rng.integers(1, config.rows + 1)), 4 * int(rng.integers(-(-experts // 32), 9))
    if rng.random() < 0.5:
        grouped |= dict(
            capacity=int(rng.integers(1, min(3, config.rows) + 1)), c=4 * int(rng.integers(150, 170))
        )
        grouped |= dict(c_stride=4 * int(rng.integers(0, 3)))
    return dict(
        experts=experts,
        used=used,
        tiles=int(rng.choice((1 << OWN, 5, 3))),
        a=4 * int(rng.integers(8)),
        a_stride=stride,
        b=360 + 4 * int(rng.integers(8)),
        b_stride=4 * (experts > 4) * int(rng.integers(0, 2) and -(-experts // 32)),
        dst=700 + int(rng.integers(8)),
        dst_stride=1 + int(rng.integers(3)),
        list=760 + int(rng.integers(8)),
        rows=rows,
        quiet=int(rng.integers(2)),
        **grouped,
    )


def expected(o, memory):
    """(vector memory, what is told) after a command."""
    words = memory.words.copy()
    values, weights = (memory.rows(o[n], o[f"{n}_stride"], o["rows"], o["experts"]) for n in "ab")
    choice, rerouted = (values, o["used"], o.get("group_count", 1), o.get("group_used", 1)), 0
    experts = chosen(*choice)
    if o.get("capacity"):
        windows = memory.rows(o["c"], o["c_stride"], o["rows"], 1)[:, 0]
        experts, rerouted = chosen_with_room(*choice, o["capacity"], windows)
    kept = np.take_along_axis(weights, experts, -1)
    for row, its in enumerate(kept):
        words[LINE_WORDS * (o["dst"] + row * o["dst_stride"]) :][: o["used"]] = its
    table = []
    for slot, route in enumerate(routes(experts, kept)):
        line = o["list"] + route.line
        entries = words[LINE_WORDS * line :][: 2 * len(route.rows)]
        entries[0::2], entries[1::2] = route.rows.astype(np.uint32).view(np.float32), route.weights
        table.append((slot, route.expert, len(route.rows), line, rerouted))
    return words, [] if o.get("quiet") else table


def run(dut, contents, rng, commands):
    """Executes the commands whose operands ``commands(memory)`` gives, and compares vector memory and what is
    told with the reference after each."""
    memory, told = VectorMemory(dut.port, contents, rng), []

    async def table(ctx):
        async for _, _, write in ctx.tick().sample(dut.table):
            if write.valid:
                told.append(
                    (write.slot, write.routed.expert, write.routed.rows, write.routed.line, write.rerouted)
                )

    async def bench(ctx):
        ctx.set(dut.tile, OWN)
        for o in commands(memory):
            words, wanted = expected(o, memory)
            told.clear()
            ctx.set(dut.cmd.payload, int.from_bytes(Command(Opcode.ROUTE, 0, o).encode(), "little"))
            ctx.set(dut.cmd.valid, 1)
            assert ctx.get(dut.cmd.ready) and not ctx.get(dut.active)
            await ctx.tick()
            ctx.set(dut.cmd.valid, 0)
            done = False
            while not done:
                ready = rng.random() < 0.7
                ctx.set(dut.local.ready, ready)
                ctx.set(dut.bus.ready, ready)
                assert ctx.get(dut.active)
                _, _, done, to_own, own, to_bus, bus = await ctx.tick().sample(
                    dut.done, dut.local.valid, dut.local.payload, dut.bus.valid, dut.bus.payload
                )
                assert not to_own or o["tiles"] == 1 << OWN
                assert not to_bus or o["tiles"] != 1 << OWN and bus.tiles == o["tiles"]
                assert not done or not (to_own or to_bus)
                if ready and (to_own or to_bus):
                    memory.write(own if to_own else bus.write)
            np.testing.assert_array_equal(memory.words.view(np.uint32), words.view(np.uint32))
            assert told == wanted

    simulate(dut, bench, background=[memory.bench, table])


@pytest.mark.parametrize("lanes, ecc", [(2, False), (8, True), (32, False)])
@pytest.mark.parametrize("config", [(16, 2, 8), (256, 8, 9)])
def test_router(config, lanes, ecc):
    config = ExpertsConfig(**dict(zip(("experts", "used", "rows"), config)))
    rng = np.random.default_rng(lanes)
    contents = rng.choice([0.0, -0.0, 1.0, 2.5, np.inf, -np.inf, np.nan, -3.0], LINES * LINE_WORDS).astype(
        np.float32
    )
    contents[::3] = rng.normal(size=len(contents[::3]))
    every = [operands(rng, config, lanes) for _ in range(12)]
    run(Router(local(lanes, ecc), config, tiles=3), contents, random.Random(lanes), lambda memory: every)
    seen = {o.get("group_count", 0) for o in every}
    assert 0 in seen and max(seen) > 1
    assert {o.get("capacity", 0) > 0 for o in every} == {False, True}


@pytest.mark.parametrize("kind", ["free", "limited", "of groups", "none has room"])
def test_capacity(kind):
    """Two windows, and rows that are in none: an expert gets as many rows of a window as it has room for,
    and what it has no room for goes to the next one."""
    windows = np.array([-1, 1, 1, 0, 1, 1, -1, 1, 1, 0, 1, 1], np.float32)
    rows, config = len(windows), ExpertsConfig(experts=16, used=2, rows=len(windows))
    o = dict(experts=16, used=2, rows=rows, tiles=1 << OWN, a=0, a_stride=4, b=360, b_stride=4, dst=700)
    o |= dict(dst_stride=1, list=760, c=600, c_stride=4, capacity=2)
    o |= {"free": dict(capacity=12), "limited": {}, "none has room": dict(experts=3, used=2)}.get(
        kind, dict(group_count=4, group_size=4, group_used=2)
    )
    values = np.tile(np.arange(16, 0, -1), (rows, 1)).astype(np.float32)
    contents = np.random.default_rng(3).normal(size=LINES * LINE_WORDS).astype(np.float32)
    contents[: rows * 4 * LINE_WORDS].reshape(rows, -1)[:, :16] = values
    contents[600 * LINE_WORDS :][: rows * 4 * LINE_WORDS : 4 * LINE_WORDS] = windows
    choice = values[:, : o["experts"]], 2, o.get("group_count", 1), o.get("group_used", 1)
    experts, rerouted = chosen_with_room(*choice, o["capacity"], windows)
    window = {"free": [[0, 1]] * 6, "none has room": [[0, 1], [0, 1], [0, 2], [0, 1], [0, 2], [0, 1]]}.get(
        kind, [[0, 1], [0, 1], [2, 3], [0, 1], [2, 3], [4, 5]]
    )
    assert experts.tolist() == 2 * window
    assert rerouted == (0 if kind == "free" else 12)
    run(Router(local(8, False), config, tiles=3), contents, random.Random(kind), lambda memory: [o])


NUMBERS = np.arange(16)
HOSTILE = {
    "equal": np.full(16, 1.5),
    "zeros": np.zeros(16),
    "zeros of both signs": np.where(NUMBERS % 3, -0.0, 0.0),
    "infinite": np.full(16, np.inf),
    "negative infinite": np.full(16, -np.inf),
    "infinities": np.where(NUMBERS % 2, np.inf, -np.inf),
    "NaN": np.full(16, np.nan),
    "NaN and infinities": np.choose(NUMBERS % 3, (np.nan, -np.inf, np.inf)),
    "a number among NaN": np.where(NUMBERS == 11, -3e38, np.nan),
    "one expert": np.where(NUMBERS == 13, 1.0, -1.0),
    "one of infinite sums": np.where(NUMBERS % 4, 3e38, -3e38),
}
FIRST = {  # the expert that all rows have, if they have one
    "zeros of both signs": 0,
    "infinities": 1,
    "NaN and infinities": 2,
    "a number among NaN": 11,
    "one expert": 13,
    "one of infinite sums": 1,
}
KINDS = {
    "one expert": dict(used=1),
    "some": dict(used=3),
    "one of a group": dict(used=1, group_count=4, group_size=4, group_used=1),
    "of groups": dict(used=4, group_count=4, group_size=4, group_used=2),
    "of pairs": dict(used=4, group_count=8, group_size=2, group_used=2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_scores(kind):
    """Scores that are all alike, not finite or no numbers, and one expert for all rows: each row has as many
    experts as the command says, as the reference has."""
    rows, line = 5, 360
    config = ExpertsConfig(experts=16, used=4, rows=rows)
    weights = np.random.default_rng(1).normal(size=LINES * LINE_WORDS).astype(np.float32)
    common = dict(experts=16, rows=rows, tiles=1 << OWN, a=0, a_stride=4, b=line, b_stride=4, dst=700)
    common |= dict(dst_stride=1, list=760)

    def commands(memory):
        for name, values in HOSTILE.items():
            o = common | KINDS[kind]
            at = memory.words[: rows * 4 * LINE_WORDS].reshape(rows, -1)
            at[:, :16] = values.astype(np.float32)
            experts = chosen(at[:, :16], o["used"], o.get("group_count", 1), o.get("group_used", 1))
            assert (experts == experts[0]).all() and (np.diff(experts[0]) > 0).all()
            if o["used"] == 1 and "group_count" not in o:
                assert experts[0, 0] == FIRST.get(name, 0)
            yield o

    run(Router(local(8, False), config, tiles=3), weights, random.Random(kind), commands)


@pytest.mark.parametrize(
    "count, size, used, changes, code",
    [
        (4, 4, 4, {}, None),
        (8, 2, 1, {}, None),
        (1, 16, 1, {}, None),
        (9, 2, 1, dict(experts=18), "FIELD"),
        (8, 1, 2, dict(experts=8), "FIELD"),
        (3, 5, 1, {}, "FIELD"),
        (4, 4, 0, {}, "FIELD"),
        (2, 8, 3, {}, "FIELD"),
        (8, 2, 4, {}, None),
        (8, 2, 5, {}, "FIELD"),  # the chip selects four
        (8, 2, 1, dict(used=3), "FIELD"),
        (0, 99, 15, {}, None),  # no groups
    ],
)
def test_rules_of_groups(count, size, used, changes, code):
    """What a command may say of groups; each rule also by the golden model's reading."""
    command = encode(Opcode.ROUTE, **dict(group_count=count, group_size=size, group_used=used) | changes)
    for checked in (check, golden_rules.check):
        assert code_of(command, check=checked) == code
