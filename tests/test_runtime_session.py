"""Sessions of a model: on the golden backend, sampling, what is checked; and the same on the RTL."""

import numpy as np
import pytest

from poblano.config import ConfigError
from poblano.isa.commands import ErrorCode
from poblano.isa.regions import Access
from poblano_host.compiler import CompileError
from poblano_host.compiler.outputs import Product
from poblano_host.compiler.template import Bound
from poblano_host.models import FloatModel
from poblano_host.models.operators import Attention
from poblano_host.runtime.backend import BACKENDS, GoldenBackend
from poblano_host.runtime.errors import ChipError, Mismatch
from poblano_host.runtime.sampler import Sampler
from poblano_host.runtime.session import Session, Step
from tests.models_tiny import chip, tiny_model
from tests.programs import SMALL

PROMPT = [3, 14, 15, 9, 26, 5, 35, 8, 9, 7, 9, 3, 23, 8, 46, 2, 64, 33, 8, 32]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def test_generate(model):
    """A prompt of several steps, then tokens: the float model's, from an argmax that agrees with the
    logits."""
    seen = []
    session = Session(model, chip(), backend="golden", progress=lambda *arguments: seen.append(arguments))
    steps = list(session.generate(PROMPT, 5, logits=True))
    assert [(step.phase, step.position, step.count) for step, _ in steps] == [
        ("prefill", 0, 16),
        ("prefill", 16, 4),
        ("decode", 20, 1),
        ("decode", 21, 1),
        ("decode", 22, 1),
        ("decode", 23, 1),
    ]
    tokens = [token for _, token in steps]
    assert tokens[0] is None and steps[0][0].logits is None and None not in tokens[1:]
    assert all(step.best == step.logits.argmax() == token for step, token in steps[1:])
    expected = FloatModel(model).forward(PROMPT + tokens[1:-1])[len(PROMPT) - 1 :]
    for row, (step, _) in zip(expected, steps[1:]):
        assert np.abs(row - step.logits).mean() < 0.15
    phase, program, done, cycles = seen[-1]
    assert (phase, done, cycles) == ("decode", len(program), 0)
    assert session.position == 24


def test_generate_ends(model):
    run = lambda count, **options: [
        token
        for _, token in Session(model, chip(), backend="golden", context=22).generate(
            PROMPT, count, **options
        )
        if token is not None
    ]
    free = run(10)
    assert len(free) == 3  # the last is no longer run
    assert run(10, stop={free[0]}) == free[:1]
    assert run(1) == free[:1]


def test_plan(model):
    """The steps to come, with the work that their programs have."""
    session = Session(model, chip(), backend="golden", context=22)
    for length, count in ((20, 10), (2, 1)):
        plan = session.plan(length, count)
        steps = [step for step, _ in session.generate(PROMPT[:length], count)]
        assert plan == [(step.phase, step.program.work) for step in steps]
        session.rewind(0)


def test_rewind(model):
    """Tokens that are forgotten leave nothing behind: the same bits as without them."""
    session = Session(model, chip(), backend="golden", context=40)
    list(session.generate(PROMPT + PROMPT, 1))
    session.rewind(7)
    after = [step.logits for step, _ in session.generate(PROMPT[7:], 3, logits=True)]
    fresh = [
        step.logits for step, _ in Session(model, chip(), backend="golden").generate(PROMPT, 3, logits=True)
    ]
    for ours, theirs in zip(after[-3:], fresh[-3:]):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="the session has seen 22 tokens; it can't go back to 23"):
        session.rewind(23)


def test_sampler():
    generator = np.random.default_rng(5)
    step = lambda position: Step(
        "decode", position, 1, None, None, 7, generator.normal(size=50).astype(np.float32)
    )
    steps = [step(position) for position in range(400)]
    assert all(Sampler().choose(s) == 7 for s in steps)
    chosen = [Sampler(1.0, 3, 1).choose(s) for s in steps]
    assert (
        chosen
        == [Sampler(1.0, 3, 1).choose(s) for s in steps]
        != [Sampler(1.0, 3, 2).choose(s) for s in steps]
    )
    assert all(token in np.argsort(-s.logits)[:3] for token, s in zip(chosen, steps))
    assert {Sampler(0.01, 0).choose(s) == s.logits.argmax() for s in steps[:20]} == {True}
    spread = [Sampler(100.0, 0, 3).choose(s) for s in steps]
    assert len(set(spread)) > 40
    cold = Sampler(1e-320)
    assert all(cold.choose(s) == s.logits.argmax() for s in steps[:20])
    assert len({Sampler(float("inf"), 0).choose(s) for s in steps}) > 40
    broken = Step("decode", 0, 1, None, None, 7, np.full(50, np.nan, np.float32))
    assert Sampler(1.0).choose(broken) == 7
    with pytest.raises(ConfigError, match="temperature must be at least 0, not -1"):
        Sampler(-1.0)
    with pytest.raises(ConfigError, match="top-k must be at least 0, not -2"):
        Sampler(1.0, -2)


