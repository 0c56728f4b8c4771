"""What each number format can hold, what it costs, and its error on a
model's layer."""

from dataclasses import dataclass

import numpy as np

from poblano.compute.reference import matmul
from poblano.formats.element import FORMATS, Activation, Arithmetic, Element
from poblano.vector.reference import quantise
from poblano_host.compiler.weights import FORMATS as STORED
from poblano_host.models import BlockTensor, FloatModel
from poblano_host.models.quantise import QUANTISERS

from .area import measure

__all__ = ["Format", "Layer", "all_formats", "layer_error", "pair_widths", "width_table"]

TEXT = """\
The processor reads the weights of a model from its memory, block by block, and multiplies them with the \
activations of every token that it works on. What is small enough to be kept beside the array is read \
once; what is not is read again and again, and so the number of bits of a weight decides how many words \
a second the model can say."""
WEIGHTS = {"int8": "q8_0", "int4": "q4_1"}
"""The stored grid of a format that is not its own."""


@dataclass(frozen=True)
class Format:
    """A format as the table shows it: magnitudes are those of its elements, without the block's scale."""

    name: str
    bits: int
    scales: tuple
    largest: float
    smallest: float
    specials: str
    sum_width: int
    """Bits of the exact sum of 32 products with itself, of INT4 with INT8."""
    macs: str
    pe_luts: int | None = None
    """LUT4s of a processing element for this format alone (INT4: with INT8) on ECP5 without DSP blocks."""
    error: float | None = None
    """Relative RMS error of a layer's product in this format, of INT4 with INT8 activations."""


@dataclass(frozen=True)
class Layer:
    """A matrix (N, K) of a model and the activations (tokens, K) that it multiplies."""

    name: str
    weights: np.ndarray
    activations: np.ndarray

    @classmethod
    def of(cls, model):
        """Of the model's middle layer, ``ffn_up`` and its input of :data:`TEXT`."""
        layer = model.config.layers // 2
        tokens = list(model.tokenizer.encode(TEXT))[: model.config.context]
        up = model.graph.node(f"layer{layer}.ffn_up")
        matrix = model.tensors[up.weight]
        weights = matrix.dequantise() if isinstance(matrix, BlockTensor) else matrix
        return cls(
            f"{model.config.name}, blk.{layer}.ffn_up, {len(tokens)} tokens",
            weights,
            FloatModel(model).value(up.inputs[0], tokens),
        )


def layer_error(layer, weights, activation):
    """RMS error over RMS of the chip's product against float64: weights in the grid ``weights``, an
    Activation."""
    w, stored = QUANTISERS[weights](layer.weights), STORED[weights]
    codes, scales, totals = quantise(layer.activations, activation)
    product = matmul(
        codes,
        scales,
        totals,
        w.q.T,
        w.scale.T,
        None if w.minimum is None else w.minimum.T,
        activation=activation,
        element=stored["element"],
        scale_format=stored["scale"],
    )
    exact = layer.activations.astype(np.float64) @ layer.weights.astype(np.float64).T
    return float(np.sqrt(np.square(product - exact).mean() / np.square(exact).mean()))


def all_formats(layer=None, *, area=False):
    """A list of :class:`Format`, with errors if there is a :class:`Layer`, with LUTs if ``area`` (some
    seconds of synthesis)."""
    result = []
    for name, (activation, elements) in FORMATS.items():
        used, element = Activation.INT8 if activation is None else activation, elements[0]
        form = element.format
        quantum = used.quantum if activation is not None else form.quantum
        largest = activation.largest if activation is not None else max(e.format.largest for e in elements)
        specials = "NaN, infinities" if form.infinity else "NaN" if form.nan else "none"
        scales = (
            ("E8M0",) if used.mx else ("F16, F32",) if activation is not None else ("F16, F32", "F16 minimum")
        )
        result.append(
            Format(
                name=name,
                bits=form.bits,
                scales=scales,
                largest=float(np.ldexp(float(largest), quantum)),
                smallest=2.0**quantum,
                specials=specials,
                sum_width=max(Arithmetic.pair_width(used, e) for e in elements),
                macs="1, or 2 with fp4_rate 2" if form.bits == 4 else "1",
                pe_luts=measure((name,) if activation is not None else ("int8", name), "ecp5").luts
                if area
                else None,
                error=None if layer is None else layer_error(layer, WEIGHTS.get(name, name), used),
            )
        )
    return result


def pair_widths():
    """{activation format: {element: bits of the exact sum of 32 products}}, of every pair."""
    return {a.name: {e.format.name: Arithmetic.pair_width(a, e) for e in Element} for a in Activation}


def width_table():
    """:func:`pair_widths` as a table of Markdown."""
    lines = [["", *(e.format.name for e in Element)], ["---"] * (len(Element) + 1)]
    lines += [[name, *map(str, widths.values())] for name, widths in pair_widths().items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
