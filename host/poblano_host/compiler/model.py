"""Compiles a Llama-style decoder: the memory image once, and a program for each run of tokens.

Work is split over tiles by columns (projections), by tokens (norms and attention of several tokens) and by
heads (attention of one token). The order along K and of every reduction depends neither on the split nor on
the other tokens of a step: the same tokens give the same bits in steps of any length on any configuration.
"""

from dataclasses import dataclass
from itertools import zip_longest
import math

import numpy as np

from poblano.config import BLOCK, LINE_BYTES, LINE_WORDS
from poblano.formats.element import Activation
from poblano.isa.vector_ops import NO_LIMIT, AluOp, Fill, Reduce, Select, SfuOp, Sink
from poblano.isa.weight_stream import ScaleFormat, step_bytes

from .errors import CompileError
from .image import Allocator, align
from .program import LayerWork, ProgramBuilder
from .weights import Image, TiledMatrix, block_tensor, choose_activation, split_columns

__all__ = ["CompiledModel"]

LOG2_E = math.log2(math.e)
LINES = BLOCK // LINE_WORDS
"""Lines of a block of FP32 words."""
FFN_COLUMNS, COLUMNS = 256, 2048
"""The most columns of a tile's matmul command in the feed-forward network, and elsewhere."""


@dataclass(frozen=True)
class _Layer:
    """A layer's weights and the addresses of its gains and caches."""

    attn_gain: int
    ffn_gain: int
    q: TiledMatrix
    k: TiledMatrix
    v: TiledMatrix
    output: TiledMatrix
    gate_up: TiledMatrix
    down: TiledMatrix
    keys: int
    values: int
    value_scales: int


