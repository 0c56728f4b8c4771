"""SmolLM3 (Hugging Face, 2025): Llama of which every fourth layer knows no positions."""

from dataclasses import dataclass

from ..config import ModelConfig, ModelError, stored
from ..graph import GraphBuilder
from .family import NAMES, Family, per_layer, plain_hugging_face
from .parts import attention, gated_network
from .qwen2 import UNUSED_WINDOW, plain_window

__all__ = ["FAMILY"]

INTERVAL = 4


@dataclass(frozen=True, kw_only=True)
class SmolLM3Config(ModelConfig):
    interval: int = stored(None, "no_rope_layer_interval", INTERVAL)

    def check(self, where):
        super().check(where)
        if type(self.interval) is not int or self.interval < 1:
            raise ModelError(f"{where}: no_rope_layer_interval is {self.interval!r}")


def graph(c):
    b = GraphBuilder()
    x = b.embedding("token_embd", c.vocab, c.dim)
    for n in b.layers(c.layers):
        y = b.norm("attn_norm", x, eps=c.norm_eps)
        frequencies = None if (n + 1) % c.interval == 0 else c.frequencies
        y = attention(b, c, y, frequencies=frequencies, rope_scale=c.rope.attention)
        x = b.residual("attn_residual", x, b.linear("attn_output", y, c.dim))
        y = b.norm("ffn_norm", x, eps=c.norm_eps)
        x = b.residual("ffn_residual", x, gated_network(b, c, y))
    x = b.norm("output_norm", x, eps=c.norm_eps)
    b.head("output", x, c.vocab, weight="token_embd.weight" if c.tied else "output.weight")
    return b.graph()


def rotating(c):
    """For each layer 1, or 0 if it does not rotate."""
    return per_layer(c, lambda n: int((n + 1) % c.interval != 0))


FAMILY = Family(
    name="smollm3",
    graph=graph,
    config_type=SmolLM3Config,
    names=NAMES,
    hugging_face=lambda c: plain_hugging_face(c) | plain_window(c) | {"no_rope_layers": rotating(c)},
    ignored=UNUSED_WINDOW,
    gguf_halves=False,
    tied=True,
)
