"""What chips take, as estimated, against counters of the RTL; sizes that nothing simulates; bad input."""

from collections import Counter
import json
import re

from amaranth.lib import wiring
import numpy as np
import pytest

from poblano.config import ConfigError, preset
from poblano.isa.commands import Opcode
from poblano_estimate.activity import Activity
from poblano_estimate.chip import Chip
from poblano_estimate.clock import Clock
from poblano_estimate.commands import decode
from poblano_estimate.experts import draw, resolve
from poblano_estimate.matmul import MatmulTimes
from poblano_estimate.parts import asked
from poblano_estimate.serve import estimate
from poblano_estimate.shapes import SHAPES, model_shape
from poblano_estimate.step import SEEN, Model
from poblano_estimate.transfers import bursts_of
from poblano_estimate.vector import VectorTimes
from poblano_host.assembler import assemble
from poblano_host.compiler import CompiledModel, CompileError
from poblano_host.compiler.model import Chunk
from poblano_host.compiler.timing import Timing
from poblano_host.models import ModelError, load_model
from poblano_host.models.arch import FAMILIES
from poblano_host.models.gguf import export_gguf
from poblano_host.models.outline import outline
from poblano_host.runtime.backend import open_backend
from scripts.bench_estimate import WORST, measure, missed, simulated, summary
from scripts.estimate_cases import (
    CASES,
    DEEP,
    EXPERTS,
    FEW,
    FEW_EXPERTS,
    LATER,
    MANY,
    ONE,
    SEVERAL,
    SMALL,
    TINY,
    Case,
    drawn,
)

NANO = [
    (Case("nano", TINY, "q8_0", ONE), 0.01),
    (Case("nano", TINY, "q4_1", ONE, ("8", 20)), 0.01),
    (Case("nano", TINY, "q8_0", FEW, ("8", 100)), 0.015),
]
DESK = [
    (Case("desk", SMALL, "q8_0", ONE), WORST),
    (Case("desk", SMALL, "q4_1", LATER), WORST),
    (Case("desk", SMALL, "q8_0", MANY), WORST),
]


EXPERT = [
    (Case("desk_moe", EXPERTS, "q4_1", ONE), WORST),
    (Case("desk_moe", EXPERTS, "q4_1", SEVERAL * 2), WORST),
]


@pytest.mark.parametrize("case, bar", NANO + DESK + EXPERT, ids=lambda value: getattr(value, "name", ""))
def test_cycles(case, bar):
    """Cycles from the doorbell to the interrupt, far from the roofline too."""
    cycles, step = measure(case)
    assert abs(step.cycles / cycles - 1) <= bar
    assert step.roofline_cycles <= cycles


THREE = """
dma LOAD mem_addr=0x1000 dst=0 rows=1 lines=4 tiles=0b01
tile0.vector VECTOR a=0 op1=MUL sel1=IMMEDIATE imm1=2 op2=ADD sel2=IMMEDIATE imm2=1 sink=VMEM dst=4 rows=1 \
    blocks=1 tiles=0b01 wait dma>=1
dma STORE mem_addr=0x2000 src=4 rows=1 lines=4 tile=0 wait tile0.vector>=1
""".replace("\\\n", "")
RING = 1 << 20


def words_of(text):
    """The words of a program's text."""
    return np.frombuffer(b"".join(c.encode() for c in assemble(text)), np.uint64).reshape(-1, 8)


@pytest.mark.parametrize("name, bar", [("nano", 0), ("desk", 1)])
def test_commands_start_and_end(name, bar):
    """Of a short program each command in the cycle in which it starts and ends in RTL simulation."""
    words, config = words_of(THREE), preset(name)
    backend = open_backend("sim", config, 2 * RING, (RING, 64))
    result = backend.run(words.tobytes())
    backend.close()
    chip = Chip(config, decode(words), ring=RING)
    starts, ends = ([int(e["cycle"]) for e in result.events if e["done"] == done] for done in (0, 1))
    assert chip.starts == pytest.approx(starts, abs=bar)
    assert chip.ends == pytest.approx(ends, abs=bar)
    assert chip.cycles == pytest.approx(result.cycles, abs=bar)


