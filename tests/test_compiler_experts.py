"""Compiled mixtures of experts on the golden chip: close to float, the same bits however tokens are grouped
and work is split, no weights of experts that are not used, and clear errors."""

from collections import Counter
from dataclasses import replace
import random

import numpy as np
import pytest

from poblano.config import ExpertsConfig, preset
from poblano.isa.commands import Opcode
from poblano_estimate.commands import decode
from poblano_estimate.experts import resolve
from poblano_host.compiler import CompiledModel, CompileError
from poblano_host.compiler.missing_waits import missing_waits
from poblano_host.compiler.model import Chunk
from poblano_host.compiler.weights import split_beside
from poblano_host.golden.chip import GoldenChip
from poblano_host.models import FloatModel
from poblano_host.models.capacity import Capacity
from tests.models_tiny import Run, chip, tiny_model
from tests.test_chip_experts import SETTINGS

EXPERTS = ExpertsConfig(experts=16, used=4, rows=16)
SMALL = SETTINGS["plain"][0]
TOKENS = np.random.default_rng(1).integers(0, 72, 24).tolist()
GROUPED = dict(family="dots1", shared=1, dense_layers=0, dense_dim=64, factor=1.0, renormalise=True)
MODELS = {
    "mixtral": dict(family="mixtral", experts=5, used=2),
    "all experts": dict(family="qwen3moe", experts=6, used=3, renormalise=False),
    "renormalised": dict(family="qwen3moe", experts=16, used=4, renormalise=True),
    "layers that repeat": dict(family="mixtral", experts=4, used=1, layers=7),
    "groups": GROUPED | dict(experts=15, used=4, groups=5, used_groups=2),
}
CONFIGS = {
    "one tile": dict(tiles=1),
    "three tiles": dict(tiles=3),
    "64x64": dict(rows=64, cols=64, lanes=32, vmem_lines=8192),
    "nano": dict(rows=4, cols=4, lanes=2, tiles=1, data_width=64, queue_depth=2),
    "two homes": dict(homes=2),
}


def configuration(**options):
    return replace(chip(**dict(vmem_lines=4096, amem_blocks=1024) | options), experts=EXPERTS)


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return tiny_model(**MODELS[request.param])


@pytest.fixture(scope="module")
def expected(model):
    """Logits of TOKENS, one at a time on the reference configuration."""
    return Run(CompiledModel(model, configuration())).steps(TOKENS, [1] * len(TOKENS))


def test_close_to_float(model, expected):
    """But for tokens that rounding sends to another expert, of which many layers have many."""
    if len(model.graph.layers) > 2:
        pytest.skip("many layers")
    reference = FloatModel(model).forward(TOKENS)
    worst = np.abs(expected - reference).max(-1)
    assert np.median(worst) < 0.04 * np.abs(reference).max() and (worst < 0.3).mean() > 0.7, worst


@pytest.mark.parametrize("lengths", [[16, 8], [1, 15, 3, 2, 1, 2], [7] * 3 + [3]], ids=str)
def test_step_length_does_not_change_bits(model, expected, lengths):
    run = Run(CompiledModel(model, configuration()))
    np.testing.assert_array_equal(run.steps(TOKENS, lengths, shuffle=7), expected)


