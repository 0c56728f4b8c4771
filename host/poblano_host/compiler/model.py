"""Compiles a model for a chip: the memory image once, a program for each shape of a step, patched for each
step.

Work is split over tiles by columns (projections), by tokens (norms, the residual, attention of several
tokens) and by heads (attention of one token). The order along K and of every reduction depends neither on
the split nor on the other tokens of a step: the same tokens give the same bits in steps of any length on
any configuration.
"""

import numpy as np

from poblano.isa.vector_ops import NO_LIMIT

from ..models.padding import padded_heads
from .assemble import COMPILED_LAYERS, assemble
from .builder import Builder
from .errors import CompileError
from .formats import ActivationFormats
from .image import align
from .lower import lower_graph
from .memory import ModelMemory
from .plan import SPAN, Plan, Shape
from .program import Program
from .sizes import Sizes
from .work import Work

__all__ = ["CompiledModel"]

TOKENS = (256, 192, 128, 112, 96, 80, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
"""Lengths of the longest step that are tried."""
RINGS = (1 << 16, 1 << 17, 1 << 18)
"""Commands of the command ring: the least of these that holds a step."""
SURELY = 512
"""Layers times tokens whose commands the least ring surely holds."""
WAITING = 0.1
"""Commands that are added for their waits alone, at most, of all others."""


class CompiledModel:
    """A model for a chip: the memory image and, by :meth:`step`, the programs.

    Parameters
    ----------
    model : Model; float matrices are quantised to q8_0 (to an MX format on an array without INT8 weights),
        and heads are padded to blocks of 32.
    config : ChipConfig
    context : positions of the KV caches; the model's, at most 2048, by default.
    activations : the format of the activations, see :class:`.formats.ActivationFormats`

    Members
    -------
    image : list of (address, bytes) to write once; everything else up to ``memory_bytes`` starts at zero.
    memory_bytes : size of the memory, the ring at its end included.
    ring : (address, commands) of the command ring.
    max_tokens : the most tokens of a :meth:`step`.

    Raises :class:`CompileError`.
    """

    def __init__(self, model, config, *, context=None, activations=None):
        self.model, self.config, c = padded_heads(model), config, model.config
        self.formats = ActivationFormats.choose(activations, config)
        self.sizes = Sizes.of(self.model, config)
        self.context = min(c.context, 2048) if context is None else context
        if not 1 <= self.context < NO_LIMIT - 2 * config.tile.array.rows:
            raise CompileError(
                f"{c.name}: a context of {self.context} positions; vectors hold at most {NO_LIMIT - 1}"
            )
        self._plans, self._templates = {}, {}
        self.max_tokens = self._fit()
        self.memory = ModelMemory(
            self.model, self.sizes, config, context=self.context, tokens=self.max_tokens
        )
        self.max_tokens, commands = self._fit_ring()
        address, self.memory_bytes = self.memory.place_ring(commands)
        self.image, self.ring = self.memory.pieces, (address, commands)

    @property
    def vocab_stride(self):
        """Bytes from a token's logits to the next token's in memory."""
        return self.memory.vocab_stride

    def step(self, tokens, position, *, logits="last"):
        """The program that runs ``tokens`` (token ids) at positions ``position`` on, given all before were
        run.

        ``logits``: "last" (and the argmax of the last token), "all", or "none".
        """
        tokens = list(tokens)
        if not 1 <= len(tokens) <= self.max_tokens:
            raise CompileError(f"a step takes 1 to {self.max_tokens} tokens, not {len(tokens)}")
        if position < 0 or position + len(tokens) > self.context:
            raise CompileError(
                f"positions {position} to {position + len(tokens) - 1} pass the context of {self.context}"
            )
        if logits not in ("last", "all", "none"):
            raise ValueError(f"logits must be last, all or none, not {logits!r}")
        shape = self._shape(len(tokens), position, logits)
        template, results, work = self._template(shape)
        code = template.bind({symbol: self._value(symbol, position) for symbol in template.symbols})
        embedded = np.ascontiguousarray(self.model.embed(tokens, position), np.float32)
        return Program(code, [(self.memory.input, embedded.tobytes())], work=work.at(position), **results)

    def work(self, count, position, *, logits="last"):
        """The least work of a step of ``count`` tokens: what its program's ``work`` says."""
        return Work(self.memory, self._shape(count, position, logits)).at(position)

    def _shape(self, count, position, logits):
        """The :class:`.plan.Shape` of a step: the least bucket of contexts that holds it.

        Buckets are powers of two of granules up to a span, then whole spans; where windows alone are attended
        to, powers of two.
        """
        end, granule = position + count, self.sizes.key_granule
        spanned = None in self.sizes.windows
        if count == 1 and (end <= SPAN or not spanned):
            context = min(self.context, SPAN) if spanned else self.context
            if self._plan(Shape(1, 0, context, logits)).buffers >= 2:
                return Shape(1, 0, context, logits)
        if end > SPAN and spanned:
            context = min(self.context, align(end, SPAN))
        else:
            buckets = (granule << n for n in range(32))
            context = min(self.context, next(bucket for bucket in buckets if bucket >= end))
        return Shape(count, position % self.config.tile.array.cols if count > 1 else 0, context, logits)

    def _plan(self, shape):
        key = shape.count, shape.context
        if key not in self._plans:
            self._plans[key] = Plan(self.sizes, shape, self.config)
        return self._plans[key]

    def _fit(self):
        """The most tokens for which there is room."""
        for tokens in TOKENS:
            if tokens <= self.config.tile.tokens:
                try:
                    self._plan(Shape(tokens, 0, self.context, "last"))
                except CompileError as problem:
                    error = problem
                else:
                    return tokens
        raise error

    def _fit_ring(self):
        """(the most tokens, or fewer, commands of the ring that holds theirs), as far as a layer's commands
        tell."""
        layers = len(self.model.graph.layers)
        if layers * self.max_tokens <= SURELY:
            return self.max_tokens, RINGS[0]
        for tokens in (n for n in TOKENS if n <= self.max_tokens):
            shape = Shape(tokens, 0, self.context, "none")
            first, second = (len(self._lower(shape, n).builder.ops) for n in (1, 2))
            needed = (first + (layers - 1) * (second - first)) * (1 + WAITING)
            if needed <= RINGS[-1]:
                break
        return tokens, next((ring for ring in RINGS if ring >= needed), RINGS[-1])

    def _template(self, shape):
        """(:class:`.template.Template`, what a program leaves in memory, :class:`.work.Work`) of a shape."""
        if shape not in self._templates:
            self._templates[shape] = self._compile(shape)
        return self._templates[shape]

    def _compile(self, shape):
        layers = len(self.model.graph.layers)
        alike = layers > COMPILED_LAYERS and self.memory.alike
        template = None
        if alike:
            step = self._lower(shape, COMPILED_LAYERS)
            template = assemble(step.builder, copies=layers - COMPILED_LAYERS, pitch=self.memory.pitch_at)
        if template is None:
            step = self._lower(shape, layers)
            template = assemble(step.builder)
        if len(template.words) > self.ring[1]:
            raise CompileError(
                f"{self.sizes.name}: a step has {len(template.words)} commands; the ring holds {self.ring[1]}"
            )
        return template, step.results, Work(self.memory, shape)

    def _lower(self, shape, layers):
        """The state after lowering the first ``layers`` layers of the graph, and what is around them."""
        plan = self._plan(shape)
        last = shape.context - shape.count  # the largest position
        cols, granule = self.config.tile.array.cols, self.sizes.key_granule
        bounds = _Bounds(lambda symbol: symbol.most(last, cols, granule))
        return lower_graph(shape, plan, self.memory, Builder(self.config, bounds), self.formats, layers)

    def _value(self, symbol, position):
        """What a symbol stands for in a step from ``position`` on."""
        return symbol.value(position, self.config.tile.array.cols, self.sizes.key_granule)


class _Bounds(dict):
    """The largest values of symbols, computed when they are asked for."""

    def __init__(self, value):
        self._value = value

    def __missing__(self, symbol):
        self[symbol] = self._value(symbol)
        return self[symbol]