def test_layers_that_repeat():
    """Of a model of many layers some are walked through: about what all of them take."""
    case = Case("nano", DEEP, "q4_1", ONE, ("8", 60))
    model = case.model
    assert model.layers == SEEN < case.shape.layers
    program = model.compiled.batch(_chunks(case), logits=1)
    whole = model.of_program(program, 1)
    part = model.step(case.places, logits=1)
    assert part.cycles == pytest.approx(whole.cycles, rel=0.005)
    assert part.activity == whole.activity
    assert part.macs == whole.macs


def _chunks(case):
    return [Chunk(n, position, (0,) * count) for n, (count, position) in enumerate(case.places)]


def test_bytes():
    """Streams, LOADs and the fetch read what passes the memory's port in RTL simulation."""
    case = Case("nano", TINY, "q8_0", ONE)
    assert simulated(case) > 0
    commands = decode(case.model.compiled.batch(_chunks(case), logits=1).words)
    chip = Chip(case.config, commands, ring=case.model.compiled.ring[0])
    activity = case.model.step(case.places, logits=1).activity
    assert activity.bytes_read == chip.memories.bytes_read
    assert activity.commands == len(commands)
    assert activity.macs >= case.model.step(case.places, logits=1).macs


def test_outline_compiles_to_the_same():
    """A model's shape compiles to the commands of the model."""
    loaded = load_model("default")
    shape, form = model_shape("default")
    assert form == "q8_0" and shape.layers == loaded.config.layers
    model = CompiledModel(loaded, preset("nano"))
    empty = CompiledModel(outline(shape, form), preset("nano"))
    for tokens, position in (([1], 5), ([1, 2, 3], 0)):
        ours, its = (compiled.step(tokens, position) for compiled in (empty, model))
        assert np.array_equal(ours.words, its.words)
    assert empty.memory_bytes == model.memory_bytes


def test_large_models():
    """A model that no simulation holds, on a chip that holds it; one that does not fit, and what would."""
    flagship = preset("flagship")
    step = estimate(*model_shape("8b"), flagship, context=512).decode
    least = SHAPES["llama-3.1-8b"].layers * 5 / 8 * 218e6 / 1024
    assert least < step.cycles < 1.5 * least
    assert 0.7 < step.utilisation["stream"] < 1 and step.utilisation["arrays"] < 0.05
    with pytest.raises(CompileError, match="needs .* bytes of memory in home 0; .* GB more; .* would do"):
        estimate(*model_shape("70b"), flagship)
    larger = flagship.with_memory(dram=None, bandwidth=64, latency=60, home_bytes=1 << 32)
    assert Model(*model_shape("70b"), larger, context=512, tokens=1).layers == SEEN


def test_prompt_and_batch():
    """What a step takes grows with its users, by less than they are; a prompt's tokens are cheaper."""
    shape, form = model_shape("smollm2-135m")
    one = estimate(shape, form, preset("desk"), context=256, prefill=24)
    four = estimate(shape, form, preset("desk"), batch=4, context=256)
    assert one.decode.cycles < four.decode.cycles < 4 * one.decode.cycles
    assert four.decode.tokens == 4 and one.prefill.tokens == 24
    assert one.prefill.cycles / 24 < one.decode.cycles
    figures = json.loads(json.dumps(one.as_json(800.0)))
    assert figures["decode"]["user_tokens_per_second"] == pytest.approx(8e8 / one.decode.cycles)
    assert four.as_json()["clock_mhz"] is None


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(batch=0), "batch must be at least 1, not 0"),
        (dict(prefill=-1), "prefill must be at least 0, not -1"),
        (dict(context=10_000), "smollm2-135m has 8192 positions, not 10000"),
        (dict(batch=500), "page tables for 64"),
    ],
)
def test_refused(options, message):
    with pytest.raises((ConfigError, CompileError), match=message):
        estimate(*model_shape("smollm2"), preset("desk"), **options)


def test_unknown_models(tmp_path):
    with pytest.raises(ModelError, match="gpt-9: no model; give default, smollm2-135m"):
        model_shape("gpt-9")
    with pytest.raises(ModelError, match="unknown format 'q3'; .* q4_0"):
        model_shape("smollm2", "q3")
    broken = tmp_path / "config.json"
    broken.write_text('{"model_type": "llama", "vocab_size": "x"}')
    with pytest.raises(ModelError, match="config.json"):
        model_shape(str(broken))


