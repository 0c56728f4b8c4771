"""The number formats of a model's activations."""

from dataclasses import dataclass

from poblano.formats.element import Activation

from .errors import CompileError
from .weights import choose_activation

__all__ = ["ActivationFormats"]


@dataclass(frozen=True)
class ActivationFormats:
    """``linear``, of the projections, and ``attention``, of Q, the probabilities and the KV caches.

    ``cache_quantum`` is what an element of K and V counts without an E8M0 scale: Q and the probabilities' sum
    take it.
    """

    linear: Activation
    attention: Activation

    @classmethod
    def choose(cls, activations, config):
        """Those named ``activations``: a name for the projections, or a dict of both; None: what the array
        has.

        :class:`CompileError` for what it can't do.
        """
        chosen = dict(activations) if isinstance(activations, dict) else {"linear": activations}
        for part in chosen:
            if part not in ("linear", "attention"):
                raise CompileError(
                    f"unknown part {part!r} of a model; activations have the parts linear and attention"
                )
        linear, wanted = choose_activation(chosen.get("linear"), config), chosen.get("attention")
        if wanted is None and Activation.INT8 not in config.tile.array.arithmetic.activations:
            wanted = linear.name
        attention = choose_activation(wanted, config)
        if attention.element.bits != 8:
            raise CompileError(
                f"the keys of {attention.name} attention would have {attention.element.bits} bits; a "
                "transposed "
                "stream holds elements of a byte"
            )
        return cls(linear, attention)

    @property
    def cache_quantum(self):
        # Without E8M0, MXINT8's elements count as integers.
        return 2.0 ** (self.attention.quantum - self.attention.element.format.quantum)
