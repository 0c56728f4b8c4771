"""Requests on a chip: the scheduler's steps, run, and the tokens that are chosen from their logits."""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from ..compiler import Chunk, CompiledModel, CompileError
from ..runtime.backend import open_backend, place_model
from ..runtime.logits import Logits, LogitsRow
from ..runtime.sampler import Sampler
from ..runtime.session import run_program
from .caches import open_caches
from .pages import PagePool
from .request import Ending
from .scheduler import Refused, Scheduler

__all__ = ["Answered", "Chosen", "Engine", "Started"]


@dataclass(frozen=True)
class Chosen:
    """A token of answer ``index`` to request ``id``, in the step that ended at ``cycle`` of the chip's.

    ``logprobs`` are the natural logarithms of the probabilities of the ``token`` and of the likeliest tokens,
    the best first, as far as the request asked for them: (token, its logarithm) of each, or empty.
    """

    id: str
    index: int
    token: int
    cycle: int
    logprobs: tuple = ()


@dataclass(frozen=True)
class Answered:
    """An answer has ended."""

    id: str
    index: int
    ending: Ending


@dataclass(frozen=True)
class Started:
    """The first step with tokens of a request begins at ``cycle`` of the chip's; the first ``cached`` tokens
    of the prompt had been computed for others."""

    id: str
    cycle: int
    cached: int


@dataclass(frozen=True, eq=False)
class _Row:
    """What a :class:`Sampler` chooses from: the logits that follow ``count`` tokens from ``position`` on."""

    position: int
    count: int
    logits: LogitsRow

    @property
    def best(self):
        return self.logits.best

    def top(self, count=None):
        return self.logits.top(count)


@dataclass
class _Asked:
    """How a request's tokens are chosen, of how many tokens it wants the probabilities, and whether a step
    has had tokens of it."""

    sampler: Sampler
    logprobs: int | None
    begun: bool = False


