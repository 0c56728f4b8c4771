"""A model's sizes and constants, and where files keep them; the error for models that can't be used."""

from dataclasses import dataclass, field, fields
import math

from poblano.config import BLOCK

__all__ = ["REQUIRED", "ModelConfig", "ModelError", "stored", "stored_fields"]

REQUIRED = object()
"""The default of a constant that has none."""


class ModelError(ValueError):
    """A model that can't be used; one line that names the file and what is wrong."""


def stored(gguf, hugging_face, default=REQUIRED):
    """A field of a configuration that files state: its key in GGUF, after the architecture's name, and in
    ``config.json``.

    ``default`` is its value where it is absent, or a function of the fields before it (a dict).
    """
    return field(metadata=dict(gguf=gguf, hugging_face=hugging_face, default=default))


def stored_fields(config_type):
    """The fields of a configuration that files state, as dataclass fields."""
    return [field for field in fields(config_type) if field.metadata]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and constants of a decoder; ``tied``: the output projection is the embedding.

    A family whose models have more of them derives from it.
    """

    architecture: str
    name: str
    vocab: int
    dim: int = stored("embedding_length", "hidden_size")
    layers: int = stored("block_count", "num_hidden_layers")
    heads: int = stored("attention.head_count", "num_attention_heads")
    kv_heads: int = stored("attention.head_count_kv", "num_key_value_heads", lambda c: c["heads"])
    head_dim: int = stored("attention.key_length", "head_dim", lambda c: c["dim"] // c["heads"])
    ffn_dim: int = stored("feed_forward_length", "intermediate_size")
    context: int = stored("context_length", "max_position_embeddings")
    rope_base: float = stored("rope.freq_base", "rope_theta", 10000.0)
    norm_eps: float = stored("attention.layer_norm_rms_epsilon", "rms_norm_eps")
    bos_id: int | None = None
    eos_id: int | None = None
    tied: bool = True

    def check(self, where):
        """:class:`ModelError` if the sizes can't be a model of blocks of 32."""
        for name in ("dim", "layers", "heads", "kv_heads", "head_dim", "ffn_dim", "vocab", "context"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:  # True is no size
                raise ModelError(f"{where}: {name} is {value!r}")
        for name in ("rope_base", "norm_eps"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ModelError(f"{where}: {name} is {value!r}")
        for name in ("bos_id", "eos_id"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and 0 <= value < self.vocab):
                raise ModelError(f"{where}: {name} is {value!r}, not a token of the {self.vocab}")
        for name in ("dim", "head_dim", "ffn_dim"):
            value = getattr(self, name)
            if value % BLOCK:
                raise ModelError(f"{where}: {name} {value} is not a multiple of {BLOCK}")
        if self.heads % self.kv_heads:
            raise ModelError(f"{where}: {self.heads} heads do not divide among {self.kv_heads} KV heads")