def test_shapes_of_files(tmp_path):
    """A config.json and a GGUF file without reading weights."""
    loaded = load_model("default")
    path = tmp_path / "model.gguf"
    export_gguf(loaded, path)
    for name in (str(path), "default"):
        shape, form = model_shape(name)
        assert (shape.dim, shape.layers, shape.vocab) == (128, 4, 1024)
        assert form in ("q8_0", "q4_1")
    for shape in SHAPES.values():
        shape.check(shape.name)
        assert FAMILIES[shape.architecture].graph(shape).shapes()


def test_vector_times():
    """Against the parts of docs/architecture.md, by the compiler's own formula, of random commands."""
    config = preset("desk")
    times, rng = VectorTimes(config.tile), np.random.default_rng(0)
    for _ in range(200):
        o = dict(sfu=int(rng.integers(6)), op1=int(rng.integers(4)), op2=int(rng.integers(4)))
        o |= dict(sink=int(rng.integers(3)), reduce=int(rng.integers(4)), sel1=2, sel2=2, a=1, b=0)
        o |= dict(opcode=Opcode.VECTOR)
        o |= dict(rows=int(rng.integers(1, 9)), blocks=int(rng.integers(1, 5)))
        if not o["sink"] and not o["reduce"]:
            continue
        ours = times.of(_Operands(o))
        assert abs(ours - Timing(config).of(o.pop("opcode"), o)[0]) <= o["rows"]


class _Operands:
    def __init__(self, values):
        self.__dict__.update(values)


def test_matmul_course():
    """The bound of docs/utilisation.md: passes of max(rows, items), and the drain where it is longer."""
    times = MatmulTimes(preset("desk"))
    o = dict(element=0, scale=1, minimum=0, transpose=0, k_blocks=18, groups=8)
    for rows, pace in ((1, 8), (8, 8), (16, 16), (64, 64)):
        course = times.of(_Operands(o | {"rows": rows}))
        assert course.passes == 18 * 8 * 2
        assert course.pace == pace
    assert course.words == 18 * 8 * 17


class _Part(wiring.Component):
    def __init__(self, latency):
        self.latency = latency
        super().__init__({"o": wiring.Out(8)})


def test_asked():
    """What is asked has its latency and no ports; what is made as always has its ports."""
    part, whole = asked(_Part, 3), _Part(3)
    whole._MustUse__used = True
    assert part.latency == whole.latency == 3
    assert hasattr(whole, "o") and not hasattr(part, "o")


def test_bursts():
    """None crosses a multiple of its greatest size; rows shorter than a beat are one beat."""
    assert bursts_of(96, 512, 0, 1, beat=32, most=16) == [(96, 13), (512, 3)]
    assert bursts_of(64, 4, 100, 2, beat=32, most=16) == [(64, 1), (160, 1)]


def test_clock():
    """Calls come in the order of their cycles, those of one cycle as asked for; none in the past."""
    clock, seen = Clock(), []
    clock.at(5, seen.append, "b")
    clock.at(2, lambda: clock.at(1, seen.append, "a"))
    clock.at(5, seen.append, "c")
    clock.run()
    assert seen == ["a", "b", "c"] and clock.now == 5


def test_activity_adds_up():
    one = Activity(commands=2, macs=10, matmul_cycles=0.5)
    assert (one + one * 3).macs == 40 and (one * 2).matmul_cycles == 1.0
    assert one.bytes_read == 128


def test_a_program_that_cannot_end():
    """A command that waits for one that is not there is told, not waited for."""
    with pytest.raises(RuntimeError, match="command 0 of 1 never ends"):
        Chip(preset("nano"), decode(words_of("dma NOP wait tile0.vector>=1\n")))


def test_experts_of_tokens():
    """Each token uses so many, which differ; over many draws as many different ones as chance has it."""
    rng = np.random.default_rng(1)
    drawn = [draw(rng, 8, 64, 8) for _ in range(50)]
    for route in drawn:
        experts, rows = zip(*route)
        assert sum(rows) == 64 and max(rows) <= 8 and list(experts) == sorted(set(experts))
    assert np.mean([len(route) for route in drawn]) == pytest.approx(64 * (1 - (1 - 8 / 64) ** 8), rel=0.02)
    assert draw(rng, 3, 4, 4) == [(n, 3) for n in range(4)]