def test_check(model, monkeypatch):
    """A backend whose chip errs in one bit of a cache, or of a logit, is found out."""

    class Wrong(GoldenBackend):
        where = None

        def run(self, commands, *, progress=None):
            result = super().run(commands, progress=progress)
            self.memory[self.where] ^= 1
            return result

    monkeypatch.setitem(BACKENDS, "wrong", Wrong)
    session = Session(model, chip(), backend="golden", check=True)
    assert len(list(session.generate(PROMPT, 2))) == 3
    attention = session.model.graph.of(Attention)[1]
    caches = session.compiled.memory.cache(attention)
    (_, values), *_ = caches.layout.values(0, Product(0, 1, 1, False, 0, 0), 0, 1)
    Wrong.where = caches.address[0] + values["mem_addr"] + 5
    with pytest.raises(
        Mismatch, match=f"positions 0 on: memory differs .* the first byte is at 0x{Wrong.where:x}$"
    ):
        list(Session(model, chip(), backend="wrong", check=True).generate(PROMPT[:3], 2))
    Wrong.where = session.compiled.memory.logits + 4 * 9
    with pytest.raises(
        Mismatch,
        match="positions 0 on: 1 logits differ .* the first for token 9: bits 0x[0-9a-f]{8}, golden 0x",
    ):
        list(Session(model, chip(), backend="wrong", check=True).generate(PROMPT[:3], 2))


@pytest.mark.parametrize("code", [ErrorCode.ECC, ErrorCode.AXI_READ, ErrorCode.SILENT, ErrorCode.TIMEOUT])
def test_retry(model, code):
    """A step that fails for no fault of its own is run once more, from what it was given: the same bits. The
    step tells what there was."""

    class Failing(GoldenBackend):
        failures = []

        def run(self, commands, *, progress=None):
            result = super().run(commands, progress=progress)
            if self.failures and isinstance(commands, Bound):
                start, data = self.inputs
                self.memory[start : start + len(data)] = 0  # as if it had not come whole
                raise ChipError(self.failures.pop(), 3, 1, bytes(64), label="layer1.attn_q")
            return result

        def write(self, address, data):
            super().write(address, data)
            self.inputs = address, data

    usual = [step.logits for step, _ in session(model).generate(PROMPT, 3, logits=True)]
    failing = session(model, Failing)
    steps = failing.generate(PROMPT, 3, logits=True)
    found = [next(steps)[0]]
    Failing.failures = [code]
    found += [step for step, _ in steps]
    assert [step.retried and step.retried.code for step in found] == [None, code, None, None]
    assert "layer1.attn_q" in str(found[1].retried)
    for step, logits in zip(found[1:], usual[1:]):
        np.testing.assert_array_equal(step.logits, logits)
    for failures in ([code, code], [ErrorCode.FIELD]):
        Failing.failures = failures[:]
        with pytest.raises(ChipError, match=f"chip error {failures[0].name} .* layer1.attn_q"):
            failing.step("decode", [1], "last")
        assert not Failing.failures


def test_forget(model):
    """Another owner: nothing of the one before is left, in memory or in the chip, and the bits are a new
    session's."""
    fresh = [step.logits for step, _ in session(model).generate(PROMPT, 3, logits=True)]
    used = session(model, check=True)
    list(used.generate(PROMPT[::-1], 4))
    memory = used.backend.memory
    used.forget()
    assert used.position == 0
    assert all(not memory[first:end].any() for first, end in used.compiled.memory.work)
    for tile in used.backend.chip.tiles:
        assert not any(local.any() for local in (tile.vmem, tile.amem_q, tile.amem_scale, tile.amem_sum))
    for first, data in used.compiled.image:
        assert bytes(memory[first : first + len(data)]) == bytes(data)
    after = [step.logits for step, _ in used.generate(PROMPT, 3, logits=True)]
    for ours, theirs in zip(after, fresh):
        assert (ours is None) == (theirs is None)
        assert ours is None or np.array_equal(ours, theirs)


def session(model, backend="golden", **options):
    return Session(model, chip(), backend=backend, **options)


@pytest.mark.parametrize("tokens", [1, 5])
def test_runs_twice(model, tokens):
    """A step writes nothing that it has read before, so that it can be run again."""
    program = session(model).compiled.step(list(range(tokens)), 7, logits="last")
    size = session(model).compiled.memory_bytes
    read, written, bytes_written = np.zeros(size, bool), np.zeros(size, bool), 0
    for command in program.commands:
        memory = command.opcode.definition.memory
        if not memory:
            continue
        span = memory.span(command.values)
        for row in range(span.rows):
            place = slice(span.base + span.stride * row, span.base + span.stride * row + span.extent)
            if memory.access is Access.WRITE:
                assert not read[place].any(), command
                written[place] = True
                bytes_written += span.extent
            else:
                read[place] |= ~written[place]
    assert read.any() and bytes_written


def test_context(model):
    with pytest.raises(CompileError, match="positions 16 to 19 pass the context of 18"):
        list(Session(model, chip(), backend="golden", context=18).generate(PROMPT, 1))


def test_simulated_session(model):
    """The small model on the RTL: every token, logit and cache as the golden model's."""
    session = Session(model, SMALL, context=24, check=True)
    tokens = [token for _, token in session.generate(PROMPT[:18], 3) if token is not None]
    assert len(tokens) == 3
