"""The shapes of language models, from their file."""

from typing import Literal

from pydantic import Field

from .facts import DATA, Checked, read

__all__ = ["MODELS", "Shape", "read_shapes"]

MODELS = DATA / "models.toml"
Format = Literal["bf16", "fp8", "int8", "fp4", "mxfp4", "int4"]


class Window(Checked):
    """Layers that attend to the last ``tokens`` only."""

    tokens: int = Field(gt=0)
    layers: int = Field(gt=0)


class Latent(Checked):
    """Attention through low-rank keys and values (DeepSeek's MLA)."""

    query: int = Field(gt=0)
    kv: int = Field(gt=0)
    rope: int = Field(gt=0)
    nope: int = Field(gt=0)
    value: int = Field(gt=0)


class Experts(Checked):
    """A mixture of experts in all layers but the first ``dense_layers``."""

    count: int = Field(gt=0)
    active: int = Field(gt=0)
    intermediate: int = Field(gt=0)
    shared: int = 0
    dense_layers: int = 0


class Shape(Checked):
    """A model's sizes."""

    source: str
    parameters: float
    layers: int = Field(gt=0)
    hidden: int = Field(gt=0)
    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    intermediate: int
    vocab: int
    tied: bool = False
    gated: bool = True
    window: Window | None = None
    latent: Latent | None = None
    experts: Experts | None = None
    outside_experts: dict[str, Format] = {}
    """The format of all other weights where it differs from that of the experts."""
    formats: list[Format] = Field(min_length=1)

    @property
    def expert_layers(self):
        return 0 if self.experts is None else self.layers - self.experts.dense_layers

    @property
    def feed_forward(self):
        """Weights of a dense layer's feed-forward block."""
        return (2 + self.gated) * self.hidden * self.intermediate

    @property
    def expert(self):
        """Weights of an expert."""
        return 0 if self.experts is None else 3 * self.hidden * self.experts.intermediate

    @property
    def attention_products(self):
        """(inputs, outputs) of the products with weights of a layer's attention."""
        if self.latent is None:
            kv = 2 * self.kv_heads * self.head_dim
            queries = self.heads * self.head_dim
            return (self.hidden, queries + kv), (queries, self.hidden)
        low = self.latent
        return (
            (self.hidden, low.query + low.kv + low.rope),
            (low.query, self.heads * (low.nope + low.rope)),
            (low.kv, self.heads * (low.nope + low.value)),
            (self.heads * low.value, self.hidden),
        )

    @property
    def attention(self):
        """Weights of a layer's attention."""
        return sum(inputs * outputs for inputs, outputs in self.attention_products)

    @property
    def kv_elements(self):
        """Elements that a layer caches of a token."""
        if self.latent is None:
            return 2 * self.kv_heads * self.head_dim
        return self.latent.kv + self.latent.rope

    @property
    def routed(self):
        """Weights of all routed experts of all layers."""
        return self.expert_layers * self.expert * self.experts.count if self.experts else 0

    @property
    def dense(self):
        """All other weights: attention, dense layers, shared experts, routers, embeddings and output."""
        weights = self.layers * self.attention + (self.layers - self.expert_layers) * self.feed_forward
        if self.experts is not None:
            weights += self.expert_layers * (
                self.experts.shared * self.expert + self.hidden * self.experts.count
            )
        return weights + (1 if self.tied else 2) * self.vocab * self.hidden

    @property
    def active(self):
        """Weights that a token is multiplied with."""
        chosen = self.experts.active * self.expert * self.expert_layers if self.experts else 0
        return self.dense + chosen - (not self.tied) * self.vocab * self.hidden

    def spans(self, context):
        """(layers, tokens) that attention reads at a context, by kind of layer."""
        if self.window is None:
            return ((self.layers, context),)
        near = min(context, self.window.tokens)
        return (self.layers - self.window.layers, context), (self.window.layers, near)


class ShapeFile(Checked):
    """The file of shapes."""

    models: dict[str, Shape]


def read_shapes(path=MODELS):
    """{name: shape} of a file; :class:`~poblano_market.errors.MarketError` if it is broken."""
    return read(path, ShapeFile).models
