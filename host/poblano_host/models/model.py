"""What a model is to the rest of the software: a configuration, tensors in their stored grid and a
tokenizer."""

from dataclasses import dataclass
import math

import numpy as np

from poblano.formats.element import Activation

__all__ = ["BLOCK", "BlockTensor", "MX_FORMATS", "Model", "ModelConfig", "ModelError", "interleave_rope"]

BLOCK = 32
"""Elements that share a scale, along a row."""
MX_FORMATS = {form.name.lower(): form for form in Activation if form.mx}
"""The formats whose scales are powers of two, by name: the numbers are the same in weights and
activations."""


class ModelError(ValueError):
    """A model that can't be used; one line that names the file and what is wrong."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and constants of a Llama-style decoder (RMSNorm, RoPE, grouped-query attention, SwiGLU)."""

    architecture: str
    name: str
    dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn_dim: int
    vocab: int
    context: int
    rope_base: float
    norm_eps: float
    bos_id: int | None = None
    eos_id: int | None = None

    def check(self, where):
        """:class:`ModelError` if the sizes can't be a model of blocks of 32."""
        for name in ("dim", "layers", "heads", "kv_heads", "head_dim", "ffn_dim", "vocab", "context"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
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

    def shapes(self):
        """The shape (out, in) or (n,) of every tensor that the model must have, by canonical name."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        shapes = {"token_embd.weight": (self.vocab, self.dim), "output_norm.weight": (self.dim,)}
        for n in range(self.layers):
            shapes |= {
                f"blk.{n}.{name}.weight": shape
                for name, shape in {
                    "attn_norm": (self.dim,),
                    "attn_q": (q, self.dim),
                    "attn_k": (kv, self.dim),
                    "attn_v": (kv, self.dim),
                    "attn_output": (self.dim, q),
                    "ffn_norm": (self.dim,),
                    "ffn_gate": (self.ffn_dim, self.dim),
                    "ffn_up": (self.ffn_dim, self.dim),
                    "ffn_down": (self.dim, self.ffn_dim),
                }.items()
            }
        return shapes


@dataclass(frozen=True, eq=False)
class BlockTensor:
    """A weight matrix (N out, K in) in its stored grid: blocks of 32 along K; element = q * scale (+
    minimum).

    ``format`` q4_1: ``q`` uint8 0..15 with ``minimum``; q4_0: int8 -8..7; q8_0: int8. ``scale`` and
    ``minimum`` are float16 (N, K/32). One of :data:`MX_FORMATS`: ``q`` are codes, uint8 (mxint8: int8, in
    64ths), ``scale`` float32 powers of two.
    """

    format: str
    q: np.ndarray
    scale: np.ndarray
    minimum: np.ndarray | None = None

    @property
    def shape(self):
        return self.q.shape

    def dequantise(self):
        """float32 (N, K)."""
        n, k = self.q.shape
        form = MX_FORMATS.get(self.format)
        values = (
            self.q
            if form is None
            else form.element.values(self.q) * 2.0 ** (form.unit - form.element.format.unit)
        )
        values = (
            values.reshape(n, k // BLOCK, BLOCK).astype(np.float32) * self.scale.astype(np.float32)[..., None]
        )
        if self.minimum is not None:
            values += self.minimum.astype(np.float32)[..., None]
        return values.reshape(n, k)

    def rows(self, index):
        """The tensor of the rows ``index`` (anything numpy takes)."""
        return BlockTensor(
            self.format,
            self.q[index],
            self.scale[index],
            None if self.minimum is None else self.minimum[index],
        )


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model. ``tensors`` maps GGUF's canonical names to BlockTensor (matrices) or float32 arrays.

    RoPE rotates neighbouring elements 2i and 2i+1 (GGUF's layout). ``output.weight`` is absent when it is
    tied to ``token_embd.weight``; :attr:`output` is the one that applies.
    """

    config: ModelConfig
    tensors: dict
    tokenizer: object

    @property
    def output(self):
        return self.tensors.get("output.weight", self.tensors["token_embd.weight"])

    def embed(self, tokens):
        """float32 (len(tokens), dim) embedding rows."""
        rows = self.tensors["token_embd.weight"]
        index = np.asarray(tokens, dtype=np.int64)
        return rows.rows(index).dequantise() if isinstance(rows, BlockTensor) else rows[index]

    def check(self, where):
        """:class:`ModelError` if a tensor is missing, unknown, of another shape or not finite.

        An unknown tensor (a bias, RoPE's own frequencies, one more layer) would change what the model
        computes.
        """
        self.config.check(where)
        if len(self.tokenizer) > self.config.vocab:
            raise ModelError(
                f"{where}: the tokenizer has {len(self.tokenizer)} tokens, the model {self.config.vocab}"
            )
        shapes = self.config.shapes()
        if "output.weight" in self.tensors:
            shapes["output.weight"] = (self.config.vocab, self.config.dim)
        for name, shape in shapes.items():
            if name not in self.tensors:
                raise ModelError(f"{where}: tensor {name} is missing")
            if self.tensors[name].shape != shape:
                raise ModelError(f"{where}: tensor {name} has shape {self.tensors[name].shape}, not {shape}")
        for name, tensor in self.tensors.items():
            if name not in shapes:
                raise ModelError(f"{where}: unknown tensor {name}")
            parts = (tensor.scale, tensor.minimum) if isinstance(tensor, BlockTensor) else (tensor,)
            if not all(np.isfinite(part).all() for part in parts if part is not None):
                raise ModelError(f"{where}: tensor {name} has elements that are not finite")


def interleave_rope(matrix, heads):
    """Rows of a projection from Hugging Face's layout (halves rotate) to GGUF's (neighbours rotate)."""
    n, k = matrix.shape
    return matrix.reshape(heads, 2, n // heads // 2, k).swapaxes(1, 2).reshape(n, k)
