"""What serving a model on a chip takes: a step of decoding, and a prompt."""

from dataclasses import dataclass

from poblano.config import ConfigError

from .step import Model, StepEstimate

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True)
class Estimate:
    """Of a chip: ``decode``, a step with a token for each of ``batch`` users who see ``context`` positions;
    ``prefill``, all steps of a prompt, or None."""

    batch: int
    context: int
    decode: StepEstimate
    prefill: StepEstimate | None = None

    @property
    def phases(self):
        """The estimates by name."""
        found = {"decode": self.decode}
        return found if self.prefill is None else found | {"prefill": self.prefill}

    def as_json(self, clock_mhz=None):
        """Figures for a file; tokens a second where there is a clock."""
        figures = {name: step.as_json() for name, step in self.phases.items()}
        if clock_mhz is not None:
            for name, step in self.phases.items():
                figures[name]["chip_tokens_per_second"] = 1e6 * clock_mhz * step.tokens / step.cycles
            figures["decode"]["user_tokens_per_second"] = 1e6 * clock_mhz / self.decode.cycles
        return dict(batch=self.batch, context=self.context, clock_mhz=clock_mhz) | figures


def estimate(shape, format, config, *, batch=1, context=512, prefill=0, activations=None, seed=0):
    """The :class:`Estimate` of a model's ``shape`` (ModelConfig) with matrices in ``format`` on a chip of
    ``config``; ``prefill``: tokens of a prompt; ``seed``: of the experts that tokens use.

    Raises ConfigError for numbers that can't be, and CompileError for what does not fit.
    """
    for name, value, least in (("batch", batch, 1), ("context", context, 1), ("prefill", prefill, 0)):
        if value < least:
            raise ConfigError(f"{name} must be at least {least}, not {value}")
    if max(context, prefill) > shape.context:
        raise ConfigError(f"{shape.name} has {shape.context} positions, not {max(context, prefill)}")
    options = dict(context=max(context, prefill), activations=activations)
    model = Model(shape, format, config, slots=batch, tokens=batch, **options)
    if model.max_tokens < batch:
        raise ConfigError(
            f"a batch of {batch}: {config.name} has room for {model.max_tokens} tokens in a step"
        )
    decode = model.step([(1, context - 1)] * batch, logits=batch, seed=seed)
    if not prefill:
        return Estimate(batch, context, decode)
    model = Model(shape, format, config, tokens=None if prefill > 256 else prefill, **options)
    return Estimate(batch, context, decode, _prompt(model, prefill, seed))


def _prompt(model, tokens, seed):
    """The sum of the steps of a prompt. Of many steps of the same length the first and the last are walked
    through, as what a token costs grows evenly with its position."""
    size = min(model.max_tokens, tokens)
    whole, rest = divmod(tokens, size)
    end = size * (whole - 1)
    at = lambda position, count=size, logits=0: model.step([(count, position)], logits=logits, seed=seed)
    total = at(end, logits=0 if rest else 1)
    if whole > 1:
        total += (at(0) + at(max(0, end - size))) * ((whole - 1) / 2)
    return total + at(end + size, rest, 1) if rest else total