class Engine:
    """A model on a chip, and the requests that it serves.

    The keys and values of a sequence lie in pages, which it gets as it grows; equal beginnings of sequences
    share them. On a chip without page tables each has one page of its own, for its whole context. A step's
    bits do not depend on what else is in it, so that each answer is what it would be alone.

    Parameters
    ----------
    model : Model
    config : ChipConfig
    backend : name of the backend, or a function that makes it: see :func:`open_backend`
    sequences : the most that are served at once
    context : positions of each sequence
    pages : of a chip with page tables, the most pages; by default enough for all contexts, if there is memory
    report : called with a line for each slow step of the start

    Members
    -------
    cycles : of the chip, in steps so far; the golden model knows nothing of time
    steps, tokens : that the chip has run so far
    retries : steps that were run once more after an error that passed
    rerouted : choices of experts that had no room
    rows : tokens of the last step
    busy : the part of the last step's cycles in which each unit had a command, by the unit's name
    """

    def __init__(
        self, model, config, *, backend="sim", sequences=8, context=None, pages=None, report=lambda text: None
    ):
        self.model, self.config = model, config
        report("compiling the model")
        self.compiled = CompiledModel(model, config, context=context, slots=sequences, pages=pages)
        size, ring = self.compiled.memory_bytes, self.compiled.ring
        self.backend = open_backend(backend, config, size, ring, report=report)
        place_model(self.backend, self.compiled)
        rows = self.compiled.max_tokens
        self.caches = open_caches(self.backend, self.compiled)
        pool = PagePool(pages=self.caches.pages, positions=self.caches.positions)
        window = self.compiled.window
        if self.compiled.pages is not None and pool.positions % window:
            raise CompileError(
                f"pages of {pool.positions} positions have no whole windows of {window} tokens"
            )
        self.scheduler = Scheduler(
            pool,
            rows=rows,
            sequences=min(rows - window + 1, sequences),
            context=self.compiled.context,
            window=window,
        )
        self.cycles = self.steps = self.tokens = self.rows = self.retries = self.rerouted = 0
        self.busy: dict = {}
        self._asked: dict = {}  # :class:`_Asked` by the request's id

    def close(self):
        self.backend.close()

    def add(self, request, sampler=Sampler(), *, logprobs=None):
        """A request; :class:`Refused` if it can't be served.

        ``logprobs``: of how many of the likeliest tokens the probabilities are wanted beside the chosen
        token's, None for none at all.
        """
        vocab = self.model.config.vocab
        bad = [token for token in request.prompt if not 0 <= token < vocab]
        if bad:
            raise Refused(f"request {request.id}: there is no token {bad[0]}; the model has {vocab}")
        self.scheduler.add(request)
        self._asked[request.id] = _Asked(sampler, logprobs)

    def cancel(self, name):
        """Nobody wants the rest of a request."""
        self.scheduler.cancel(name)

    def step(self, now=None):
        """Run a step; what has come of it, a list of :class:`Started`, :class:`Chosen` and :class:`Answered`
        in their order.

        None if there was nothing to do. Requests end whose deadline is ``now`` or before.
        """
        late = [] if now is None else self.scheduler.expire(now)
        events: list = [Answered(s.request.id, s.index, s.ending) for s in late]
        step = self.scheduler.plan()
        self._asked = {name: asked for name, asked in self._asked.items() if name in self.scheduler}
        if step is None:
            self.rows, self.busy = 0, {}
            return events or None
        for part in step.parts:
            asked = self._asked[part.request.id]
            if not asked.begun:
                asked.begun = True
                events.append(Started(part.request.id, self.cycles, part.first))
        self.caches.keep(self.scheduler.running)
        if step.prepared:
            self.cycles += self.caches.prepare(step.prepared)
        rows = self._run(step)
        self.steps, self.tokens, self.rows = self.steps + 1, self.tokens + step.rows, step.rows
        chosen = {}
        for part, row in rows.items():
            for index in part.choices:
                token, logprobs = self._choose(part.request, index, row)
                chosen[part.request.id, index] = token
                events.append(Chosen(part.request.id, index, token, self.cycles, logprobs))
        ended = self.scheduler.finish(step, chosen)
        return events + [Answered(s.request.id, s.index, s.ending) for s in ended]

    def status(self):
        """What runs, for people who watch: plain numbers."""
        scheduler, pool = self.scheduler, self.scheduler.pool
        return {
            "steps": self.steps,
            "tokens": self.tokens,
            "cycles": self.cycles,
            "rows": self.rows,
            "running": [
                {"id": s.request.id, "index": s.index, "tokens": len(s.tokens), "left": s.left}
                for s in scheduler.running
            ],
            "waiting": len(scheduler.waiting),
            "pages": [pool.holders(page) for page in range(pool.pages)],
            "busy": self.busy,
        }

    def _run(self, step):
        """Run a step's parts; of those with choices the :class:`_Row`."""
        # The rows of logits are the last ones: parts that are decoded go behind prompts that end.
        parts = sorted(step.parts, key=lambda part: (len(part.choices) > 0, -len(part.tokens)))
        ends = list(accumulate(len(part.tokens) for part in parts))
        choosing = [(part, end - 1) for part, end in zip(parts, ends) if part.choices]
        first = choosing[0][1] if choosing else step.rows  # the first row of logits
        slots = [self.caches.slot(part.sequence, part.pages) for part in parts]
        chunks = [Chunk(slot, part.first, part.tokens, part.prompt) for slot, part in zip(slots, parts)]
        program = self.compiled.batch(chunks, logits=step.rows - first)
        result, retried = run_program(self.backend, program)
        self.retries += retried is not None
        self.rerouted += result.rerouted
        self.cycles += result.cycles
        name = self.config.topology.name
        self.busy = {name(unit): c["BUSY"] / result.cycles for unit, c in result.counters.items()}
        logits = Logits(self.backend, self.compiled, program)
        return {part: _Row(part.first, len(part.tokens), logits[row - first]) for part, row in choosing}

    def _choose(self, request, index, row):
        """The token that follows, and the probabilities that the request wants."""
        asked = self._asked[request.id]
        token = (asked.sampler.other(index) if index else asked.sampler).choose(row)
        if asked.logprobs is None:
            return token, ()
        values = row.logits.values
        shifted = values.astype(np.float64) - np.float64(values[row.best])
        logs = shifted - np.log(np.exp(shifted).sum())
        best, _ = row.top(asked.logprobs)
        return token, tuple((int(n), float(logs[n])) for n in (token, *best))