def test_experts_that_are_passed_over():
    """Commands of an expert have its rows and its weights; of those that none has nothing is read."""
    case = Case("nano_moe", FEW_EXPERTS, "q4_1", ((1, 3), (1, 9)))
    compiled, routes = case.model.compiled, [[(1, 1), (4, 2), (6, 1)], [(0, 2), (7, 2)]]
    program = compiled.batch(_chunks(case), logits=2)
    commands, plain = decode(program.words), decode(program.words)
    passed = resolve(commands, case.config.topology, routes)
    slots = [n for n, o in enumerate(commands) if o.opcode == Opcode.EXPERT and n not in passed]
    used = [n for n in slots if commands[n].passes is None]
    # Inputs, hidden elements and outputs of each slot, in both layers.
    assert Counter(commands[n].slot for n in used) == {0: 6, 1: 6, 2: 3}
    assert {commands[n].slot for n in slots if n not in used} >= {2, 3}
    size = compiled.memory.experts(compiled.model.graph.node("layer0.ffn_experts")).size
    moves = 0
    for n in used[:9]:
        expert, rows = routes[0][commands[n].slot]
        block = range(n + 1, n + 1 + commands[n].commands)
        assert {
            commands[k].rows
            for k in block
            if commands[k].opcode in (Opcode.MATMUL, Opcode.GATHER, Opcode.SCATTER)
        } == {rows}
        moved = [commands[k].mem_addr - plain[k].mem_addr for k in block if plain[k].opcode == Opcode.STREAM]
        assert set(moved) <= {expert * size}
        moves += len(moved)
    assert moves >= 9
    some, more = (case.model.step(case.places, logits=2, routes=found) for found in (routes, routes[:1] * 2))
    assert size <= more.activity.stream_bytes - some.activity.stream_bytes
    assert more.cycles > some.cycles and more.roofline_cycles > some.roofline_cycles


def test_experts_are_drawn():
    """The same seed gives the same estimate; a chip must know which experts its tokens use."""
    case = Case("nano_moe", FEW_EXPERTS, "q4_1", FEW)
    first, again, other = (case.model.step(case.places, logits=1, seed=seed) for seed in (1, 1, 2))
    assert first == again and first.cycles != other.cycles
    commands = decode(case.model.compiled.batch(_chunks(case), logits=1).words)
    with pytest.raises(ConfigError, match="depends on which experts the tokens use"):
        Chip(case.config, commands, routes=[[(0, 5), (1, 5)]])


def test_benchmark_draws_and_bars():
    """The same seed draws the same cases, others draw others; figures that miss a bar are told."""
    assert len(CASES) >= 40
    first, again, other = (list(drawn(seed, 4, slow=False)) for seed in (1, 1, 2))
    assert first == again != other
    case = Case("nano", TINY, "q8_0", ONE)
    step = case.model.step(case.places, logits=1)
    figures = summary([(False, step.cycles * 1.2, step), (True, step.cycles, step)])
    assert figures["worst_error"] == pytest.approx(1 / 6) and figures["held_out_worst_error"] == 0
    assert [line for line in missed(figures) if "worst" in line and "5%" in line]


def test_command(poblano, tmp_path):
    """The command's tables and figures, and clear lines for what can't be."""
    path = tmp_path / "figures.json"
    code, out, _ = poblano(
        "estimate", "--preset", "desk", "--batch", 2, "--context", 64, "--prefill", 8, "--json", path
    )
    assert code == 0
    assert re.search(r"tokens a second of a user +│ +[\d,.]+", out) and "weights, keys and values" in out
    figures = json.loads(path.read_text())
    assert figures["model"] == "default" and figures["batch"] == 2 and figures["prefill"]["tokens"] == 8
    assert figures["decode"]["chip_tokens_per_second"] > figures["decode"]["user_tokens_per_second"]
    for options, message in (
        (("--model", "gpt-9"), "gpt-9: no model; give default"),
        (("--preset", "vast"), "unknown preset 'vast'"),
        (("--clock", "-1"), "the clock must be above 0 MHz, not -1"),
        (("--preset", "nano", "--batch", 64), "context|room|sequences|tokens"),
    ):
        code, _, err = poblano("estimate", *options)
        assert code == 2 and len(err.splitlines()) == 1 and re.search(message, err)
