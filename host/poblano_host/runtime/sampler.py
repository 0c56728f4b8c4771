"""The choice of the next token."""

from dataclasses import dataclass

import numpy as np

from poblano.config import ConfigError

__all__ = ["Sampler"]


@dataclass(frozen=True)
class Sampler:
    """Chooses the next token: the chip's own argmax at ``temperature`` 0, else from the ``top_k`` best
    logits (0: all)."""

    temperature: float = 0.0
    top_k: int = 40
    seed: int = 0

    def __post_init__(self):
        if not self.temperature >= 0:
            raise ConfigError(f"the temperature must be at least 0, not {self.temperature}")
        if self.top_k < 0:
            raise ConfigError(f"top-k must be at least 0, not {self.top_k}")

    @property
    def needs_logits(self):
        """Whether a step's logits are looked at."""
        return self.temperature != 0

    def choose(self, step):
        """The token that follows a :class:`Step`."""
        if self.temperature == 0:
            return step.best
        order = np.argsort(-step.logits, kind="stable")[: self.top_k or None]
        logits = step.logits[order].astype(np.float64)
        if not np.isfinite(logits[0]):
            return step.best
        with np.errstate(over="ignore"):  # of a low temperature only the best remain
            weights = np.nan_to_num(np.exp((logits - logits[0]) / self.temperature))
        # A generator for each position: the choice does not depend on the steps before.
        generator = np.random.default_rng((self.seed, step.position + step.count))
        return int(generator.choice(order, p=weights / weights.sum()))
