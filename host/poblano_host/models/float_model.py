"""The float reference: interprets a model's graph in numpy float32 on the dequantised weights."""

import numpy as np

from .latent_attention import LatentAttention
from .model import BlockTensor
from .operators import Attention, Linear, Step

__all__ = ["FloatModel"]


class FloatModel:
    """``forward`` gives the logits of a batch of positions; keys and values of earlier calls are kept.

    Parameters
    ----------
    model : Model
    rounding : applied to the inputs of the projections (n, K), if given: what quantised activations alone
        would do
    """

    def __init__(self, model, *, rounding=None):
        self._round = (lambda x: x) if rounding is None else rounding
        self.config, self.graph = model.config, model.graph
        self._tensors = {
            name: t.dequantise() if isinstance(t, BlockTensor) else t for name, t in model.tensors.items()
        }
        attention = self.graph.of((Attention, LatentAttention))
        self._caches = {node.name: node.cache(self.config.context) for node in attention}

    def forward(self, tokens, start=0, *, prompt=0):
        """float32 logits (len(tokens), vocab) of ``tokens`` at positions ``start`` on."""
        return self.value(self.graph.nodes[-1].name, tokens, start, prompt=prompt)

    def value(self, name, tokens, start=0, *, prompt=0):
        """float32 (len(tokens), width): the graph's value ``name`` for ``tokens`` at positions ``start`` on.
        The first ``prompt`` positions are the prompt's, where experts have a capacity; ``start`` is there
        where a window begins.

        ValueError if there is no such value or the positions pass the context. Keys and values are kept of
        the layers up to this value.
        """
        self.graph.node(name)
        if start + len(tokens) > self.config.context:
            raise ValueError(
                f"positions {start} to {start + len(tokens) - 1} pass the context of {self.config.context}"
            )
        step = Step(
            tokens=np.asarray(tokens), start=start, prompt=prompt, tensors=self._tensors, caches=self._caches
        )
        values = {}
        for node in self.graph.nodes:
            inputs = [values[value] for value in node.inputs]
            if isinstance(node, Linear):
                inputs = [self._round(value) for value in inputs]
            values[node.name] = node.reference(step, *inputs)
            if node.name == name:
                return values[name]
            for value in set(node.inputs):  # what nobody reads any more is dropped
                if self.graph.consumers(value)[-1] is node:
                    del values[value]
