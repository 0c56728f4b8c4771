"""What a model is to the rest of the software: a configuration, tensors in their stored grid and a
tokenizer."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from poblano.config import BLOCK
from poblano.formats.element import Activation
from poblano.formats.scale_reference import read_scale

from .arch import FAMILIES
from .capacity import Capacity
from .config import ModelConfig, ModelError
from .experts import Experts
from .operators import Embedding, Head, Step

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

__all__ = ["BlockTensor", "MX_FORMATS", "Model", "interleaved_rows", "rows_of"]

MX_FORMATS = {form.name.lower(): form for form in Activation if form.mx}
"""The formats whose scales are powers of two, by name: the numbers are the same in weights and
activations."""


@dataclass(frozen=True, eq=False)
class BlockTensor:
    """A weight matrix (N out, K in) in its stored grid: blocks of 32 along K; element = q * scale (+
    minimum).

    ``format`` q4_1: ``q`` uint8 0..15 with ``minimum``; q4_0: int8 -8..7; q8_0: int8. ``scale`` and
    ``minimum`` are float16 (N, K/32); ``scale`` is float32 of 11 significant bits where float16 does not
    hold it. One of :data:`MX_FORMATS`: ``q`` are codes, uint8 (mxint8: int8, in
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
            else form.element.values(self.q) * 2.0 ** (form.quantum - form.element.format.quantum)
        )
        values = (
            values.reshape(n, k // BLOCK, BLOCK).astype(np.float32) * self.scale.astype(np.float32)[..., None]
        )
        if self.minimum is not None:
            values += self.minimum.astype(np.float32)[..., None]
        return values.reshape(n, k)

    @classmethod
    def joined(cls, parts):
        """The rows of several tensors in one."""
        minima = [part.minimum for part in parts if part.minimum is not None]
        return cls(
            parts[0].format,
            np.concatenate([part.q for part in parts]),
            np.concatenate([part.scale for part in parts]),
            np.concatenate(minima) if minima else None,
        )

    def as_q8_0(self):
        """A tensor in MXFP4 exactly in q8_0: its elements are 0 to 12 halves. ValueError for a block that has
        no such scale."""
        element = MX_FORMATS[self.format].element
        q = np.ldexp(element.values(self.q), 1).astype(np.int8)
        scale = np.where(q.reshape(*self.scale.shape, BLOCK).any(-1), self.scale / 2, 0).astype(np.float32)
        with np.errstate(over="ignore"):
            halves = scale.astype(np.float16)
        if (halves == scale).all():
            return BlockTensor("q8_0", q, halves)
        if (read_scale(scale) != scale).any():
            raise ValueError("a block's scale is below 2**-55, which q8_0 does not hold")
        return BlockTensor("q8_0", q, scale)

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

    RoPE rotates neighbouring elements 2i and 2i+1. :attr:`graph` says what is computed with the tensors.
    ``stored`` has the type of each tensor in the file that it was read from, as ``Q4_K`` or ``BF16``.
    ``capacity`` is that of its experts, which no file has.
    """

    config: ModelConfig
    tensors: dict
    tokenizer: "Tokenizer"
    stored: dict[str, str] = field(default_factory=dict)
    capacity: Capacity | None = None

    @classmethod
    def of_file(cls, where, config, tensors, tokenizer, *, halves, stored):
        """The checked model of a file's tensors, whose heads RoPE rotates by ``halves`` or by neighbours.

        Nothing is listed or computed for sizes that its tensors can't have.
        """
        if config.layers > len(tensors):
            raise ModelError(f"{where}: {config.layers} layers, but only {len(tensors)} tensors")
        largest = max(max(tensor.shape, default=1) for tensor in tensors.values())
        for name in ("dim", "heads", "kv_heads", "head_dim", "ffn_dim", "vocab"):
            if getattr(config, name) > largest:
                raise ModelError(
                    f"{where}: {name} is {getattr(config, name)}; no tensor has more than {largest} rows or "
                    "columns"
                )
        split = FAMILIES[config.architecture].split
        parts = {name: split(config, {name: tensor}) for name, tensor in tensors.items()}
        stored = {part: stored[name] for name in parts for part in parts[name]}
        tensors = {part: tensor for found in parts.values() for part, tensor in found.items()}
        model = cls(config, tensors, tokenizer, stored)
        if halves:
            shapes = model.graph.shapes()
            for name, heads in model.graph.rotated().items():
                if name in tensors and tensors[name].shape == shapes[name]:
                    tensors[name] = rows_of(tensors[name], interleaved_rows(shapes[name][0], heads))
        model.check(where)
        return model

    @cached_property
    def graph(self):
        """The model's :class:`~poblano_host.models.graph.Graph`."""
        graph = FAMILIES[self.config.architecture].graph(self.config)
        return graph if self.capacity is None else graph.with_capacity(self.capacity)

    def with_capacity(self, capacity):
        """The model whose experts have a :class:`~.capacity.Capacity`; :class:`ModelError` if it has none, or
        if they would not have room for all."""
        name, mixtures = self.config.name, self.graph.of(Experts)
        if not mixtures:
            raise ModelError(f"{name} has no experts that could have a capacity")
        for node in mixtures:
            room, choices = node.experts * capacity.rows, node.used * capacity.window
            if room < choices:
                raise ModelError(
                    f"{name}: {capacity.window} tokens choose {choices} experts; {node.experts} experts have "
                    f"room for {room} with a capacity of {capacity.rows}"
                )
        return replace(self, capacity=capacity)

    def shortened(self, layers, *, vocab=None):
        """The model of the first ``layers`` layers and, if ``vocab`` is given, of the first so many tokens;
        ValueError if it has not as many."""
        if not 1 <= layers <= self.config.layers:
            raise ValueError(f"{self.config.name} has {self.config.layers} layers, not {layers}")
        short = replace(self, config=replace(self.config, layers=layers))
        short = replace(short, tensors={name: self.tensors[name] for name in short.graph.shapes()})
        if vocab is None:
            return short
        rows = {node.table for node in self.graph.of(Embedding)} | {
            node.weight for node in self.graph.of(Head)
        }
        tensors = short.tensors | {name: rows_of(self.tensors[name], slice(vocab)) for name in rows}
        config = replace(short.config, vocab=vocab, bos_id=None, eos_id=None)
        return replace(short, config=config, tensors=tensors)

    @property
    def ends(self):
        """The ids of the tokens that end a text or a reply."""
        return self.tokenizer.framing.ends | ({self.config.eos_id} - {None})

    def framed(self, text):
        """The ids of ``text`` with the tokens that the model's files put before and behind it; it may have
        the first itself."""
        framing, ids = self.tokenizer.framing, list(self.tokenizer.encode(text))
        if framing.add_bos and ids[:1] != [self.config.bos_id]:
            ids.insert(0, self.config.bos_id)
        return ids + [self.config.eos_id] * framing.add_eos

    @property
    def output(self):
        """The weight of the projection to logits."""
        (head,) = self.graph.of(Head)
        return self.tensors[head.weight]

    def embed(self, tokens, position=0):
        """float32 (len(tokens), dim): the value of the graph's Embedding at positions ``position`` on."""
        (embedding,) = self.graph.of(Embedding)

        def rows(name, index):
            found = rows_of(self.tensors[name], index)
            return found.dequantise() if isinstance(found, BlockTensor) else found

        tensors = {embedding.table: rows(embedding.table, np.asarray(tokens, dtype=np.int64))}
        if embedding.positions is not None:
            tensors[embedding.positions] = rows(embedding.positions, slice(position, position + len(tokens)))
        return embedding.reference(Step(tokens=np.arange(len(tokens)), tensors=tensors))

    def check(self, where):
        """:class:`ModelError` if a tensor is missing, unknown, of another shape or not finite.

        An unknown tensor (a bias, RoPE's own frequencies, one more layer) would change what the model
        computes.
        """
        if len(self.tokenizer) > self.config.vocab:
            raise ModelError(
                f"{where}: the tokenizer has {len(self.tokenizer)} tokens, the model {self.config.vocab}"
            )
        shapes = self.graph.shapes()
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


def rows_of(tensor, index):
    """The rows ``index`` (anything numpy takes) of a BlockTensor or an array."""
    return tensor.rows(index) if isinstance(tensor, BlockTensor) else tensor[index]


def interleaved_rows(n, heads):
    """The order of a projection's ``n`` rows in which the two elements that RoPE rotates are neighbours, of
    rows in which they are half a head apart."""
    return np.arange(n).reshape(heads, 2, -1).swapaxes(1, 2).ravel()