@pytest.mark.parametrize("name", CONFIGS)
def test_configuration_does_not_change_bits(model, expected, name):
    compiled = CompiledModel(model, configuration(**CONFIGS[name]))
    most = compiled.max_tokens
    lengths = [most] * (len(TOKENS) // most)
    lengths += [1] * min(2, len(TOKENS) - sum(lengths))
    got = Run(compiled).steps(TOKENS, lengths, shuffle=len(name))
    np.testing.assert_array_equal(got, expected[: len(got)])


@pytest.mark.parametrize("seed", range(8))
def test_waits_suffice(model, expected, seed):
    """In random orders, whatever experts are passed over."""
    run = Run(CompiledModel(model, configuration(queue_depth=1 << seed % 4)))
    np.testing.assert_array_equal(run.steps(TOKENS, [3, 1, 9, 2], shuffle=10 * seed), expected[:15])


@pytest.mark.parametrize("tokens, blocks", [(1, 1024), (4, 1024), (4, 128)])
def test_waits_suffice_without_some(tokens, blocks):
    """No wait is missing where slots from a number on have no expert: what is passed over waits for nothing,
    and of the others nothing is passed over."""
    compiled = CompiledModel(tiny_model(**MODELS["mixtral"]), configuration(amem_blocks=blocks))
    program = compiled.step(TOKENS[:tokens], 0)
    slots = {n: c.operands["slot"] for n, c in enumerate(program.commands) if c.opcode is Opcode.EXPERT}
    for experts in range(1, max(slots.values()) + 2):
        routes = [[(n, 1) for n in range(experts)]] * 2
        passed = resolve(decode(program.words), compiled.config.topology, routes)
        assert not any(n in passed for n, slot in slots.items() if slot < experts)
        some = [
            replace(command, opcode=Opcode.NOP, operands={}, waits=()) if n in passed else command
            for n, command in enumerate(program.commands)
        ]
        assert not missing_waits(some, compiled.config)


def test_batches(model):
    """Requests alone and in batches of random chunks: the same bits."""
    rng = random.Random(3)
    compiled = CompiledModel(model, configuration(), slots=3)
    texts = [rng.choices(range(72), k=9) for _ in range(3)]
    alone = []
    for slot, text in enumerate(texts):
        run = Run(compiled)
        program = compiled.batch([Chunk(slot, 0, tuple(text))], logits=-1)
        alone.append(run.run(program)[0])
    run, at = Run(compiled), [0, 0, 0]
    while min(at) < 9:
        slots = [n for n in range(3) if at[n] < 9 and rng.random() < 0.7]
        lengths = {n: min(rng.randrange(1, 5), 9 - at[n]) for n in slots}
        if not slots:
            continue
        chunks = [Chunk(n, at[n], tuple(texts[n][at[n] : at[n] + lengths[n]])) for n in slots]
        logits = run.run(compiled.batch(chunks, logits=-1), shuffle=rng.randrange(99))[0]
        row = 0
        for n in slots:
            np.testing.assert_array_equal(
                logits[row : row + lengths[n]], alone[n][at[n] : at[n] + lengths[n]]
            )
            at[n] += lengths[n]
            row += lengths[n]


@pytest.mark.parametrize("name", ["three tiles", "nano"])
def test_capacity(model, name):
    """Experts have room for some tokens of a prompt: whole windows in steps of any length, beside any others,
    give the same bits, which are not those without a capacity; and tokens are re-routed."""
    node = model.graph.node("layer0.ffn_experts")
    capacity = Capacity(-(-4 * node.used // node.experts), 4)
    config = configuration(**CONFIGS[name])
    free, limited = (CompiledModel(m, config, slots=2) for m in (model, model.with_capacity(capacity)))
    assert limited.max_tokens % 4 == 0 and limited.window == 4
    texts = TOKENS[:11], TOKENS[11:18]

    def logits(compiled, *steps):
        run, found = Run(compiled), {}
        for step in steps:
            chunks = [Chunk(slot, a, tuple(texts[slot][a:b]), max(0, min(b, 10) - a)) for slot, a, b in step]
            rows = iter(run.run(compiled.batch(chunks, logits=-1))[0])
            found |= {(slot, n): next(rows).tobytes() for slot, a, b in step for n in range(a, b)}
        return found, run.chip.rerouted

    whole, rerouted = logits(limited, [(0, 0, 4)], [(0, 4, 8)], [(0, 8, 11)], [(1, 0, 4)], [(1, 4, 7)])
    assert rerouted > 0
    assert logits(free, [(0, 0, 4)], [(0, 4, 8)], [(0, 8, 11)], [(1, 0, 4)], [(1, 4, 7)])[0] != whole
    mixed = logits(
        limited, [(1, 0, 4)], [(0, 0, 4)], [(0, 4, 8)], [(1, 4, 7), (0, 8, 9)], [(0, 9, 10)], [(0, 10, 11)]
    )
    assert {k: v for k, v in mixed[0].items() if k[0] == 1} == {k: v for k, v in whole.items() if k[0] == 1}
    if limited.max_tokens >= 11:
        assert logits(limited, [(0, 0, 11)], [(1, 0, 7)]) == (whole, rerouted)
        assert logits(limited, [(1, 0, 4), (0, 0, 4)], [(0, 4, 11), (1, 4, 7)]) == (whole, rerouted)


def test_capacity_needs_steps_of_whole_windows():
    model = tiny_model(**MODELS["mixtral"]).with_capacity(Capacity(60, 100))
    with pytest.raises(CompileError, match="no step has whole windows of 100 tokens"):
        CompiledModel(model, configuration())


class _Counting(GoldenChip):
    """Notes the bytes that STREAMs read."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.read = Counter()

    def _stream(self, index, tile, o):
        super()._stream(index, tile, o)
        for row in range(o["rows"]):
            self.read[o["mem_addr"] + row * o["mem_stride"], o["row_bytes"]] += 1


def test_bytes(model):
    """A step reads the weights of the experts that it uses, once each, and nothing of the others."""
    compiled = CompiledModel(model, configuration())
    node = compiled.model.graph.node("layer0.ffn_experts")
    places = compiled.memory.experts(node)
    for count in (1, 5):
        run = Run(compiled)
        run.chip = _Counting(compiled.config, run.memory)
        run.step(TOKENS[:count], 0)
        used = set()
        for first in places.gate.address:
            size = [0] * node.experts
            for (address, row), times in run.chip.read.items():
                expert = (address - first) // places.pitch
                if 0 <= expert < node.experts:
                    size[expert] += row * times
            assert len(set(size) - {0}) == 1
            used |= {expert for expert, read in enumerate(size) if read}
            assert sum(size) == len(used) * max(size)
        assert node.used <= len(used) <= min(node.experts, count * node.used)


@pytest.mark.parametrize(
    "options, changes, message",
    [
        ({}, dict(experts=None), "layer0.ffn_experts: this chip routes no experts"),
        ({}, dict(experts=ExpertsConfig(experts=4, used=2)), "5 experts are more than this chip's 4"),
        (dict(experts=6, used=5), {}, "5 used are more than this chip's 4"),
        (
            dict(family="gpt_oss", window=9, limit=None, slope=1.702, tied=False),
            {},
            "layer0.ffn_experts: biases of experts with SiLU can't be compiled",
        ),
        (
            GROUPED | dict(experts=16, used=2, groups=16, used_groups=2),
            {},
            "layer0.ffn_experts: 16 groups are more than 8",
        ),
        (
            GROUPED | dict(experts=16, used=2, groups=8, used_groups=5),
            {},
            "layer0.ffn_experts: 5 groups of a token are more than this chip's 4",
        ),
        (
            GROUPED | dict(experts=8, used=2, groups=8, used_groups=2),
            {},
            "layer0.ffn_experts: groups of one expert can't be compiled",
        ),
    ],
)
def test_refusals(options, changes, message):
    family = dict(family="mixtral", experts=5, used=2) | options
    with pytest.raises(CompileError, match=message):
        CompiledModel(tiny_model(**family), replace(configuration(), **changes)).step([1], 0)


def test_no_streams_move_into_experts():
    """Streams of an expert's block belong to its products, and others stay outside."""
    compiled = CompiledModel(tiny_model(**MODELS["mixtral"]), configuration())
    commands, left, inside = compiled.step(TOKENS[:4], 0).commands, 0, Counter()
    for command in commands:
        if command.opcode is Opcode.EXPERT:
            left, inside = command.operands["commands"], Counter()
        elif left:
            left -= 1
            inside[command.opcode] += 1
            if not left:
                assert inside[Opcode.STREAM] == inside[Opcode.MATMUL]
                assert inside[Opcode.MATMUL] or inside[Opcode.GATHER]


@pytest.mark.parametrize(
    "name, tokens, quiet",
    [("renormalised", 1, [0, 1]), ("renormalised", 2, [0]), ("all experts", 1, [0, 1]), ("groups", 1, [0])],
)
def test_routings(name, tokens, quiet):
    """Of one token, the experts that a softmax weighs are told before the lists have weights."""
    model = tiny_model(**MODELS[name])
    commands = CompiledModel(model, configuration()).step(TOKENS[:tokens], 0, logits="none").commands
    found = [c.operands["quiet"] for c in commands if c.opcode is Opcode.ROUTE]
    assert found == quiet * (len(found) // len(quiet)) and found


def test_extra_columns():
    """A tile that has more columns of gate and up has no more of down than others."""
    model = tiny_model(family="mixtral", experts=4, used=2, dim=96, ffn_dim=96)
    compiled = CompiledModel(model, configuration(rows=32, cols=32))
    places = compiled.memory.experts(compiled.model.graph.node("layer0.ffn_experts"))
    assert places.gate.ranges == places.up.ranges == ((0, 32), (32, 96))
    assert places.down.ranges == ((0, 64), (64, 96))


def test_columns_beside_others():
    """The busiest of four tiles has few groups of 64 columns, and none too many of this matrix."""
    groups = lambda count, others: [
        (end - first) // 64
        for first, end in split_beside(64 * count, [64 * n for n in others], preset("quad"))
    ]
    assert groups(45, [22, 22, 22, 24]) == [12, 12, 12, 9]
    assert groups(45, [22, 22, 22, 22]) == [12, 11, 11, 11]
    assert groups(8, [0, 0, 0, 9]) == [2, 2, 2, 2]
    assert groups(1, [2, 1, 2, 2]) == [0, 1, 0, 0]


@pytest.mark.parametrize("shared", [1, 2])
def test_experts_wait_for_the_routing(shared):
    """Each EXPERT command itself: it acts before its unit has completed what is ahead of it, such as a LOAD
    that waits for the routing."""
    sizes = dict(layers=3, experts=16, used=3, groups=4, used_groups=2, shared=shared, ffn_dim=96)
    compiled = CompiledModel(tiny_model(**GROUPED | sizes), SMALL)
    counts, routed = Counter(), None
    commands = compiled.step(TOKENS[:5], 0).commands
    for command in commands:
        counts[command.unit] += 1
        if command.opcode is Opcode.ROUTE:
            routed = command.unit, counts[command.unit]
        elif command.opcode is Opcode.EXPERT:
            assert routed in command.waits
    assert sum(command.opcode is Opcode.EXPERT for command in commands) == 3 * 15 * 3
