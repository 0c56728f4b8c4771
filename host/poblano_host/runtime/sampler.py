"""The choice of the next token."""

from dataclasses import dataclass, replace

import numpy as np

from poblano.config import ConfigError

__all__ = ["Sampler"]


@dataclass(frozen=True)
class Sampler:
    """Chooses the next token: the chip's own argmax at ``temperature`` 0, else from the ``top_k`` best
    logits (0: all), and of these from the likeliest whose probabilities add up to ``top_p``."""

    temperature: float = 0.0
    top_k: int = 40
    seed: int | tuple = 0
    top_p: float = 1.0

    def __post_init__(self):
        if not self.temperature >= 0:
            raise ConfigError(f"the temperature must be at least 0, not {self.temperature}")
        if self.top_k < 0:
            raise ConfigError(f"top-k must be at least 0, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top-p must be above 0 and at most 1, not {self.top_p}")

    @property
    def needs_logits(self):
        """Whether a step's logits are looked at."""
        return self.temperature != 0

    def other(self, number):
        """The sampler of another answer to the same prompt."""
        return replace(self, seed=(self.seed, number))

    def choose(self, step):
        """The token that follows a :class:`Step`, or what has ``position``, ``count`` and of its logits
        ``best`` and ``top`` like it."""
        if self.temperature == 0:
            return step.best
        order, logits = step.top(self.top_k or None)
        logits = logits.astype(np.float64)
        if not np.isfinite(logits[0]):
            return step.best
        with np.errstate(over="ignore"):  # of a low temperature only the best remain
            weights = np.nan_to_num(np.exp((logits - logits[0]) / self.temperature))
        seeds = self.seed if isinstance(self.seed, tuple) else (self.seed,)
        # A generator for each position: the choice does not depend on the steps before.
        generator = np.random.default_rng((*seeds, step.position + step.count))
        if self.top_p < 1:
            before = np.cumsum(weights) - weights
            weights[before >= self.top_p * weights.sum()] = 0
        return int(generator.choice(order, p=weights / weights.sum()))
