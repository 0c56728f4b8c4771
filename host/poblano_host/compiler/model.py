"""Compiles a model for a chip: the memory image once, a program for each shape of a step, patched for each
step.

Work is split over tiles by columns (projections), by tokens (norms, the residual, attention of several
tokens) and by heads (attention of one token). The order along K and of every reduction depends neither on
the split nor on the other tokens of a step: the same tokens give the same bits in steps of any length on
any configuration.
"""

from dataclasses import dataclass, replace

import numpy as np

from poblano.isa.vector_ops import NO_LIMIT

from ..models.padding import padded_heads
from ..models.plain_latents import plain_latents
from .assemble import COMPILED_LAYERS, assemble
from .builder import Builder
from .errors import CompileError
from .formats import ActivationFormats
from .halves import halves
from .image import align
from .lower import lower_graph, lower_halves
from .memory import ModelMemory
from .plan import SPAN, Part, Plan, Shape
from .program import Program
from .sizes import Sizes
from .symbols import Kind
from .work import Work

__all__ = ["Chunk", "CompiledModel"]

TOKENS = (256, 192, 128, 112, 96, 80, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
"""Lengths of the longest step that are tried."""
RINGS = (1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20)
"""Commands of the command ring: the least of these that holds a step."""
SURELY = 512
"""Layers times tokens, or spans of single tokens, whose commands the least ring surely holds."""
ROWS = {"last": 1, "all": -1, "none": 0}
"""Rows of logits by their names."""
WAITING = 0.1
"""Commands that are added for their waits alone, at most, of all others."""


@dataclass(frozen=True)
class Chunk:
    """Tokens (ids) of the sequence whose caches are number ``slot``, at ``position`` and those after it. The
    first ``prompt`` of them are of a prompt, and begin a window where experts have a capacity; nothing else
    depends on it."""

    slot: int
    position: int
    tokens: tuple
    prompt: int = 0


class CompiledModel:
    """A model for a chip: the memory image and, by :meth:`step`, the programs.

    Parameters
    ----------
    model : Model; float matrices are quantised to q8_0 (to an MX format on an array without INT8 weights),
        heads are padded to blocks of 32, and latent attention becomes common attention.
    config : ChipConfig
    context : positions of the KV caches; the model's, at most 2048, by default.
    slots : sequences that have KV caches, each of its own
    pages : of a chip with page tables, the most pages that all sequences have together; by default enough for
        whole contexts. If memory has no room for so many there are fewer, but at least those of one context.
    activations : the format of the activations, see :class:`.formats.ActivationFormats`
    tokens : the most tokens of a step, if not as many as there is room for

    Members
    -------
    image : list of (address, bytes) to write once; everything else up to ``memory_bytes`` starts at zero.
    memory_bytes : size of the memory, the ring at its end included.
    ring : (address, commands) of the command ring.
    pages : the :class:`.memory.PageRoom` of a chip with page tables, else None
    page_positions : positions of a page; without page tables a sequence has one page
    max_tokens : the most tokens of a :meth:`step`.
    window : tokens of a prompt that are in one step, the first at a multiple of it: those of a window where
        experts have a capacity, else 1

    Raises :class:`CompileError`.
    """

    def __init__(self, model, config, *, context=None, slots=1, pages=None, activations=None, tokens=None):
        self.model, self.config, c = padded_heads(plain_latents(model)), config, model.config
        self.slots = slots
        self.formats = ActivationFormats.choose(activations, config)
        self.sizes = Sizes.of(self.model, config)
        self.context = min(c.context, 2048) if context is None else context
        if not 1 <= self.context < NO_LIMIT - 2 * config.tile.array.rows:
            raise CompileError(
                f"{c.name}: a context of {self.context} positions; vectors hold at most {NO_LIMIT - 1}"
            )
        self._check_tables(slots)
        self._plans, self._templates = {}, {}
        self.window = 1 if self.sizes.capacity is None else self.sizes.capacity.window
        lengths = TOKENS if tokens is None else (tokens, *(n for n in TOKENS if n < tokens))
        self._lengths = tuple(n for n in lengths if n % self.window == 0)
        self.max_tokens = self._fit()
        self.memory = ModelMemory(
            self.model, self.sizes, config, context=self.context, slots=slots, tokens=self.max_tokens
        )
        self.max_tokens, commands = self._fit_ring()
        table = -(-self.context // self.sizes.key_granule)
        address, self.pages, self.memory_bytes = self.memory.place_ring(
            commands, slots * table if pages is None else pages, table
        )
        self.image, self.ring = self.memory.pieces, (address, commands)

    def _check_tables(self, slots):
        """:class:`CompileError` for more sequences or positions than page tables have room for."""
        paging, name = self.config.memory.paging, self.model.config.name
        if paging is None:
            return
        if slots > paging.slots:
            raise CompileError(f"{name}: {slots} sequences; the chip has page tables for {paging.slots}")
        most = paging.pages * self.sizes.key_granule
        if self.context > most:
            raise CompileError(f"{name}: a context of {self.context} positions; page tables reach {most}")

    @property
    def whole_tables(self):
        """For each sequence, as far as there are pages, the addresses of those of its whole context, in their
        order in memory."""
        count = -(-self.context // self.page_positions)
        return [
            [self.pages.address(slot * count + n) for n in range(count)]
            for slot in range(min(self.slots, self.pages.count // count))
        ]

    @property
    def written(self):
        """(first, end) addresses, for commands, of all that programs write and that is not written once."""
        paging, found = self.config.memory.paging, list(self.memory.work)
        if self.pages is not None:
            for slot, pages in enumerate(self.whole_tables):
                starts = (start for page in range(len(pages)) for start in paging.parts(slot, page))
                found += [(start, start + self.pages.bytes) for start in starts]
        return found

    @property
    def page_positions(self):
        return self.context if self.pages is None else self.sizes.key_granule

    @property
    def vocab_stride(self):
        """Bytes from a token's logits to the next token's in memory."""
        return self.memory.vocab_stride

    def step(self, tokens, position, *, logits="last", prompt=0):
        """The program that runs ``tokens`` (token ids) of the first sequence at positions ``position`` on,
        given all before were run; the first ``prompt`` of them are of a prompt.

        ``logits``: "last" (and the argmax of the last token), "all", or "none".
        """
        if logits not in ROWS:
            raise ValueError(f"logits must be last, all or none, not {logits!r}")
        return self.batch([Chunk(0, position, tuple(tokens), prompt)], logits=ROWS[logits])

    def batch(self, chunks, *, logits, layers=None):
        """The program that runs :class:`Chunk` s of several sequences, given all before were run, each of
        another sequence.

        ``logits`` is how many rows of logits are wanted, of the last tokens of the last chunks; -1: of all.
        With ``layers`` it has only so many of the first layers, and what is around them: such a program is
        there to be looked at, not to be run.
        """
        count = sum(len(chunk.tokens) for chunk in chunks)
        if not all(chunk.tokens for chunk in chunks) or not 1 <= count <= self.max_tokens:
            raise CompileError(f"a step takes 1 to {self.max_tokens} tokens, not {count}")
        if len({chunk.slot for chunk in chunks}) < len(chunks):
            raise CompileError("two chunks of a step are of one sequence")
        for chunk in chunks:
            self._check(chunk)
        shape = self._limited(chunks, self._shape([(len(c.tokens), c.position) for c in chunks], logits))
        template, results, work = self._template(shape, layers)
        code = template.bind(
            {symbol: self._value(symbol, chunks[symbol.part]) for symbol in template.symbols}
        )
        rows = [self.model.embed(list(chunk.tokens), chunk.position) for chunk in chunks]
        embedded = np.ascontiguousarray(np.concatenate(rows), np.float32)
        count_work = lambda: work.at(*(chunk.position for chunk in chunks))
        inputs = [(self.memory.input, embedded.tobytes())]
        return Program(code, inputs, count_work=count_work, **results)

    def _check(self, chunk):
        """:class:`CompileError` for a chunk without a place in the caches."""
        if not 0 <= chunk.slot < self.slots:
            raise CompileError(f"there are caches of {self.slots} sequences, not of number {chunk.slot}")
        first, end = chunk.position, chunk.position + len(chunk.tokens)
        if first < 0 or end > self.context:
            raise CompileError(f"positions {first} to {end - 1} pass the context of {self.context}")

    def work(self, count, position, *, logits="last"):
        """The least work of a step of ``count`` tokens: what its program's ``work`` says."""
        return Work(self.memory, self._shape([(count, position)], ROWS[logits])).at(position)

    def _shape(self, places, logits):
        """The :class:`.plan.Shape` of a step of chunks at ``places``, (tokens, first position)."""
        count = sum(count for count, _ in places)
        rows = count if logits < 0 else min(logits, count)
        if len(places) == 1 and count == 1:
            # One program for all positions up to a span, if there is room for its longest.
            context = min(self.context, SPAN) if None in self.sizes.windows else self.context
            shape = Shape((Part(1, 0, context),), rows)
            if places[0][1] < context and self._plan(shape).buffers >= 2:
                return shape
        several = len(places) > 1
        return Shape(tuple(self._part(count, position, several) for count, position in places), rows)

    def _part(self, count, position, several):
        """The :class:`.plan.Part` of a chunk: the least bucket of contexts that holds it.

        Buckets are powers of two of granules up to a span, then whole spans; where windows alone are attended
        to, powers of two. Where there are ``several`` chunks, single tokens are of whole spans, so that there
        are few shapes.
        """
        end = position + count
        if None in self.sizes.windows and (end > SPAN or several and count == 1):
            context = align(end, SPAN)
        else:
            context = next(bucket for n in range(32) if (bucket := self.sizes.key_granule << n) >= end)
        paged = self.config.memory.paging is not None
        unit = self.sizes.key_granule if paged else self.config.tile.array.cols
        column = position % unit if count > 1 else 0
        return Part(count, column, min(self.context, context))

    def _limited(self, chunks, shape):
        """A shape whose parts say which tokens experts have no room for beyond their capacity."""
        capacity = self.sizes.capacity
        if capacity is None:
            return shape
        limited = [capacity.limited(chunk.prompt) for chunk in chunks]
        return replace(shape, parts=tuple(replace(p, limited=n) for p, n in zip(shape.parts, limited)))

    def _plan(self, shape):
        key = tuple((part.count, part.context) for part in shape.parts), max(shape.logits, 1)
        if key not in self._plans:
            self._plans[key] = Plan(self.sizes, shape, self.config)
        return self._plans[key]

    def _fit(self):
        """The most tokens for which there is room; :class:`CompileError` if there is none for any."""
        most = self.config.tile.tokens
        error = CompileError(
            f"{self.sizes.name}: no step has whole windows of {self.window} tokens; it has at most {most}"
        )
        for tokens in self._lengths:
            if tokens <= most:
                try:
                    self._plan(Shape((Part(tokens, 0, self.context),), 1))
                except CompileError as problem:
                    error = problem
                else:
                    return tokens
        raise error

    def _fit_ring(self):
        """(the most tokens, or fewer, commands of the ring that holds theirs), as far as a layer's commands
        tell."""
        layers, single = len(self.model.graph.layers), min(self.slots, self.max_tokens)
        if layers * max(self.max_tokens, single * -(-self.context // SPAN)) <= SURELY:
            return self.max_tokens, RINGS[0]
        for tokens in (n for n in self._lengths if n <= self.max_tokens):
            needed = self._commands(Part(tokens, 0, self.context))
            if needed <= RINGS[-1]:
                break
        if single > 1:
            needed = max(needed, self._commands(*[Part(1, 0, self.context)] * min(single, tokens)))
        return tokens, next((ring for ring in RINGS if ring >= needed), RINGS[-1])

    def _commands(self, *parts):
        """About how many commands a step of ``parts`` has, as far as the first two layers tell."""
        layers, shape = len(self.model.graph.layers), Shape(parts, 0)
        two = halves(self.sizes, shape, self.config)
        first, second = (len(self._lower(shape, n, two).builder.ops) for n in (1, 2))
        return (first + (layers - 1) * (second - first)) * (1 + WAITING)

    def _template(self, shape, layers):
        """(:class:`.template.Template`, what a program leaves in memory, :class:`.work.Work`) of a shape, of
        all ``layers`` (None) or of the first."""
        if (shape, layers) not in self._templates:
            self._templates[shape, layers] = self._compile(shape, layers)
        return self._templates[shape, layers]

    def _compile(self, shape, layers):
        layers = len(self.model.graph.layers) if layers is None else layers
        two = halves(self.sizes, shape, self.config)
        compiled = COMPILED_LAYERS + (two is not None)  # a half is ahead, and sooner at the last layer
        template = None
        if layers > compiled and self.memory.alike:
            step = self._lower(shape, compiled, two)
            template = assemble(step.builder, copies=layers - compiled, pitch=self.memory.pitch_at)
        if template is None:
            step = self._lower(shape, layers, two)
            template = assemble(step.builder)
        if len(template.words) > self.ring[1]:
            raise CompileError(
                f"{self.sizes.name}: a step has {len(template.words)} commands; the ring holds {self.ring[1]}"
            )
        return template, step.results, Work(self.memory, shape)

    def _lower(self, shape, layers, two=None):
        """The state after lowering the first ``layers`` layers of the graph, and what is around them, of a
        step or of its ``two`` halves."""
        if two is None:
            builder = self._builder(shape)
            return lower_graph(shape, self._plan(shape), self.memory, builder, self.formats, layers)
        builders = [self._builder(half.shape, half.parts) for half in two]
        return lower_halves(shape, two, self.memory, builders, self.formats, layers)

    def _builder(self, shape, parts=0):
        """The :class:`.builder.Builder` of a step, or of a half that so many ``parts`` are before."""
        last = [part.context - part.count for part in shape.parts]  # the largest positions
        usual = [max(0, at - min(part.context, SPAN) // 2) for at, part in zip(last, shape.parts)]
        cols, granule = self.config.tile.array.cols, self.sizes.key_granule
        bounds = _Values(lambda symbol: symbol.most(last[symbol.part], cols, granule))
        times = _Values(lambda symbol: symbol.value(usual[symbol.part], cols, granule))
        return Builder(self.config, bounds, times, parts)

    def _value(self, symbol, chunk):
        """What a symbol of a :class:`Chunk` stands for."""
        place = chunk.slot if symbol.kind is Kind.SLOT else chunk.position
        return symbol.value(place, self.config.tile.array.cols, self.sizes.key_granule)


class _Values(dict):
    """Values of symbols, computed when they are asked for."""

    def __init__(self, value):
        self._value = value

    def __missing__(self, symbol):
        self[symbol] = self._value(symbol)
        return self[symbol]
