"""A model on some chips: its formats, how it is split, and whether it fits."""

from dataclasses import dataclass, replace

from .chips import BITS, Chip
from .errors import MarketError
from .shapes import Shape

__all__ = ["RESERVE", "Deployment", "Formats", "Split"]

RESERVE = 0.1
"""The part of a chip's memory that holds neither weights nor keys and values: activations, code and so on."""


@dataclass(frozen=True)
class Formats:
    """How weights lie in memory, what products are computed in, and how keys and values lie in memory."""

    weights: str
    compute: str
    kv: str

    def bits(self, what):
        return BITS[getattr(self, what)]


@dataclass(frozen=True)
class Split:
    """A model over chips. A layer is split over ``tensor`` chips; ``data`` such groups take other sequences;
    ``expert`` chips of them share the experts (``tensor`` by default); ``pipeline`` stages have other
    layers."""

    tensor: int = 1
    data: int = 1
    expert: int | None = None
    pipeline: int = 1

    def __post_init__(self):
        for name in ("tensor", "data", "expert", "pipeline"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise MarketError(f"impossible split: {name} must be at least 1, not {value}")
        if self.tensor * self.data % self.experts or self.experts % self.tensor:
            raise MarketError(
                f"impossible split: {self.experts} chips that share experts must be a multiple of tensor "
                f"{self.tensor} and divide tensor x data, {self.tensor * self.data}"
            )

    @property
    def experts(self):
        return self.expert or self.tensor

    @property
    def chips(self):
        return self.tensor * self.data * self.pipeline

    def text(self):
        parts = {
            "tensor": self.tensor,
            "data": self.data,
            "expert": self.experts if self.experts > self.tensor else 1,
            "pipeline": self.pipeline,
        }
        return " x ".join(f"{name} {n}" for name, n in parts.items() if n > 1) or "one chip"


@dataclass(frozen=True)
class Deployment:
    """A model (``shape``, with its ``model`` name) on chips of one kind."""

    model: str
    shape: Shape
    chip: Chip
    formats: Formats
    split: Split

    def check(self):
        """Itself; :class:`MarketError` for a split that can't be."""
        shape, split = self.shape, self.split
        wrong = None
        if shape.heads % split.tensor:
            wrong = f"{shape.heads} heads over tensor {split.tensor}"
        elif split.pipeline > shape.layers:
            wrong = f"{shape.layers} layers in {split.pipeline} stages"
        elif split.experts > split.tensor and shape.experts is None:
            wrong = f"{self.model} has no experts to split over {split.experts} chips"
        elif shape.experts is not None and shape.experts.count % split.experts:
            wrong = f"{shape.experts.count} experts over {split.experts} chips"
        elif split.tensor * split.data > self.chip.domain.value:
            wrong = (
                f"tensor x data is {split.tensor * split.data}, and the links of {self.chip.name} join "
                f"{self.chip.domain.value:g} chips"
            )
        if wrong:
            raise MarketError(f"impossible split: {wrong}")
        return self

    @property
    def dense_bits(self):
        """Bits of a weight outside the experts."""
        return BITS[self.shape.outside_experts.get(self.formats.weights, self.formats.weights)]

    @property
    def dense_compute(self):
        return self.shape.outside_experts.get(self.formats.weights, self.formats.compute)

    def weight_bytes(self):
        """Of a chip."""
        split = self.split
        dense = self.shape.dense * self.dense_bits / split.tensor
        routed = self.shape.routed * self.formats.bits("weights") / split.experts
        return (dense + routed) / 8 / split.pipeline

    def kv_bytes(self, tokens):
        """Of a chip for a sequence of so many tokens."""
        elements = sum(layers * span for layers, span in self.shape.spans(tokens)) * self.shape.kv_elements
        shared = 1 if self.shape.latent else min(self.split.tensor, self.shape.kv_heads)
        return elements * self.formats.bits("kv") / 8 / shared / self.split.pipeline

    def room(self, corner="mid"):
        """Bytes of a chip for weights, keys and values."""
        return self.chip.at(corner).memory * (1 - RESERVE)

    def sequences(self, tokens, corner="mid"):
        """The most sequences of so many tokens that fit, of all chips; 0 if none does."""
        left = self.room(corner) - self.weight_bytes()
        return max(0, int(left / self.kv_bytes(tokens))) * self.split.data

    def require(self, sequences, tokens):
        """:class:`MarketError` if they do not fit: by how much, and what would."""
        each = -(-sequences // self.split.data)
        weights, cache = self.weight_bytes(), each * self.kv_bytes(tokens)
        over = weights + cache - self.room()
        if over <= 0:
            return
        gb = lambda size: f"{size / 1e9:,.1f} GB"
        raise MarketError(
            f"{self.model} with weights in {self.formats.weights} does not fit on {self.split.chips} x "
            f"{self.chip.name}: {gb(weights)} of weights and {gb(cache)} of keys and values a chip are "
            f"{gb(over)} more than the {gb(self.room())} that it has for them; {self._remedy(over, cache)}"
        )

    def _remedy(self, over, cache):
        """What would make it fit."""
        split, ways = self.split, []
        tensor = split.tensor
        while tensor * 2 * split.data <= min(self.chip.domain.value, 64) and not ways:
            tensor *= 2
            needed = (self.weight_bytes() + cache) * split.tensor / tensor
            if self.shape.heads % tensor == 0 and needed <= self.room():
                ways.append(f"tensor {tensor} would")
        for name in self.shape.formats:
            narrow = replace(self, formats=replace(self.formats, weights=name))
            if self.weight_bytes() - narrow.weight_bytes() >= over:
                ways.append(f"weights in {name} would")
                break
        if cache >= over:
            ways.append("a smaller batch or context would")
        return ", or ".join(ways) or "no number of its chips that share links would"
