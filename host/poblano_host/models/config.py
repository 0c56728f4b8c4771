"""A model's sizes and constants, and where files keep them; the error for models that can't be used."""

from dataclasses import asdict, dataclass, field, fields
import math

from poblano.config import BLOCK

from .errors import ModelError
from .rope import RopeScaling

__all__ = ["REQUIRED", "ModelConfig", "ModelError", "stored", "stored_fields"]

REQUIRED = object()
"""The default of a constant that has none."""
HEAD_UNIT, HEAD_MOST = 8, 256
"""Elements of a head: a multiple of the first, at most the second."""


def stored(gguf, hugging_face, default=REQUIRED):
    """A field of a configuration that files state: its key in GGUF, after the architecture's name, and in
    ``config.json``; None where a file of the kind has none.

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
    rope: RopeScaling = RopeScaling()

    def check(self, where):
        """:class:`ModelError` if the sizes can't be a model of blocks of 32."""
        for name in ("dim", "layers", "heads", "kv_heads", "head_dim", "ffn_dim", "vocab", "context"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:  # True is no size
                raise ModelError(f"{where}: {name} is {value!r}")
        for name in (stored.name for stored in stored_fields(type(self)) if stored.type is float):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ModelError(f"{where}: {name} is {value!r}")
        for name in ("bos_id", "eos_id"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and 0 <= value < self.vocab):
                raise ModelError(f"{where}: {name} is {value!r}, not a token of the {self.vocab}")
        for name, unit in (("dim", BLOCK), ("head_dim", HEAD_UNIT), ("ffn_dim", BLOCK)):
            value = getattr(self, name)
            if value % unit:
                raise ModelError(f"{where}: {name} {value} is not a multiple of {unit}")
        if self.head_dim > HEAD_MOST:
            raise ModelError(f"{where}: head_dim {self.head_dim} is more than {HEAD_MOST}")
        if self.heads % self.kv_heads:
            raise ModelError(f"{where}: {self.heads} heads do not divide among {self.kv_heads} KV heads")
        self.rope.check(where, self.rope_base, self.head_dim)

    def unsaid(self, form):
        """The names of the fields that files of a ``form`` can't state, and that are not as they assume."""
        known, found = asdict(self), []
        for each in stored_fields(type(self)):
            default = each.metadata["default"]
            if each.metadata[form] is None and known[each.name] != (
                default(known) if callable(default) else default
            ):
                found.append(each.name)
        return found

    @property
    def frequencies(self):
        """RoPE's frequencies of half a head, in radians."""
        return self.rope.frequencies(self.rope_base, self.head_dim)
