"""Requests in batches on a chip: each answer and its logits are what they are alone."""

from dataclasses import replace

import numpy as np
import pytest

from poblano.config import ExpertsConfig, PagingConfig
from poblano_host.compiler import CompileError
from poblano_host.models.capacity import Capacity
from poblano_host.runtime.sampler import Sampler
from poblano_host.runtime.session import Session
from poblano_host.serve.engine import Answered, Chosen, Engine, Started
from poblano_host.serve.request import Ending, Request
from poblano_host.serve.scheduler import Refused
from tests.models_tiny import chip, tiny_model

MODEL = tiny_model()


PAGES = PagingConfig(slots=4, pages=4)


def engine(sequences=4, model=MODEL, *, paging=None, pages=None, experts=None, **changes):
    config = chip(tokens=32, vmem_lines=8192, amem_blocks=2048, **changes).with_memory(paging=paging)
    config = replace(config, experts=experts)
    return Engine(model, config, backend="golden", sequences=sequences, context=64, pages=pages)


def alone(request, sampler, index=0, model=MODEL, experts=None):
    """The tokens of an answer by a session of its own."""
    config = replace(chip(tokens=32, vmem_lines=8192, amem_blocks=2048), experts=experts)
    session = Session(model, config, backend="golden", context=64)
    chosen = sampler if not index else sampler.other(index)
    steps = session.generate(list(request.prompt), request.tokens, chosen, stop=request.stop)
    return [token for _, token in steps if token is not None]


def serve(engine, arrivals):
    """Run requests, (before which step, request, sampler); tokens of each answer, endings."""
    answers, endings, number = {}, {}, 0
    while True:
        for at, request, sampler in arrivals:
            if at == number:
                engine.add(request, sampler)
        events = engine.step()
        number += 1
        if events is None and number > max(at for at, *_ in arrivals):
            return answers, endings
        for event in events or ():
            if isinstance(event, Chosen):
                answers.setdefault((event.id, event.index), []).append(event.token)
            elif isinstance(event, Answered):
                endings[event.id, event.index] = event.ending


@pytest.mark.parametrize(
    "tiles, homes, paging, pages, seed",
    [
        (1, 1, None, None, 0),
        (2, 1, None, None, 1),
        (1, 1, PAGES, None, 2),
        (2, 1, PAGES, 5, 3),
        (4, 4, PAGES, 5, 4),
    ],
)
def test_answers_are_those_of_each_request_alone(tiles, homes, paging, pages, seed):
    """Prompts in chunks beside tokens of others, several answers to one prompt, and more requests than
    places; with few pages sequences are preempted."""
    generator = np.random.default_rng(seed)
    arrivals = []
    for n in range(8):
        prompt = tuple(generator.integers(0, 72, generator.integers(1, 50)).tolist())
        request = Request(id=f"r{n}", prompt=prompt, tokens=int(generator.integers(1, 8)), count=1 + (n == 3))
        sampler = Sampler(temperature=float(n % 2), seed=n)
        arrivals.append((int(generator.integers(0, 12)), request, sampler))
    served = engine(tiles=tiles, homes=homes, paging=paging, pages=pages)
    answers, endings = serve(served, arrivals)
    for _, request, sampler in arrivals:
        for index in range(request.count):
            assert answers[request.id, index] == alone(request, sampler, index), (request, index)
            assert endings[request.id, index] is Ending.LENGTH
    assert served.scheduler.pool.free == served.caches.pages


@pytest.mark.parametrize("paging, pages", [(None, None), (PAGES, 5)])
def test_capacity_of_experts(paging, pages):
    """Experts have room for some tokens of a request's prompt: what else is in a step, prefixes that are
    found, and preemption make no difference, a second turn with the first's answer in it neither."""
    model = tiny_model(family="mixtral", experts=4, used=2).with_capacity(Capacity(4, 8))
    generator, arrivals = np.random.default_rng(7), []
    common = tuple(generator.integers(0, 72, 40).tolist())
    for n in range(8):
        prompt = common[: generator.integers(1, 40)] + tuple(generator.integers(0, 72, 3).tolist())
        request = Request(
            id=f"r{n}", prompt=prompt, tokens=int(generator.integers(1, 15)), count=1 + (n == 3)
        )
        arrivals.append((int(generator.integers(0, 12)), request, Sampler(temperature=float(n % 2), seed=n)))
    experts = ExpertsConfig(experts=4, used=2, rows=32)
    served = engine(model=model, paging=paging, pages=pages, experts=experts)
    answers, _ = serve(served, arrivals)
    second = (*arrivals[0][1].prompt, *answers["r0", 0])
    arrivals.append((0, Request(id="second", prompt=second, tokens=3), Sampler()))
    answers |= serve(served, arrivals[-1:])[0]
    for _, request, sampler in arrivals:
        for index in range(request.count):
            assert answers[request.id, index] == alone(request, sampler, index, model, experts)
    assert served.rerouted > 0