class _Buffers:
    """Places in the local memories for steps of up to ``tokens`` tokens, the same in every tile.

    Vector memory: what lasts, then a pool that every phase of a layer divides anew. Activation memory:
    ``normed`` (a projection's input, or the attention's output), then Q, K, V and probabilities, or the
    feed-forward network's hidden vector. Raises CompileError if they don't fit.
    """

    def __init__(self, compiled, tokens):
        c, config = compiled.model.config, compiled.config
        tile = config.tile
        self.tokens = tokens
        self.own = own = -(-tokens // config.tiles)
        group = c.heads // c.kv_heads
        what = f"{c.name}: a step of {tokens} token{'s' * (tokens > 1)} needs"

        vmem = Allocator(tile.vmem_lines, f"{what} vector memory", "lines")
        take = lambda words: vmem.take(align(words, BLOCK) // LINE_WORDS)
        self.x = take(tokens * c.dim)
        self.gains = [take(BLOCK * compiled.dim_blocks) for _ in range(2)]
        self.rope = take(tokens * 2 * c.head_dim)
        self.squares = take(align(own, BLOCK))
        self.scalar_lines = align(own, BLOCK) // LINE_WORDS
        scalars = max(group * align(own, BLOCK), align(group, BLOCK))
        self.maximum, self.sum = ([take(scalars) for _ in range(2)] for _ in range(2))
        self.best = take(BLOCK)
        self.pool = vmem.used
        self.pool_lines = tile.vmem_lines - self.pool
        row = tokens * compiled.granule // LINE_WORDS  # lines of a granule of columns for all tokens
        self.rotation = 2 * tokens * c.head_dim // LINE_WORDS
        least = max(2 * row + self.rotation, 4 * row)
        vmem.take(least)
        self.ffn_columns = (
            max(min(self.pool_lines // (4 * row), FFN_COLUMNS // compiled.granule), 1) * compiled.granule
        )

        amem = Allocator(tile.amem_blocks, f"{what} activation memory", "blocks")
        take = lambda blocks: amem.take(blocks, tile.array.segments)
        self.normed = take(tokens * max(compiled.dim_blocks, compiled.attended_blocks))
        shared = amem.used
        self.queries = take(tokens * c.heads * compiled.head_steps)
        kv_blocks = c.kv_heads * c.head_dim // BLOCK
        self.keys, self.values = take(tokens * kv_blocks), take(tokens * kv_blocks)
        self.probabilities = align(amem.used, tile.array.segments)
        self.probability_blocks = tile.amem_blocks - self.probabilities
        self.hidden = shared
        amem.used = shared
        take(tokens * compiled.ffn_blocks)
        if self.batch(compiled, own, compiled.context, 1) < 1:
            raise CompileError(
                f"{c.name}: attention over {compiled.context} positions needs "
                f"{self._attention_lines(compiled, 1, compiled.context)} lines of vector memory and "
                f"{self._attention_blocks(compiled, 1, compiled.context)} blocks of activation memory; there "
                f"are {self.pool_lines} and {self.probability_blocks} beside {tokens} "
                f"token{'s' * (tokens > 1)}"
            )

    @staticmethod
    def _attention_lines(compiled, count, context):
        """Lines for scores, outputs and scales of V of ``count`` tokens that see ``context`` positions."""
        c = compiled.model.config
        positions = align(context, compiled.key_granule)
        rows = count * c.heads // c.kv_heads
        return (rows * (positions + compiled.out_words) + c.head_dim // BLOCK * positions) // LINE_WORDS

    @staticmethod
    def _attention_blocks(compiled, count, context):
        c = compiled.model.config
        rows = count * c.heads // c.kv_heads
        return c.head_dim // BLOCK * rows * align(context, compiled.key_granule) // BLOCK

    def batch(self, compiled, count, context, buffers):
        """How many of ``count`` tokens' attention over ``context`` positions fits ``buffers`` times at
        once."""
        c, tile = compiled.model.config, compiled.config.tile
        fits = lambda n: (
            n * c.heads // c.kv_heads <= tile.tokens
            and buffers * self._attention_lines(compiled, n, context) <= self.pool_lines
            and buffers * self._attention_blocks(compiled, n, context) <= self.probability_blocks
        )
        return next((n for n in range(count, 0, -1) if fits(n)), 0)


class CompiledModel:
    """A model for a chip: the memory image and, by :meth:`step`, the programs.

    Parameters
    ----------
    model : Model; float matrices are quantised to q8_0 (to an MX format on an array without INT8 weights).
    config : ChipConfig
    context : positions in the KV caches; the model's, at most 2048, by default.
    activations : the format of the activations, by name: of the projections, or a dict of ``linear`` (the
        projections) and ``attention`` (Q, the probabilities and the KV caches, whose elements are a byte).
        INT8 by default, on an array without it the array's first for ``linear`` and that of ``linear`` for
        ``attention``.

    Members
    -------
    image : list of (address, bytes) to write once; everything else up to ``memory_bytes`` starts at zero.
    memory_bytes : size of the memory, the ring at its end included.
    ring : (address, commands) of the command ring.
    max_tokens : the most tokens of a :meth:`step`.

    Raises :class:`CompileError`.
    """

    RING = 1 << 16

    def __init__(self, model, config, *, context=None, activations=None):
        self.model = model
        self.config = config
        self._choose_activations(activations)
        c, array = model.config, config.tile.array
        if c.architecture != "llama":
            raise CompileError(f"{c.name}: the family {c.architecture} is not compiled, only llama")
        self.context = min(c.context, 2048) if context is None else context
        if not 1 <= self.context < NO_LIMIT - 2 * array.rows:
            raise CompileError(
                f"{c.name}: a context of {self.context} positions; vectors hold at most {NO_LIMIT - 1}"
            )
        steps = lambda elements: align(elements // BLOCK, array.segments)
        self.granule = max(BLOCK, array.cols)
        self.key_granule = max(BLOCK * array.segments, array.cols)
        self.dim_blocks, self.attended_blocks = steps(c.dim), steps(c.heads * c.head_dim)
        self.ffn_blocks, self.head_steps = steps(c.ffn_dim), steps(c.head_dim)
        # A block of the attention's output has a whole number of array columns.
        self.out_words = c.head_dim // BLOCK * self.granule
        self.positions = align(self.context, self.key_granule)
        self.buffers = self._fit()
        self.max_tokens = self.buffers.tokens
        self._build_image()

    def _choose_activations(self, activations):
        """The formats of the activations: :class:`~poblano.formats.element.Activation` ``linear`` and
        ``attention``."""
        chosen = dict(activations) if isinstance(activations, dict) else {"linear": activations}
        for part in chosen:
            if part not in ("linear", "attention"):
                raise CompileError(
                    f"unknown part {part!r} of a model; activations have the parts linear and attention"
                )
        self.linear = choose_activation(chosen.get("linear"), self.config)
        wanted = chosen.get("attention")
        if wanted is None and Activation.INT8 not in self.config.tile.array.arithmetic.activations:
            wanted = self.linear.name
        self.attention = choose_activation(wanted, self.config)
        element = self.attention.element
        if element.bits != 8:
            raise CompileError(
                f"the keys of {self.attention.name} attention would have {element.bits} bits; a transposed "
                "stream "
                f"holds elements of a byte"
            )
        # Without E8M0, MXINT8's elements count as integers: Q and the probabilities' sum take the rest of
        # its unit.
        self.cache_unit = 2.0 ** (self.attention.unit - element.format.unit)

    def _fit(self):
        """Buffers for as many tokens as fit."""
        for tokens in (128, 112, 96, 80, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1):
            if tokens <= self.config.tile.tokens:
                try:
                    return _Buffers(self, tokens)
                except CompileError as problem:
                    error = problem
        raise error

    # Memory image

    def _build_image(self):
        c, config, model = self.model.config, self.config, self.model
        array = config.tile.array
        image = Image(max(4096, config.stream_bytes))
        tensor = lambda n, part: block_tensor(model.tensors[f"blk.{n}.{part}.weight"], config)
        split = lambda matrix: TiledMatrix.split(image, matrix, config)

        def gain(name):
            values = np.asarray(model.tensors[name], np.float32)
            return image.array(np.pad(values, (0, BLOCK * self.dim_blocks - c.dim)))

        # (KV heads, ..): bytes of a head's cache
        self.key_step_bytes = step_bytes(config, scale=ScaleFormat.F32)
        self.key_group_bytes = self.key_step_bytes * self.head_steps // array.segments
        self.key_bytes = align(self.key_group_bytes * self.positions // array.cols, 64)
        self.value_bytes = align(align(c.head_dim, array.cols) * self.positions, 64)
        self.value_scale_bytes = 4 * self.positions * c.head_dim // BLOCK
        self.layers = [
            _Layer(
                attn_gain=gain(f"blk.{n}.attn_norm.weight"),
                ffn_gain=gain(f"blk.{n}.ffn_norm.weight"),
                q=split(tensor(n, "attn_q")),
                k=split(tensor(n, "attn_k")),
                v=split(tensor(n, "attn_v")),
                output=split(tensor(n, "attn_output")),
                gate_up=self._place_gate_up(image, tensor(n, "ffn_gate"), tensor(n, "ffn_up")),
                down=split(tensor(n, "ffn_down")),
                keys=image.reserve(c.kv_heads * self.key_bytes),
                values=image.reserve(c.kv_heads * self.value_bytes),
                value_scales=image.reserve(c.kv_heads * self.value_scale_bytes),
            )
            for n in range(c.layers)
        ]
        self.final_gain = gain("output_norm.weight")
        self.head = split(block_tensor(model.output, config))
        self.vocab = align(c.vocab, self.granule)
        # A position's row: cos of each pair of elements twice, then -sin and sin.
        angles = np.arange(self.positions)[:, None] * c.rope_base ** -(
            np.arange(0, c.head_dim, 2) / c.head_dim
        )
        cos, sin = np.cos(angles), np.sin(angles)
        self.rope = image.array(
            np.hstack((np.repeat(cos, 2, axis=1), np.stack((-sin, sin), -1).reshape(len(sin), -1))).astype(
                np.float32
            )
        )
        self.input = image.reserve(4 * self.max_tokens * c.dim)
        self.logits = image.reserve(4 * self.max_tokens * self.vocab)
        self.best = image.reserve(LINES * LINE_BYTES * config.tiles)
        self.ring = (image.reserve(64 * self.RING), self.RING)
        self.image = image.pieces
        self.memory_bytes = image.size
        if self.memory_bytes > 1 << config.memory.addr_width:
            raise CompileError(
                f"{c.name}: needs {self.memory_bytes} bytes of memory; {config.memory.addr_width} address "
                "bits "
                f"reach {1 << config.memory.addr_width}"
            )

    def _place_gate_up(self, image, gate, up):
        """For each tile its columns in chunks: gate's, then up's."""
        width = self.buffers.ffn_columns
        chunks = [
            [(which, at, min(at + width, end)) for at in range(first, end, width) for which in (0, 1)]
            for first, end in split_columns(gate.shape[0], self.config)
        ]
        return TiledMatrix.place(image, [gate, up], chunks, self.config)

    # Programs

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
        program = _Step(self, len(tokens), position, logits).program()
        program.inputs.append(
            (self.input, np.ascontiguousarray(self.model.embed(tokens), np.float32).tobytes())
        )
        if len(program.commands) > self.RING:
            raise CompileError(
                f"{self.model.config.name}: a step has {len(program.commands)} commands; the ring holds "
                f"{self.RING}"
            )
        return program

    @property
    def vocab_stride(self):
        """Bytes from a token's logits to the next token's in memory."""
        return 4 * self.vocab


@dataclass(frozen=True)
class _Item:
    """A piece of a tile's attention: query heads ``head`` to ``head_end`` of a KV head, tokens ``first`` to
    ``end``.

    Its rows are (token, head), the head fastest. ``buffer`` numbers the buffers that it uses.
    """

    kv: int
    head: int
    head_end: int
    first: int
    end: int
    buffer: int

    @property
    def heads(self):
        return self.head_end - self.head

    @property
    def count(self):
        return self.end - self.first

    @property
    def rows(self):
        return self.heads * self.count


class _Step:
    """Emits the commands of a step of ``count`` tokens at ``position``."""

    def __init__(self, compiled, count, position, logits):
        self.m = compiled
        self.c = compiled.model.config
        self.config = compiled.config
        self.array = compiled.config.tile.array
        self.o = compiled.buffers
        self.count = count
        self.position = position
        self.logits = logits
        self.b = ProgramBuilder(compiled.config)
        self.tiles = compiled.config.tiles
        self.all = range(self.tiles)
        self.dim_lines = self.c.dim // LINE_WORDS
        self.head_blocks = self.c.head_dim // BLOCK
        self.head_lines = self.c.head_dim // LINE_WORDS
        self.rope_lines = 2 * self.head_lines
        self.group = self.c.heads // self.c.kv_heads
        self.kv_blocks = self.c.kv_heads * self.head_blocks
        self.owned = self._split(count)

    def _split(self, count):
        """For each tile its (first, end) of ``count`` things."""
        return [(count * t // self.tiles, count * (t + 1) // self.tiles) for t in self.all]

    def program(self):
        m, c, o, b = self.m, self.c, self.o, self.b
        b.load(
            self.all,
            m.input,
            4 * c.dim,
            o.x,
            self.dim_lines,
            self.count,
            self.dim_lines,
            reads=(),
            label="embedding",
        )
        self._gain(0, m.layers[0].attn_gain, "layer0.attn_norm")
        self._gain(1, m.layers[0].ffn_gain, "layer0.ffn_norm")
        b.load(
            self.all,
            m.rope + 4 * 2 * c.head_dim * self.position,
            8 * c.head_dim,
            o.rope,
            self.rope_lines,
            self.count,
            self.rope_lines,
            reads=(),
            label="rope.table",
        )
        for n, layer in enumerate(m.layers):
            self._layer(n, layer)
        return b.build(**(self._head() if self.logits != "none" else {}))

    # Parts

    def _gain(self, which, address, label):
        lines = LINES * self.m.dim_blocks
        self.b.load(self.all, address, 0, self.o.gains[which], 0, 1, lines, reads=(), label=f"{label}.gain")

    def _norm(self, which, owned, label):
        """RMSNorm of the tiles' ``owned`` rows of the residual, quantised and broadcast."""
        c, o, b, m = self.c, self.o, self.b, self.m
        for tile, (first, end) in enumerate(owned):
            if end == first:
                continue
            n = end - first
            x = dict(a=o.x + first * self.dim_lines, a_stride=self.dim_lines, rows=n)
            b.vector(
                tile,
                **x,
                blocks=c.dim // BLOCK,
                b=x["a"],
                b_stride=x["a_stride"],
                op1=AluOp.MUL,
                sel1=Select.B,
                reduce=Reduce.SUM,
                r=o.squares,
                label=f"{label}.squares",
            )
            b.vector(
                tile,
                blocks=-(-n // BLOCK),
                a=o.squares,
                op1=AluOp.ADD,
                sel1=Select.IMMEDIATE,
                imm1=c.dim * c.norm_eps,
                sfu=SfuOp.RSQRT,
                op2=AluOp.MUL,
                sel2=Select.IMMEDIATE,
                imm2=math.sqrt(c.dim),
                sink=Sink.VMEM,
                dst=o.squares,
                label=f"{label}.rsqrt",
            )
            b.vector(
                tile,
                self.all,
                **x,
                blocks=m.dim_blocks,
                limit=c.dim,
                b=o.gains[which],
                op1=AluOp.MUL,
                sel1=Select.B,
                op2=AluOp.MUL,
                sel2=Select.ROW,
                c=o.squares,
                sink=Sink.QUANTISE,
                activation=int(m.linear),
                dst=o.normed + first * m.dim_blocks,
                dst_stride=m.dim_blocks,
                label=f"{label}.scale",
            )

    def _clear_padding(self, base, rows, blocks, used, label, activation):
        """Zeros in the blocks from ``used`` on of rows of ``blocks`` of activation memory, in every tile."""
        if used < blocks:
            self.b.vector(
                0,
                self.all,
                rows=rows,
                blocks=blocks - used,
                limit=0,
                sink=Sink.QUANTISE,
                activation=int(activation),
                dst=base + used,
                dst_stride=blocks,
                label=f"{label}.padding",
            )

    def _project(self, matrix, a, width, consume, label, rows=None):
        """The product of activations with ``matrix``, in chunks of ``width`` columns of each tile, two of
        them in the pool.

        ``consume(tile, line, stride, which, first, end)`` emits what follows for columns ``first`` to
        ``end`` of a chunk, whose first row is at ``line`` and whose rows are ``stride`` lines apart. A
        matrix of pairs (gate and up) gives chunks as they were placed: the second of the pair is right of
        the first.
        """
        b, o = self.b, self.o
        rows = self.count if rows is None else rows
        pairs = len(matrix.formats) == 2
        chunks = []
        for tile in self.all:
            if matrix.size[tile]:
                b.stream(tile, matrix.address[tile], matrix.size[tile], label=f"{label}.weights")
            mine = matrix.chunks[tile]
            if pairs:
                mine = [mine[i : i + 2] for i in range(0, len(mine), 2)]
            else:
                mine = [
                    [(0, at, min(at + width, end))]
                    for _, first, end in mine
                    for at in range(first, end, width)
                ]
            chunks.append(mine)
        stride = align(width, self.m.granule) // LINE_WORDS * (2 if pairs else 1)
        previous = []
        for i, parts in enumerate(zip_longest(*chunks)):
            at = o.pool + i % 2 * rows * stride
            current = []
            for tile, ranges in enumerate(parts):
                for j, (which, first, end) in enumerate(ranges or ()):
                    b.matmul(
                        tile,
                        [tile],
                        a=a,
                        a_stride=matrix.k_blocks,
                        rows=rows,
                        k_blocks=matrix.k_blocks,
                        groups=-(-(end - first) // self.array.cols),
                        dst=at + j * stride // 2,
                        dst_stride=stride,
                        activation=int(self.m.linear),
                        label=label,
                        **matrix.formats[which],
                    )
                if ranges:
                    current.append((tile, at, stride, ranges[0][1], ranges[0][2]))
            for chunk in previous:
                consume(*chunk)
            previous = current
        for chunk in previous:
            consume(*chunk)

    def _width(self, matrix, rows=None, *, reserved=0):
        """Columns of the chunks of ``rows`` rows: two fit in the pool without ``reserved`` lines; no more
        than a tile has."""
        granule = self.m.granule
        rows = self.count if rows is None else rows
        fitting = (self.o.pool_lines - reserved) // (2 * rows * granule // LINE_WORDS) * granule
        most = max((end - first for chunks in matrix.chunks for _, first, end in chunks), default=granule)
        return min(fitting, max(COLUMNS, granule), align(most, granule))

    def _layer(self, n, layer):
        c, o, b, m, name = self.c, self.o, self.b, self.m, f"layer{n}"
        after = m.layers[n + 1] if n + 1 < c.layers else None
        self._norm(0, self.owned, f"{name}.attn_norm")
        if after is not None or self.logits != "none":
            self._gain(
                0,
                after.attn_gain if after else m.final_gain,
                f"layer{n + 1}.attn_norm" if after else "output_norm",
            )
        self._clear_padding(
            o.queries, self.count * c.heads, m.head_steps, self.head_blocks, name, m.attention
        )
        width = lambda matrix: self._width(matrix, reserved=o.rotation)
        self._project(layer.k, o.normed, width(layer.k), self._rotated_keys(name), f"{name}.k")
        self._project(layer.v, o.normed, self._width(layer.v), self._quantised_values(name), f"{name}.v")
        self._project(layer.q, o.normed, width(layer.q), self._rotated_queries(name), f"{name}.q")
        self._store_caches(n, layer, name)
        self._clear_padding(
            o.normed, self.count, m.attended_blocks, c.heads * self.head_blocks, name, m.linear
        )
        self._attention(n, layer, name)
        self._residual(layer.output, o.normed, f"{name}.attn_output")
        self._norm(1, self.owned, f"{name}.ffn_norm")
        if after:
            self._gain(1, after.ffn_gain, f"layer{n + 1}.ffn_norm")
        self._clear_padding(o.hidden, self.count, m.ffn_blocks, c.ffn_dim // BLOCK, name, m.linear)
        self._project(layer.gate_up, o.normed, o.ffn_columns, self._gated(name), f"{name}.gate_up")
        self._residual(layer.down, o.hidden, f"{name}.ffn_down")
        macs = self.count * sum(
            math.prod(m.model.tensors[f"blk.{n}.{part}.weight"].shape)
            for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
        )
        keys = self.count * self.position + self.count * (self.count + 1) // 2
        weight_bytes = sum(
            sum(matrix.size)
            for matrix in (layer.q, layer.k, layer.v, layer.output, layer.gate_up, layer.down)
        )
        kv_bytes = (self.position + self.count) * c.kv_heads * 2 * (c.head_dim + 4 * self.head_blocks)
        b.work.append(LayerWork(name, macs + 2 * keys * c.heads * c.head_dim, weight_bytes, kv_bytes))

    def _residual(self, matrix, a, label):
        """Adds a projection to the residual, in every tile."""
        o, b = self.o, self.b

        def add(tile, line, stride, first, end):
            x = o.x + first // LINE_WORDS
            b.vector(
                tile,
                self.all,
                rows=self.count,
                blocks=(end - first) // BLOCK,
                a=line,
                a_stride=stride,
                b=x,
                b_stride=self.dim_lines,
                op1=AluOp.ADD,
                sel1=Select.B,
                sink=Sink.VMEM,
                dst=x,
                dst_stride=self.dim_lines,
                label=f"{label}.add",
            )

        self._project(matrix, a, self._width(matrix), add, label)

    def _gated(self, name):
        """silu(gate) * up, quantised and broadcast."""

        def gate(tile, line, stride, first, end):
            self.b.vector(
                tile,
                self.all,
                rows=self.count,
                blocks=(end - first) // BLOCK,
                a=line,
                a_stride=stride,
                sfu=SfuOp.SILU,
                op2=AluOp.MUL,
                sel2=Select.B,
                b=line + stride // 2,
                b_stride=stride,
                sink=Sink.QUANTISE,
                activation=int(self.m.linear),
                dst=self.o.hidden + first // BLOCK,
                dst_stride=self.m.ffn_blocks,
                label=f"{name}.silu",
            )

        return gate

    # Q, K and V

    def _rotate(self, tile, line, stride, first, end, emit, label):
        """RoPE of columns ``first`` to ``end``: x*cos + swapped(x)*signed sin; ``emit`` ends it.

        ``emit(head, block, rows, **operands)`` emits the command that adds the two products, for blocks
        from ``block`` on of ``head``: its rows are tokens, or, of a single token, heads from ``head`` on.
        """
        b, o, size = self.b, self.o, self.c.head_dim
        at = first
        while at < end:
            head, inside = divmod(at, size)
            heads = (end - at) // size if inside == 0 and self.count == 1 else 0
            stop = at + heads * size if heads else min(end, (head + 1) * size)
            blocks = self.head_blocks if heads else (stop - at) // BLOCK
            lines = blocks * LINES
            rows = heads or self.count
            x = dict(
                rows=rows,
                blocks=blocks,
                a=line + (at - first) // LINE_WORDS,
                a_stride=self.head_lines if heads else stride,
            )
            table, table_stride = o.rope + inside // LINE_WORDS, 0 if heads else self.rope_lines
            products = [o.pool + o.pool_lines - o.rotation, o.pool + o.pool_lines - o.rotation // 2]
            for i, dst in enumerate(products):
                b.vector(
                    tile,
                    **x,
                    swap=i,
                    b=table + i * self.head_lines,
                    b_stride=table_stride,
                    op1=AluOp.MUL,
                    sel1=Select.B,
                    sink=Sink.VMEM,
                    dst=dst,
                    dst_stride=lines,
                    label=f"{label}.rope",
                )
            emit(
                head,
                inside // BLOCK,
                rows,
                blocks=blocks,
                a=products[0],
                a_stride=lines,
                b=products[1],
                b_stride=lines,
                op1=AluOp.ADD,
                sel1=Select.B,
                sink=Sink.QUANTISE,
                activation=int(self.m.attention),
            )
            at = stop

    def _rotated_keys(self, name):
        def keys(tile, line, stride, first, end):
            def emit(head, block, rows, **operands):
                self.b.vector(
                    tile,
                    rows=rows,
                    **operands,
                    dst=self.o.keys + head * self.head_blocks + block,
                    dst_stride=self.head_blocks if self.count == 1 else self.kv_blocks,
                    label=f"{name}.k_quantise",
                )

            self._rotate(tile, line, stride, first, end, emit, f"{name}.k")

        return keys

    def _rotated_queries(self, name):
        """Queries, scaled for base-2 softmax; in activation memory by KV head, token and head."""
        factor = self.c.head_dim**-0.5 * LOG2_E * self.m.cache_unit
        steps = self.m.head_steps

        def queries(tile, line, stride, first, end):
            def emit(head, block, rows, **operands):
                kv, j = divmod(head, self.group)
                self.b.vector(
                    tile,
                    self.all,
                    rows=rows,
                    **operands,
                    op2=AluOp.MUL,
                    sel2=Select.IMMEDIATE,
                    imm2=factor,
                    dst=self._query(kv, 0, j) + block,
                    dst_stride=steps if self.count == 1 else self.group * steps,
                    label=f"{name}.q_quantise",
                )

            self._rotate(tile, line, stride, first, end, emit, f"{name}.q")

        return queries

    def _query(self, kv, token, j):
        return self.o.queries + ((kv * self.count + token) * self.group + j) * self.m.head_steps

    def _quantised_values(self, name):
        def values(tile, line, stride, first, end):
            self.b.vector(
                tile,
                rows=self.count,
                blocks=(end - first) // BLOCK,
                a=line,
                a_stride=stride,
                sink=Sink.QUANTISE,
                activation=int(self.m.attention),
                dst=self.o.values + first // BLOCK,
                dst_stride=self.kv_blocks,
                label=f"{name}.v_quantise",
            )

        return values

    def _runs(self, matrix, tile):
        """(KV head, block of the head, number) of the KV blocks that a tile made: of a single token, runs
        of heads."""
        blocks = [n for _, first, end in matrix.chunks[tile] for n in range(first // BLOCK, end // BLOCK)]
        places = sorted((n % self.head_blocks, n // self.head_blocks) for n in blocks)
        runs = []
        for block, kv in places:
            if self.count == 1 and runs and runs[-1][1] == block and runs[-1][0] + runs[-1][2] == kv:
                runs[-1][2] += 1
            else:
                runs.append([kv, block, 1])
        return [tuple(run) for run in runs]

    def _store_caches(self, n, layer, name):
        """K and V of the step's tokens to memory."""
        o, b, m, array = self.o, self.b, self.m, self.array
        length = min(array.rows, BLOCK)
        for tile in self.all:
            for kv, block, heads in self._runs(layer.k, tile):
                writes = [b.memory("keys", n, h, tile) for h in range(kv, kv + heads)]
                step, segment = divmod(block, array.segments)
                at = 0
                while at < self.count:  # positions in one group of the K cache
                    t = self.position + at
                    c = t % array.cols
                    run = min(self.count - at, array.cols - c)
                    source = dict(src=o.keys + at * self.kv_blocks + kv * self.head_blocks + block)
                    source |= (
                        dict(src_stride=self.head_blocks, rows=heads)
                        if self.count == 1
                        else dict(src_stride=self.kv_blocks, rows=run)
                    )
                    base = (
                        layer.keys
                        + kv * m.key_bytes
                        + t // array.cols * m.key_group_bytes
                        + step * m.key_step_bytes
                    )
                    between = lambda bytes_: m.key_bytes if self.count == 1 else bytes_
                    b.store_scale(
                        tile,
                        **source,
                        addr=base + 4 * (segment * array.cols + c),
                        stride=between(4),
                        writes=writes,
                        label=f"{name}.store_k",
                    )
                    data = base + 4 * array.segments * array.cols
                    for p in range(array.passes):
                        b.store_block(
                            tile,
                            **source,
                            offset=p * length,
                            length=length,
                            stride=between(array.rows),
                            addr=data + (p * array.cols + c) * array.rows + segment * BLOCK,
                            writes=writes,
                            label=f"{name}.store_k",
                        )
                    at += run
            length_v = min(array.cols, BLOCK)
            for kv, block, heads in self._runs(layer.v, tile):
                writes = [b.memory("values", n, h, tile) for h in range(kv, kv + heads)]
                source = dict(src=o.values + kv * self.head_blocks + block)
                source |= (
                    dict(src_stride=self.head_blocks, rows=heads)
                    if self.count == 1
                    else dict(src_stride=self.kv_blocks, rows=self.count)
                )
                between = lambda bytes_, head_bytes: head_bytes if self.count == 1 else bytes_
                b.store_scale(
                    tile,
                    **source,
                    stride=between(4, m.value_scale_bytes),
                    addr=layer.value_scales
                    + kv * m.value_scale_bytes
                    + 4 * (block * m.positions + self.position),
                    writes=writes,
                    label=f"{name}.store_v",
                )
                for part in range(BLOCK // length_v):
                    group, column = divmod(block * BLOCK + part * length_v, array.cols)
                    b.store_block(
                        tile,
                        **source,
                        offset=part * length_v,
                        length=length_v,
                        stride=between(array.cols, m.value_bytes),
                        addr=layer.values
                        + kv * m.value_bytes
                        + column
                        + (group * m.positions + self.position) * array.cols,
                        writes=writes,
                        label=f"{name}.store_v",
                    )

    # Attention

    def _items(self):
        """For each tile the pieces of attention that it works on, and how many buffers they alternate
        between."""
        c, o = self.c, self.o
        if self.count >= self.tiles and self.count > 1:
            work = [
                [(kv, 0, self.group, first, end) for kv in range(c.kv_heads)] if end > first else []
                for first, end in self.owned
            ]
        elif c.kv_heads >= self.tiles:
            work = [
                [(kv, 0, self.group, t, t + 1) for kv in range(first, end) for t in range(self.count)]
                for first, end in self._split(c.kv_heads)
            ]
        else:
            work = []
            for first, end in self._split(c.heads):
                cuts = [
                    (kv, max(first - kv * self.group, 0), min(end - kv * self.group, self.group))
                    for kv in range(c.kv_heads)
                ]
                work.append(
                    [
                        (kv, j, j_end, t, t + 1)
                        for kv, j, j_end in cuts
                        if j_end > j
                        for t in range(self.count)
                    ]
                )
        most = max((end - first for mine in work for *_, first, end in mine), default=1)
        context = self.position + self.count
        double, single = (o.batch(self.m, most, context, buffers) for buffers in (2, 1))
        buffers, size = (2, double) if double == most or double >= 4 else (1, single)
        return (
            [
                [
                    _Item(*rest, at, min(at + size, end), 0)
                    for *rest, first, end in mine
                    for at in range(first, end, size)
                ]
                for mine in work
            ],
            buffers,
            size,
        )

    def _attention(self, n, layer, name):
        """Scores of the next piece are under way while the softmax of a piece runs, and its output while
        the one after's runs."""
        work, buffers, size = self._items()
        _m, o = self.m, self.o
        self.position + self.count
        lines = (o.pool_lines // buffers) // LINES * LINES
        blocks = o.probability_blocks // buffers // self.array.segments * self.array.segments
        phases = []
        for tile, items in enumerate(work):
            mine = []
            pieces = [
                _AttentionPiece(
                    self,
                    tile,
                    item,
                    n,
                    layer,
                    f"{name}.attn",
                    o.pool + i % buffers * lines,
                    o.probabilities + i % buffers * blocks,
                    i % 2,
                )
                for i, item in enumerate(items)
            ]
            for i, piece in enumerate(pieces):
                if i == 0:
                    mine.append(piece.scores)
                if i + 1 < len(pieces) and buffers == 2:
                    mine.append(pieces[i + 1].scores)
                mine += [piece.softmax, piece.output]
                if buffers == 2:
                    if i:
                        mine.append(pieces[i - 1].normalise)
                else:
                    mine.append(piece.normalise)
                    if i + 1 < len(pieces):
                        mine.append(pieces[i + 1].scores)
            if pieces and buffers == 2:
                mine.append(pieces[-1].normalise)
            phases.append(mine)
        for several in zip_longest(*phases):
            for phase in several:
                if phase is not None:
                    phase()

    # Logits

    def _head(self):
        """Final norm and output projection of the last or of all tokens; what the program leaves in
        memory."""
        c, o, b, m = self.c, self.o, self.b, self.m
        last = self.logits == "last"
        owned = [(self.count - 1, self.count) if t == 0 else (0, 0) for t in self.all] if last else self.owned
        self._norm(0, owned, "output_norm")
        count = 1 if last else self.count
        a = o.normed + (self.count - 1 if last else 0) * m.dim_blocks
        width = self._width(m.head, count)
        starts = [chunks[0][1] if chunks else 0 for chunks in m.head.chunks]

        def logits(tile, line, stride, first, end):
            blocks = align(end - first, BLOCK) // BLOCK
            if last:
                b.vector(
                    tile,
                    blocks=blocks,
                    a=line,
                    reduce=Reduce.ARGMAX,
                    first=int(first == starts[tile]),
                    index=first,
                    limit=end - first if (end - first) % BLOCK else NO_LIMIT,
                    fill=Fill.MINUS_INFINITY,
                    r=o.best,
                    label="output.argmax",
                )
            b.store(
                tile,
                line,
                stride,
                count,
                blocks * LINES,
                m.logits + 4 * first,
                m.vocab_stride,
                writes=[b.memory("logits", tile)],
                label="output.store",
            )

        self._project(m.head, a, width, logits, "output", rows=count)
        best = []
        for tile in self.all if last else ():
            if m.head.size[tile]:
                address = m.best + LINES * LINE_BYTES * tile
                b.store(
                    tile,
                    o.best,
                    0,
                    1,
                    LINES,
                    address,
                    0,
                    writes=[b.memory("best", tile)],
                    label="output.best",
                )
                best.append(address)
        b.work.append(LayerWork("output", count * c.vocab * c.dim, sum(m.head.size)))
        return {"logits": (m.logits, count), "best": best}


class _AttentionPiece:
    """The commands of an :class:`_Item`, in four phases; its buffers start at ``line`` and ``block``."""

    def __init__(self, step, tile, item, n, layer, label, line, block, parity):
        self.s, self.tile, self.item, self.layer, self.label = step, tile, item, layer, label
        m, o = step.m, step.o
        self.cached = lambda kind: [step.b.memory(kind, n, item.kv, t) for t in step.all]
        self.positions = align(step.position + item.end, m.key_granule)
        self.key_blocks = self.positions // BLOCK
        self.stride = self.positions // LINE_WORDS
        self.out_stride = m.out_words // LINE_WORDS
        self.score_line = line
        self.out = line + item.rows * self.stride
        self.value_scales = self.out + item.rows * self.out_stride
        self.block = block
        self.maximum, self.sum = o.maximum[parity], o.sum[parity]

    def _sweeps(self):
        """(first row, rows between, rows, row scalars' first line, limit_step): the rows of a vector command.

        They are the tokens of a head, each of which sees one position more than the one before; or all
        heads of one token.
        """
        item = self.item
        if item.count == 1:
            return [(0, 1, item.heads, 0, 0)]
        return [(j, item.heads, item.count, j * self.s.o.scalar_lines, 1) for j in range(item.heads)]

    def scores(self):
        s, item, m = self.s, self.item, self.s.m
        groups = self.positions // s.array.cols
        s.b.stream(
            self.tile,
            self.layer.keys + item.kv * m.key_bytes,
            groups * m.key_group_bytes,
            reads=self.cached("keys"),
            label=f"{self.label}.keys",
        )
        s.b.matmul(
            self.tile,
            [self.tile],
            a=s._query(item.kv, item.first, item.head),
            a_stride=m.head_steps,
            rows=item.rows,
            k_blocks=m.head_steps,
            groups=groups,
            dst=self.score_line,
            dst_stride=self.stride,
            scale=ScaleFormat.F32,
            transpose=1,
            activation=int(m.attention),
            element=int(m.attention.element),
            label=f"{self.label}.scores",
        )
        s.b.load(
            [self.tile],
            self.layer.value_scales + item.kv * m.value_scale_bytes,
            4 * m.positions,
            self.value_scales,
            self.stride,
            s.head_blocks,
            self.stride,
            reads=self.cached("values"),
            label=f"{self.label}.v_scales",
        )

    def softmax(self):
        s, item = self.s, self.item
        for row, between, rows, scalars, limit_step in self._sweeps():
            scores = dict(
                rows=rows,
                blocks=self.key_blocks,
                a=self.score_line + row * self.stride,
                a_stride=between * self.stride,
            )
            seen = dict(limit=s.position + item.first + 1, limit_step=limit_step, fill=Fill.MINUS_INFINITY)
            s.b.vector(
                self.tile,
                **scores,
                **seen,
                reduce=Reduce.MAXIMUM,
                r=self.maximum + scalars,
                label=f"{self.label}.max",
            )
            s.b.vector(
                self.tile,
                **scores,
                **seen,
                op1=AluOp.SUB,
                sel1=Select.ROW,
                c=self.maximum + scalars,
                sfu=SfuOp.EXP2,
                sink=Sink.VMEM,
                dst=scores["a"],
                dst_stride=scores["a_stride"],
                reduce=Reduce.SUM,
                r=self.sum + scalars,
                label=f"{self.label}.exp",
            )
            for block in range(s.head_blocks):
                s.b.vector(
                    self.tile,
                    **scores,
                    b=self.value_scales + block * self.stride,
                    op1=AluOp.MUL,
                    sel1=Select.B,
                    sink=Sink.QUANTISE,
                    activation=int(s.m.attention),
                    dst=self._probabilities(block) + row * self.key_blocks,
                    dst_stride=between * self.key_blocks,
                    label=f"{self.label}.p_quantise",
                )

    def _probabilities(self, block):
        return self.block + block * self.item.rows * self.key_blocks

    def output(self):
        s, item, m = self.s, self.item, self.s.m
        cols = s.array.cols
        for block in range(s.head_blocks):
            groups = max(1, BLOCK // cols)
            s.b.stream(
                self.tile,
                self.layer.values + item.kv * m.value_bytes + block * BLOCK // cols * m.positions * cols,
                self.positions * cols,
                rows=groups,
                stride=m.positions * cols,
                reads=self.cached("values"),
                label=f"{self.label}.values",
            )
            s.b.matmul(
                self.tile,
                [self.tile],
                a=self._probabilities(block),
                a_stride=self.key_blocks,
                rows=item.rows,
                k_blocks=self.key_blocks,
                groups=groups,
                dst=self.out + block * m.granule // LINE_WORDS,
                dst_stride=self.out_stride,
                activation=int(m.attention),
                element=int(m.attention.element),
                label=f"{self.label}.output",
            )

    def normalise(self):
        """The output times 1/sum, quantised and broadcast; a block is a part of a wide array's columns."""
        s, item, m, o = self.s, self.item, self.s.m, self.s.o
        cols, step = s.array.cols, m.attended_blocks
        for row, between, rows, scalars, _ in self._sweeps():
            unit = {} if m.cache_unit == 1 else dict(op2=AluOp.MUL, sel2=Select.IMMEDIATE, imm2=m.cache_unit)
            s.b.vector(
                self.tile,
                blocks=-(-rows // BLOCK),
                a=self.sum + scalars,
                sfu=SfuOp.RECIPROCAL,
                **unit,
                sink=Sink.VMEM,
                dst=self.sum + scalars,
                label=f"{self.label}.reciprocal",
            )
            head = item.kv * s.group + item.head + (row if item.count > 1 else 0)
            whole = cols <= BLOCK
            for block in range(1 if whole else s.head_blocks):
                line = (
                    self.out
                    + row * self.out_stride
                    + (block * m.granule + block * BLOCK % cols * (not whole)) // LINE_WORDS
                )
                s.b.vector(
                    self.tile,
                    s.all,
                    rows=rows,
                    blocks=s.head_blocks if whole else 1,
                    a=line,
                    a_stride=between * self.out_stride,
                    op1=AluOp.MUL,
                    sel1=Select.ROW,
                    c=self.sum + scalars,
                    sink=Sink.QUANTISE,
                    activation=int(m.linear),
                    dst=o.normed + item.first * step + head * s.head_blocks + block,
                    dst_stride=s.head_blocks if item.count == 1 else step,
                    label=f"{self.label}.normalise",
                )
