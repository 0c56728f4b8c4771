"""What becomes of a file's matrices on a chip: the stored type, the format there, and what is rounded."""

from collections import Counter
from dataclasses import dataclass

import gguf

from ..models.gguf_types import TYPES
from ..models.model import BlockTensor
from .weights import weight_format

__all__ = ["Conversion", "conversions"]


@dataclass(frozen=True)
class Conversion:
    """``count`` matrices of the type ``stored`` are ``held`` in a format; ``rule``: "exact", "quantised", or
    what is rounded."""

    stored: str
    held: str
    rule: str
    count: int

    def __str__(self):
        matrices = f"{self.count} matri{'x' if self.count == 1 else 'ces'} of {self.stored}"
        are = "is" if self.count == 1 else "are"
        if self.rule == "quantised":
            return f"{matrices} {are} quantised to {self.held}"
        return f"{matrices} {are} held as {self.held}: {self.rule}"


def _conversion(stored, tensor, config):
    held = weight_format(tensor, config)
    kinds = gguf.GGMLQuantizationType.__members__
    known = TYPES.get(kinds[stored]) if stored in kinds else None
    own = tensor.format if isinstance(tensor, BlockTensor) else None
    if known is None:
        return own or "F32", held, "quantised" if own is None else "exact"
    return stored, held, known.rule if known.format == own else "quantised"


def conversions(model, config):
    """The :class:`Conversion` s of a Model's matrices, most first."""
    found = Counter(
        _conversion(model.stored.get(name), tensor, config)
        for name, tensor in model.tensors.items()
        if len(tensor.shape) == 2
    )
    return [Conversion(stored, held, rule, count) for (stored, held, rule), count in found.most_common()]
