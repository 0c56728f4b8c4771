"""What a pass through a model costs one chip: operations, bytes of memory and bytes on links by operator."""

from dataclasses import dataclass

from .chips import BITS

__all__ = ["KINDS", "Operator", "Pass", "operators"]

KINDS = ("compute", "memory", "links", "latency")
"""What can bound an operator."""
ACTIVATION = 2
"""Bytes of an activation between operators: BF16."""


@dataclass(frozen=True)
class Pass:
    """``sequences`` that each go on by ``tokens``, up to ``context``; decoding is of one token."""

    sequences: float
    tokens: int
    context: int


@dataclass(frozen=True)
class Operator:
    """One chip's part of an operator of all layers of its stage."""

    name: str
    flops: float = 0
    compute: str = "bf16"
    bytes: float = 0
    link_bytes: float = 0
    messages: float = 0

    def seconds(self, specification, efficiency):
        """{kind: seconds}; the larger of computing and memory hides the other."""
        computing = self.flops / specification.peak(self.compute) / efficiency
        moving = self.bytes / specification.bandwidth / efficiency
        return {
            "compute": computing if computing >= moving else 0,
            "memory": moving if moving > computing else 0,
            "links": self.link_bytes / specification.link / efficiency,
            "latency": self.messages * specification.latency,
        }


def touched(count, active, tokens):
    """The expected number of ``count`` experts that at least one of some tokens chooses, when each chooses
    ``active`` at random."""
    return count * (1 - (1 - active / count) ** tokens)


class _Model:
    """The operators of a deployment in one pass."""

    def __init__(self, deployment, step):
        self.deployment, self.step = deployment, step
        self.shape, self.split = deployment.shape, deployment.split
        sequences = step.sequences / self.split.data
        self.sequences = max(sequences, 1) if step.sequences else 0
        self.rows = self.sequences * step.tokens
        self.layers = self.shape.layers / self.split.pipeline

    def _product(self, name, pairs, layers, *, rows, bits, compute, over):
        """Products of ``rows`` with matrices of (inputs, outputs)."""
        weights = sum(i * o for i, o in pairs)
        activations = rows * sum(i + o for i, o in pairs) * ACTIVATION
        return Operator(
            name,
            flops=2 * rows * weights * layers / over,
            compute=compute,
            bytes=(weights * bits / 8 + activations) * layers / over,
        )

    def _dense(self, name, pairs, layers, rows=None):
        deployment = self.deployment
        return self._product(
            name,
            pairs,
            layers,
            rows=self.rows if rows is None else rows,
            bits=deployment.dense_bits,
            compute=deployment.dense_compute,
            over=self.split.tensor,
        )

    def attention(self):
        """Scores and sums over keys and values: those of the cache, or of the tokens before in the prompt."""
        shape, step = self.shape, self.step
        flops = elements = 0
        for layers, span in shape.spans(step.context):
            pairs = step.tokens * span
            if step.tokens > 1:
                first = step.context - step.tokens
                pairs = sum(min(span, first + n / 8 * step.tokens) for n in (1, 3, 5, 7)) / 4 * step.tokens
            flops += 2 * layers * pairs * shape.heads * self._width()
            elements += layers * span * shape.kv_elements
        parts = self.split.tensor
        cache = 1 if shape.latent else min(parts, shape.kv_heads)
        kv = BITS[self.deployment.formats.kv] / 8
        stage = self.sequences / self.split.pipeline
        return Operator("attention", flops * stage / parts, "bf16", elements * kv * stage / cache)

    def _width(self):
        """Multiply-accumulates of a head for a pair of tokens."""
        if self.shape.latent is None:
            return 2 * self.shape.head_dim
        low = self.shape.latent
        if self.step.tokens == 1:
            return 2 * low.kv + low.rope
        return low.nope + low.rope + low.value

    def experts(self):
        """Routed and shared experts, with what they exchange."""
        shape, split, mixture = self.shape, self.split, self.shape.experts
        layers = shape.expert_layers / split.pipeline
        groups = split.experts / split.tensor
        rows = self.rows * groups
        pairs = ((shape.hidden, 2 * mixture.intermediate), (mixture.intermediate, shape.hidden))
        weights = touched(mixture.count, mixture.active, rows) * shape.expert
        activations = rows * mixture.active * sum(i + o for i, o in pairs) * ACTIVATION
        bits = self.deployment.formats.bits("weights")
        yield Operator(
            "experts",
            flops=2 * rows * mixture.active * shape.expert * layers / split.experts,
            compute=self.deployment.formats.compute,
            bytes=(weights * bits / 8 + activations) * layers / split.experts,
        )
        if mixture.shared:
            yield self._dense("shared experts", pairs * mixture.shared, layers)
        if groups > 1:
            moved = self.rows * mixture.active * shape.hidden * ACTIVATION * (1 - 1 / groups)
            yield Operator("exchange of experts", link_bytes=2 * moved * layers, messages=2 * layers)

    def vector(self):
        """Norms, residuals, rotations and activation functions, each reading and writing memory."""
        shape, mixture = self.shape, self.shape.experts
        wide = shape.intermediate * (shape.layers - shape.expert_layers)
        if mixture is not None:
            wide += mixture.intermediate * (mixture.active + mixture.shared) * shape.expert_layers
        rotated = sum(outputs for _, outputs in shape.attention_products[:1]) * shape.layers
        narrow = 8 * shape.hidden * shape.layers
        elements = narrow + (2 * rotated + (2 + shape.gated) * wide) / self.split.tensor
        return Operator("norms", bytes=self.rows * elements * ACTIVATION / self.split.pipeline)

    def all(self):
        """Every operator, once."""
        shape, split = self.shape, self.split
        dense = (shape.layers - shape.expert_layers) / split.pipeline
        yield self._dense("attention weights", shape.attention_products, self.layers)
        yield self.attention()
        if dense:
            inner = (1 + shape.gated) * shape.intermediate
            pairs = (shape.hidden, inner), (shape.intermediate, shape.hidden)
            yield self._dense("feed-forward", pairs, dense)
        if shape.experts is not None:
            yield from self.experts()
        yield self.vector()
        if shape.vocab:
            yield self._dense("output", ((shape.hidden, shape.vocab),), 1 / split.pipeline, self.sequences)
        if split.tensor > 1:
            part = 2 * (split.tensor - 1) / split.tensor * self.rows * shape.hidden * ACTIVATION
            yield Operator("all-reduces", link_bytes=2 * part * self.layers, messages=4 * self.layers)
        if split.pipeline > 1:
            yield Operator("stages", link_bytes=self.rows * shape.hidden * ACTIVATION, messages=1)


def operators(deployment, step):
    """The :class:`Operator`\\ s of a chip in a :class:`Pass` through its stage."""
    return list(_Model(deployment, step).all())
