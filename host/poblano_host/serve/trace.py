"""Requests that arrive at times of the chip's clock, and figures of how they were served."""

from dataclasses import dataclass
import json
import math

import numpy as np

from poblano.config import ConfigError

__all__ = ["Figures", "Served", "Trace", "one_by_one"]

WORDS = (
    "and the of to in that he shall unto they for his a said lord god all people king day house man".split()
)


@dataclass(frozen=True)
class Trace:
    """Requests: fields of ``POST /v1/completions`` of each, and when they arrive, in any unit."""

    requests: tuple
    arrivals: tuple

    @classmethod
    def random(cls, count, seed):
        """``count`` requests of random words that arrive at random (a Poisson process), on average one in a
        unit of time."""
        generator = np.random.default_rng(seed)
        gaps = generator.exponential(size=count)
        requests = []
        for _ in range(count):
            words, tokens = generator.integers(4, 25), generator.integers(4, 33)
            prompt = " ".join(generator.choice(WORDS, words))
            requests.append(
                {"prompt": prompt, "max_tokens": int(tokens), "ignore_eos": True, "temperature": 0}
            )
        return cls(tuple(requests), tuple((np.cumsum(gaps) - gaps[0]).tolist()))

    @classmethod
    def read(cls, path):
        """The trace of a file: a JSON list of requests, each with the cycle of its ``arrival``. Answers are
        greedy if nothing else is said. ConfigError if it is none."""
        try:
            with open(path, encoding="utf-8") as file:
                listed = json.load(file)
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise ConfigError(f"{path}: no JSON: {error}") from None
        if not isinstance(listed, list) or not listed:
            raise ConfigError(f"{path}: a trace is a list of requests")
        requests = []
        for n, fields in enumerate(listed):
            arrival = fields.get("arrival") if isinstance(fields, dict) else None
            if (
                isinstance(arrival, bool)
                or not isinstance(arrival, int | float)
                or not 0 <= arrival < 1 << 53
            ):
                raise ConfigError(
                    f"{path}: request {n}: the cycle of its arrival is missing or no such number"
                )
            kept = {name: value for name, value in fields.items() if name != "arrival"}
            requests.append({"temperature": 0, "seed": n} | kept)
        order = sorted(range(len(listed)), key=lambda n: listed[n]["arrival"])
        first = listed[order[0]]["arrival"]
        return cls(
            tuple(requests[n] for n in order), tuple(float(listed[n]["arrival"] - first) for n in order)
        )

    @property
    def gap(self):
        """The mean time between arrivals; ConfigError if all arrive at once."""
        if not self.arrivals[-1]:
            raise ConfigError("all requests arrive at once: there is no load")
        return self.arrivals[-1] / (len(self.arrivals) - 1)


@dataclass(frozen=True)
class Served:
    """A request that was served: its ``arrival``, the ``texts`` of its answers, and the cycles from the
    arrival until each token of each answer."""

    arrival: int
    tokens: tuple
    texts: tuple

    @property
    def first(self):
        """Cycles until the first token."""
        return min(cycles[0] for cycles in self.tokens)

    @property
    def took(self):
        """Cycles until the last token."""
        return max(cycles[-1] for cycles in self.tokens)

    @property
    def gaps(self):
        """Cycles between the tokens of each answer."""
        return [b - a for cycles in self.tokens for a, b in zip(cycles, cycles[1:])]


def one_by_one(alone, arrivals):
    """What requests would be that arrive at ``arrivals``, in their order, where each one waits for the one
    before to end; ``alone`` are they on a chip that had nothing else to do."""
    served, free = [], 0
    for one, arrival in zip(alone, arrivals):
        waited = max(free - arrival, 0)
        tokens = tuple(tuple(waited + cycle for cycle in cycles) for cycles in one.tokens)
        served.append(Served(arrival, tokens, one.texts))
        free = arrival + served[-1].took
    return served


@dataclass(frozen=True)
class Figures:
    """Tokens, the cycles from the first arrival to the last token, and medians and 95th percentiles of the
    cycles to the first token of a request and between tokens; None if no answer has two."""

    tokens: int
    cycles: int
    first: tuple
    between: tuple | None

    @classmethod
    def of(cls, served):
        spread = lambda cycles: tuple(np.percentile(cycles, (50, 95)).tolist())
        gaps = [gap for one in served for gap in one.gaps]
        return cls(
            tokens=sum(len(cycles) for one in served for cycles in one.tokens),
            cycles=max(one.arrival + one.took for one in served) - min(one.arrival for one in served),
            first=spread([one.first for one in served]),
            between=spread(gaps) if gaps else None,
        )

    @property
    def rate(self):
        """Tokens a cycle."""
        return self.tokens / self.cycles if self.cycles else math.inf
