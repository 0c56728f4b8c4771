"""Very many requests at random times: none is lost, doubled, mixed up or left in the chip."""

import asyncio
from collections import Counter

import numpy as np
import openai
import pytest
import servebench

from poblano_host.runtime.sampler import Sampler
from poblano_host.runtime.session import Session
from tests.serving import CONTEXT, Server, TimedBackend, small_chip

LONGEST, AT_ONCE = 6, 48
DRAWN = [Sampler(1.0, 0, seed) for seed in range(4)]


@pytest.fixture(scope="module")
def server():
    server = Server(backend=TimedBackend)
    yield server
    server.stop()


class Load:
    """Requests of a seed, each a prompt of a few with a number of tokens, and what became of them."""

    def __init__(self, server, seed):
        self.server, self.generator = server, np.random.default_rng(seed)
        words = ["so", "the", "and", "he", "of", "it"]
        lengths = self.generator.integers(1, 20, 16)
        self.prompts = [" ".join(self.generator.choice(words, length)) for length in lengths]
        self.answers = {n: [self.alone(n, Sampler())] for n in range(len(self.prompts))}
        self.seen = Counter()
        # The first ones are asked for several answers too, which are drawn.
        self.drawn = {n: [self.alone(n, s) for s in (d, d.other(1))] for n, d in enumerate(DRAWN)}
        self.client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)

    def alone(self, prompt, sampler):
        """The text after each number of tokens of an answer by a session of its own."""
        model = self.server.model
        session = Session(model, small_chip(), backend="golden", context=CONTEXT)
        steps = session.generate(model.framed(self.prompts[prompt]), LONGEST, sampler, stop=model.ends)
        tokens = [token for _, token in steps if token is not None]
        texts = []
        for count in range(1, LONGEST + 1):
            stream = model.tokenizer.stream()
            kept = [token for token in tokens[:count] if token not in model.ends]
            texts.append("".join(map(stream.push, kept)) + stream.flush())
        return texts

    async def run(self, count):
        """Ask for ``count`` answers at random times, some of which are not waited for."""
        free = asyncio.Semaphore(AT_ONCE)
        kinds = self.generator.choice(["whole", "stream", "several", "left"], count, p=[0.3, 0.4, 0.15, 0.15])
        pauses = self.generator.exponential(0.01, count)
        async with asyncio.TaskGroup() as group:
            for kind, pause in zip(kinds, pauses):
                await asyncio.sleep(pause)
                await free.acquire()
                prompt = int(self.generator.integers(len(DRAWN) if kind == "several" else len(self.prompts)))
                tokens = int(self.generator.integers(1, LONGEST + 1))
                task = group.create_task(getattr(self, kind)(prompt, tokens))
                task.add_done_callback(lambda _: free.release())
        await self.client.close()

    def create(self, prompt, tokens, **fields):
        form = dict(model="tiny", prompt=self.prompts[prompt], max_tokens=tokens, temperature=0)
        return self.client.completions.create(**form | fields)

    def check(self, kind, texts, wanted, tokens):
        assert texts == [answer[tokens - 1] for answer in wanted]
        self.seen[kind] += 1

    async def whole(self, prompt, tokens):
        answer = await self.create(prompt, tokens)
        self.check("whole", [choice.text for choice in answer.choices], self.answers[prompt], tokens)

    async def stream(self, prompt, tokens):
        texts, endings = [], []
        async for piece in await self.create(prompt, tokens, stream=True):
            texts += [choice.text for choice in piece.choices]
            endings += [choice.finish_reason for choice in piece.choices if choice.finish_reason]
        assert len(endings) == 1
        self.check("stream", ["".join(texts)], self.answers[prompt], tokens)

    async def several(self, prompt, tokens):
        answer = await self.create(prompt, tokens, n=2, temperature=1, seed=prompt)
        assert [choice.index for choice in answer.choices] == [0, 1]
        self.check("several", [choice.text for choice in answer.choices], self.drawn[prompt], tokens)

    async def left(self, prompt, tokens):
        """The client goes away: from a stream behind a piece, or while it waits."""
        if tokens % 2:
            stream = await self.create(prompt, CONTEXT, stream=True)
            await anext(aiter(stream))
            await stream.close()
        else:
            with pytest.raises(openai.APITimeoutError):
                await self.create(prompt, CONTEXT, timeout=0.02)
        self.seen["left"] += 1


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.nightly)])
def test_requests_at_random_times(server, count):
    """Each gets the tokens that it gets alone, in their order and once; all pages come back."""
    load = Load(server, count)
    before = answered(server)
    asyncio.run(load.run(count))
    assert sum(load.seen.values()) == count and min(load.seen.values()) > count / 20
    assert server.idle() and not server.engine.scheduler.waiting
    assert count - load.seen["left"] <= answered(server) - before <= count


def test_servebench(server):
    """A load generator of others finds all answers, complete."""
    common = dict(url=f"{server.url}/v1", model="tiny", input_len=4, output_len=5, gpu_telemetry=False)
    for endpoint, mode, levels in (("completions", "concurrency", [1, 6]), ("chat", "rate", [50])):
        found = servebench.benchmark(
            **common, endpoint=endpoint, mode=mode, levels=levels, num_requests=12, warmup=1, seed=3
        )
        for level in found.levels:
            assert [request.error for request in level.requests] == [None] * 12
            assert {request.output_tokens for request in level.requests} == {5}
            assert {request.token_source for request in level.requests} == {"usage"}
    assert server.idle()


def answered(server):
    """Requests that the server counts as answered."""
    (line,) = (x for x in server.get("/metrics").splitlines() if x.startswith("poblano_requests_total"))
    return float(line.split()[1])
