"""How fast a deployment serves requests: the closed form."""

from dataclasses import dataclass, field, replace

from .errors import MarketError
from .operators import KINDS, Pass, operators
from .ranges import CORNERS, Range

__all__ = ["Served", "Timing", "best", "decode", "prefill", "serve", "serve_range"]


@dataclass(frozen=True)
class Timing:
    """A pass: seconds by what bounds them, and the work of all chips."""

    seconds: float
    bound: dict
    flops: float
    bytes: float
    link_bytes: float
    parts: dict = field(default_factory=dict)


def _timing(deployment, step, specification, efficiency, times):
    """Of a pass that takes a stage of the pipeline so many times, and of the work of all chips meanwhile."""
    bound, parts = dict.fromkeys(KINDS, 0.0), {}
    flops = moved = linked = 0.0
    for operator in operators(deployment, step):
        seconds = operator.seconds(specification, efficiency)
        parts[operator.name] = sum(seconds.values()) * times
        for kind, value in seconds.items():
            bound[kind] += value * times
        flops += operator.flops
        moved += operator.bytes
        linked += operator.link_bytes
    chips = deployment.split.chips
    return Timing(sum(bound.values()), bound, flops * chips, moved * chips, linked * chips, parts)


def decode(deployment, batch, context, specification, efficiency):
    """A token of each of ``batch`` sequences. A pipeline has as many micro-batches as stages."""
    stages = deployment.split.pipeline
    timing = _timing(deployment, Pass(max(batch / stages, 1), 1, context), specification, efficiency, stages)
    work = lambda name: getattr(timing, name) * stages
    return replace(timing, flops=work("flops"), bytes=work("bytes"), link_bytes=work("link_bytes"))


def prefill(deployment, prompt, specification, efficiency, sequences=1):
    """The prompts of ``sequences``, one after the other through all stages."""
    step = Pass(sequences, prompt, prompt)
    return _timing(deployment, step, specification, efficiency, deployment.split.pipeline)


@dataclass(frozen=True)
class Served:
    """Requests of equal lengths, always ``batch`` at once, each with prompts between the others' tokens."""

    batch: int
    chips: int
    first_token: float
    step: float
    bound: dict
    flops_per_token: float
    bytes_per_token: float
    link_bytes_per_token: float
    parts: dict

    @property
    def user_tokens(self):
        """Tokens a second that a user sees."""
        return 1 / self.step

    @property
    def chip_tokens(self):
        """Tokens a second that a chip makes."""
        return self.batch / self.step / self.chips

    @property
    def limit(self):
        """What bounds most of the time."""
        return max(self.bound, key=self.bound.__getitem__)


def serve(deployment, prompt, output, batch, specification, efficiency):
    """Continuous batching: while each sequence makes ``output`` tokens, as many prompts are read."""
    data, stages = deployment.split.data, deployment.split.pipeline
    step = decode(deployment, batch, prompt + output // 2, specification, efficiency)
    prompts = prefill(deployment, prompt, specification, efficiency, sequences=data)
    share = batch / output / data / stages
    add = lambda name: getattr(step, name) + share * stages * getattr(prompts, name)
    names = {**step.parts, **prompts.parts}
    return Served(
        batch=batch,
        chips=deployment.split.chips,
        first_token=prefill(deployment, prompt, specification, efficiency).seconds,
        step=step.seconds + share * prompts.seconds,
        bound={kind: step.bound[kind] + share * prompts.bound[kind] for kind in KINDS},
        flops_per_token=add("flops") / batch,
        bytes_per_token=add("bytes") / batch,
        link_bytes_per_token=add("link_bytes") / batch,
        parts={name: step.parts.get(name, 0) + share * prompts.parts.get(name, 0) for name in names},
    )


def best(deployments, prompt, output, speed, efficiency, batch=None):
    """(deployment, batch) with the most tokens a chip at ``speed`` tokens a second for each user; the batch
    as given, or the best power of two that fits. :class:`MarketError` if nothing fits."""
    found, problem = [], None
    for deployment in deployments:
        try:
            deployment.check().require(batch or 1, prompt + output)
        except MarketError as error:
            problem = error
            continue
        most = batch or deployment.sequences(prompt + output)
        sizes = [batch] if batch else sorted({2**n for n in range(most.bit_length())} | {most})
        specification = deployment.chip.at("mid")
        for size in sizes:
            served = serve(deployment, prompt, output, size, specification, efficiency)
            enough = served.user_tokens >= speed
            found.append((enough, served.chip_tokens if enough else served.user_tokens, deployment, size))
    if not found:
        raise problem or MarketError("no deployment was given")
    _, _, deployment, size = max(found, key=lambda item: item[:2])
    return deployment, size


def serve_range(deployment, prompt, output, batch, efficiency):
    """{corner: :class:`Served`} with the chip's and the efficiency's ranges."""
    efficiency = Range.of(efficiency)
    return {
        corner: serve(deployment, prompt, output, batch, deployment.chip.at(corner), efficiency.at(corner))
        for corner in CORNERS
    }