def test_pages_without_whole_windows():
    model = tiny_model(family="mixtral", experts=4, used=2).with_capacity(Capacity(13, 24))
    with pytest.raises(CompileError, match="pages of 32 positions have no whole windows of 24 tokens"):
        engine(model=model, paging=PAGES, experts=ExpertsConfig(experts=4, used=2, rows=32))


def test_what_two_have_in_common_is_computed_once():
    """The second request's prompt begins like the first's: pages are found, and the bits are the same."""
    served = engine(paging=PAGES)
    prompt = tuple(range(1, 45))
    arrivals = [
        (at, Request(id=name, prompt=prompt[:length], tokens=5), Sampler())
        for at, name, length in ((0, "a", 44), (3, "b", 44), (3, "c", 40), (20, "d", 33))
    ]
    begun = []
    step = served.step
    served.step = lambda: [begun.append(e) if isinstance(e, Started) else e for e in step() or ()] or None
    answers, _ = serve(served, arrivals)
    for _, request, sampler in arrivals:
        assert answers[request.id, 0] == alone(request, sampler, 0)
    assert {event.id: event.cached for event in begun} == {"a": 0, "b": 32, "c": 32, "d": 32}
    computed = sum(len(request.prompt) - 32 * (request.id != "a") + 4 for _, request, _ in arrivals)
    assert served.tokens == computed  # no weight is read for the others


def test_rows_of_logits_are_not_read_whole(monkeypatch):
    """But for a sampler that looks at all of them, the largest of each block say what to read."""
    model = tiny_model(vocab=1024)
    served, reads = engine(model=model), []
    read = served.backend.read
    monkeypatch.setattr(served.backend, "read", lambda at, size: reads.append(size) or read(at, size))
    samplers = [Sampler(), Sampler(0.8, 5, 1), Sampler(0.8, 5, 2, 0.7), Sampler(0.8, 0, 3)]
    requests = [Request(id=f"r{n}", prompt=(n, 7), tokens=4) for n in range(4)]
    answers, _ = serve(served, [(0, request, sampler) for request, sampler in zip(requests, samplers)])
    for request, sampler in zip(requests, samplers):
        assert answers[request.id, 0] == alone(request, sampler, model=model)
    blocks, rows = reads.count(4 * 32), reads.count(4 * 1024)
    assert (blocks, rows) == (4 * (1 + 5 + 5), 4)
    assert len(reads) == 4 + blocks + rows  # the largest of all blocks are read once in a step


@pytest.mark.parametrize("homes", [1, 2])
@pytest.mark.parametrize("paging", [None, PAGES])
def test_another_owner_finds_nothing(monkeypatch, paging, homes):
    """The caches of a sequence that has ended are zero when another one gets them."""
    served = engine(sequences=1, paging=paging, pages=2, homes=homes)
    memory, compiled, seen = served.backend.memory, served.compiled, []
    run = served._run

    def spy(step):
        (part,) = step.parts
        if part.first == 0:
            places = compiled.memory.caches
            extents = [(at, place.layout.size) for place in places for at in place.address]
            if paging is not None:
                extents = [
                    (home + compiled.pages.address(page), compiled.pages.bytes)
                    for home in compiled.pages.homes
                    for page in part.pages
                ]
            seen.append(any(np.any(memory[at : at + size]) for at, size in extents))
        return run(step)

    monkeypatch.setattr(served, "_run", spy)
    arrivals = [(n, Request(id=f"r{n}", prompt=(1, 2, n), tokens=3), Sampler()) for n in range(5)]
    serve(served, arrivals)
    assert seen == [False] * 5


def test_probabilities():
    """Natural logarithms, of the chosen token and of the likeliest ones; all of them add up to one."""
    served = engine()
    served.add(Request(id="r", prompt=(5, 6), tokens=1), logprobs=72)
    events = served.step()
    assert events[0] == Started("r", 0, 0)
    (token, own), *others = events[1].logprobs
    assert events[1].token == token == others[0][0] and own == others[0][1]
    assert np.exp([value for _, value in others]).sum() == pytest.approx(1)
    assert [value for _, value in others] == sorted((value for _, value in others), reverse=True)
    assert events[2:] == [Answered("r", 0, Ending.LENGTH)]


def test_cancelled_requests_free_their_place():
    served = engine(sequences=1)
    served.add(Request(id="a", prompt=(1,), tokens=30))
    served.add(Request(id="b", prompt=(2,), tokens=1))
    served.step()
    served.cancel("a")
    events = served.step()
    assert [event.id for event in events] == ["b"] * 3
    assert served.step() is None and served.scheduler.pool.free == 1


def test_tokens_that_there_are_not():
    with pytest.raises(Refused, match="request r: there is no token 72; the model has 72"):
        engine().add(Request(id="r", prompt=(1, 72), tokens=1))
