"""Compiles a Llama-style decoder: the memory image once, and a program for each run of tokens.

Work is split over tiles by columns (projections), by tokens (norms and attention of several tokens) and by heads
(attention of one token). The order along K and the order of every reduction do not depend on the split.
"""

from dataclasses import dataclass
import math

import numpy as np

from poblano.config import BLOCK, LINE_BYTES, LINE_WORDS
from poblano.vector.ops import AluOp, SfuOp

from .errors import CompileError
from .image import Allocator, align
from .program import LayerWork, ProgramBuilder
from .weights import Image, TiledMatrix, block_tensor, split_columns

__all__ = ["CompiledModel"]

VMEM, QUANTISE = 1, 2
"""Sinks of a VECTOR command."""
B, C, IMMEDIATE = 0, 1, 2
"""Second operands of a VECTOR command."""
SUM, MAXIMUM, ARGMAX = 1, 2, 3
MINUS_INFINITY = 1
LOG2_E = math.log2(math.e)


def _lines(words):
    return words // LINE_WORDS


@dataclass(frozen=True)
class _Layer:
    """Addresses of a layer's weights and caches."""

    attn_gain: int
    ffn_gain: int
    qkv: TiledMatrix
    output: TiledMatrix
    gate_up: TiledMatrix
    down: TiledMatrix
    keys: tuple  # of each KV head
    values: tuple
    value_scales: tuple


class _Buffers:
    """Places in local memory for ``tokens`` tokens; the same in every tile. Raises CompileError if they don't fit."""

    def __init__(self, model, tokens, keys):
        c, config = model.model.config, model.config
        tile, array = config.tile, config.tile.array
        self.tokens = tokens
        self.own = own = -(-tokens // config.tiles)
        self.keys = keys  # positions that are scored at a time
        group = c.heads // c.kv_heads
        qkv = (c.heads + 2 * c.kv_heads) * c.head_dim
        head_blocks = c.head_dim // BLOCK
        granule = max(BLOCK, array.cols)

        vmem = Allocator(tile.vmem_lines, f"{c.name}: vector memory of tile ({tile.vmem_lines} lines)")
        unit = max(1, tile.lanes // LINE_WORDS)
        take = lambda words: vmem.take(align(_lines(align(words, LINE_WORDS)), unit), unit)
        self.x = take(tokens * c.dim)
        self.qkv = take(max(tokens * qkv, 4 * granule * tokens, tokens * align(c.dim, granule)))
        self.qkv_words = align(max(qkv, 4 * granule, align(c.dim, granule)), granule)
        self.qkv = self.qkv if self.qkv_words == qkv else self.qkv
        if self.qkv_words > qkv:
            vmem.used = self.qkv + _lines(tokens * self.qkv_words)
        self.scores = take(group * own * keys)
        self.out = take(group * own * c.head_dim)
        self.partial = take(group * own * c.head_dim)
        rope_rows = max(own, c.heads + c.kv_heads)
        self.rope1, self.rope2 = take(rope_rows * c.head_dim), take(rope_rows * c.head_dim)
        self.cos, self.sin = take(own * c.head_dim), take(own * c.head_dim)
        self.attn_gain, self.ffn_gain = take(c.dim), take(c.dim)
        scalars = align(own, BLOCK)
        self.squares = take(scalars)
        self.scalar_lines = _lines(scalars)
        self.maximum, self.chunk_maximum, self.new_maximum, self.factor, self.sum, self.chunk_sum = (
            take(group * scalars) for _ in range(6))
        self.value_scales = take(head_blocks * keys)
        self.best = take(BLOCK)

        amem = Allocator(tile.amem_blocks, f"{c.name}: activation memory of tile ({tile.amem_blocks} blocks)")
        take = lambda blocks: amem.take(blocks, array.segments)
        self.normed = take(tokens * c.dim // BLOCK)
        self.attended = take(tokens * c.heads * head_blocks)
        self.hidden = take(tokens * c.ffn_dim // BLOCK)
        self.queries = take(group * own * head_blocks)
        self.new_keys, self.new_values = take(own * c.kv_heads * head_blocks), take(own * c.kv_heads * head_blocks)
        self.probabilities = [take(group * own * keys // BLOCK) for _ in range(head_blocks)]
        # The feed-forward network and the head use the place of Q, K and V.
        self.ffn_columns = max(granule, min(self.qkv_words // 4, 256) // granule * granule)


class CompiledModel:
    """A model for a chip: the memory image and, by :meth:`step`, the programs.

    Parameters
    ----------
    model : Model; float matrices are quantised to q8_0.
    config : ChipConfig
    context : positions in the KV caches; the model's, at most 2048, by default.

    Members
    -------
    image : list of (address, bytes) to write once; everything else up to ``memory_bytes`` starts at zero.
    memory_bytes : size of the memory, the ring at its end included.
    ring : (address, commands) of the command ring.
    max_tokens : the most tokens of a :meth:`step`.

    Raises :class:`CompileError`.
    """

    RING = 1 << 16

    def __init__(self, model, config, *, context=None):
        self.model = model
        self.config = config
        c, array = model.config, config.tile.array
        self.context = min(c.context, 2048) if context is None else context
        if c.head_dim % max(BLOCK, array.rows):
            raise CompileError(f"{c.name}: head_dim {c.head_dim} is not a multiple of the array's {array.rows} rows")
        if array.cols > BLOCK:
            raise CompileError(f"{c.name}: attention needs an array of at most {BLOCK} columns, not {array.cols}")
        self._key_granule = max(BLOCK * array.segments, array.cols)
        self._positions = align(self.context, max(128, self._key_granule))
        self._buffers = self._fit()
        self.max_tokens = self._buffers.tokens
        self._qkv_words = self._buffers.qkv_words
        self._build_image()

    def _fit(self):
        """Buffers for as many tokens as fit."""
        c, tile = self.model.config, self.config.tile
        group = c.heads // c.kv_heads
        error = None
        for tokens in sorted({128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1}, reverse=True):
            own = -(-tokens // self.config.tiles)
            if tokens > tile.tokens or group * own > tile.tokens:
                continue
            for keys in (256, 128, 64, 32):
                keys = align(keys, self._key_granule)
                if keys < own + self._key_granule and keys < self._positions:
                    continue
                try:
                    return _Buffers(self, tokens, min(keys, self._positions))
                except CompileError as problem:
                    error = problem
        raise error or CompileError(f"{c.name}: {group} heads of a KV group need {group} accumulator rows; there are {tile.tokens}")

    # Memory image

    def _build_image(self):
        c, config, model = self.model.config, self.config, self.model
        image = Image(max(4096, config.stream_bytes))
        tensor = lambda name: block_tensor(model.tensors[name])
        single = lambda t: TiledMatrix.place(image, [t], [[(0, a, b)] if b > a else [] for a, b in split_columns(t.shape[0], config)],
                                             config)
        gain = lambda name: image.array(np.asarray(model.tensors[name], np.float32))
        self._layers = []
        for n in range(c.layers):
            name = lambda part: f"blk.{n}.{part}.weight"
            q, k, v = (tensor(name(part)) for part in ("attn_q", "attn_k", "attn_v"))
            self._layers.append(_Layer(
                attn_gain=gain(name("attn_norm")), ffn_gain=gain(name("ffn_norm")), qkv=self._place_qkv(image, (q, k, v)),
                output=single(tensor(name("attn_output"))),
                gate_up=self._place_gate_up(image, tensor(name("ffn_gate")), tensor(name("ffn_up"))),
                down=single(tensor(name("ffn_down"))),
                keys=tuple(image.reserve(self._key_cache_bytes()) for _ in range(c.kv_heads)),
                values=tuple(image.reserve(self._positions * c.head_dim) for _ in range(c.kv_heads)),
                value_scales=tuple(image.reserve(4 * self._positions * c.head_dim // BLOCK) for _ in range(c.kv_heads))))
        self._final_gain = gain("output_norm.weight")
        self._head = single(block_tensor(model.output))
        self._vocab = align(c.vocab, max(BLOCK, config.tile.array.cols))
        positions = np.arange(self._positions)[:, None]
        angles = positions * c.rope_base ** -(np.arange(0, c.head_dim, 2) / c.head_dim)
        self._cos = image.array(np.repeat(np.cos(angles), 2, axis=1).astype(np.float32))
        self._sin = image.array(np.stack((-np.sin(angles), np.sin(angles)), -1).reshape(self._positions, -1).astype(np.float32))
        self._input = image.reserve(4 * self.max_tokens * c.dim)
        self._logits = image.reserve(4 * self.max_tokens * self._vocab)
        self._best = image.reserve(LINE_BYTES * 4 * config.tiles)
        self.ring = (image.reserve(64 * self.RING), self.RING)
        self.image = image.pieces
        self.memory_bytes = image.size
        if self.memory_bytes > 1 << config.memory.addr_width:
            raise CompileError(f"{c.name}: needs {self.memory_bytes} bytes of memory; {config.memory.addr_width} address bits "
                               f"reach {1 << config.memory.addr_width}")

    def _place_qkv(self, image, tensors):
        """Q, K and V side by side: each tile's columns, cut where the matrices meet."""
        starts = np.cumsum([0] + [t.shape[0] for t in tensors])
        granule = max(BLOCK, self.config.tile.array.cols)
        if any(t.shape[0] % granule for t in tensors):
            raise CompileError(f"{self.model.config.name}: Q, K or V has columns that are no multiple of {granule}")
        chunks = []
        for first, end in split_columns(int(starts[-1]), self.config):
            ranges = [(i, max(first, int(a)) - int(a), min(end, int(b)) - int(a))
                      for i, (a, b) in enumerate(zip(starts, starts[1:])) if max(first, a) < min(end, b)]
            chunks.append(ranges)
        return TiledMatrix.place(image, tensors, chunks, self.config)

    def _place_gate_up(self, image, gate, up):
        """For each tile its columns in chunks: gate's, then up's."""
        width = self._buffers.ffn_columns
        chunks = [[(which, at, min(at + width, end)) for at in range(first, end, width) for which in (0, 1)]
                  for first, end in split_columns(gate.shape[0], self.config)]
        return TiledMatrix.place(image, [gate, up], chunks, self.config)

    def _key_step_bytes(self):
        array = self.config.tile.array
        return array.segments * array.cols * (4 + BLOCK)

    def _key_group_bytes(self):
        """Bytes of the K cache for ``cols`` positions."""
        return self._key_step_bytes() * self.model.config.head_dim // BLOCK // self.config.tile.array.segments

    def _key_cache_bytes(self):
        return self._key_group_bytes() * self._positions // self.config.tile.array.cols

    # Programs

    def step(self, tokens, position, *, logits="last"):
        """The program that runs ``tokens`` (token ids) at positions ``position`` on, given all before were run.

        ``logits``: "last" (and the argmax of the last token), "all", or "none".
        """
        tokens = list(tokens)
        if not 1 <= len(tokens) <= self.max_tokens:
            raise CompileError(f"a step takes 1 to {self.max_tokens} tokens, not {len(tokens)}")
        if position + len(tokens) > self.context:
            raise CompileError(f"positions {position} to {position + len(tokens) - 1} pass the context of {self.context}")
        if logits not in ("last", "all", "none"):
            raise ValueError(f"logits must be last, all or none, not {logits!r}")
        return _Step(self, len(tokens), position, logits).program(self.model.embed(tokens))

    @property
    def vocab_stride(self):
        """Bytes from a token's logits to the next token's in memory."""
        return 4 * self._vocab


class _Step:
    """Emits the commands of a step of ``count`` tokens at ``position``."""

    def __init__(self, compiled, count, position, logits):
        self.m = compiled
        self.c = compiled.model.config
        self.config = compiled.config
        self.o = compiled._buffers
        self.count = count
        self.position = position
        self.logits = logits
        self.b = ProgramBuilder(compiled.config)
        self.all = range(compiled.config.tiles)
        self.dim_lines, self.qkv_lines = _lines(self.c.dim), _lines(compiled._qkv_words)
        self.head_lines, self.head_blocks = _lines(self.c.head_dim), self.c.head_dim // BLOCK
        tiles = compiled.config.tiles
        if count >= tiles:  # tokens over tiles
            bounds = [count * t // tiles for t in range(tiles + 1)]
            self.rows = list(zip(bounds, bounds[1:]))
        else:
            self.rows = [(t, t + 1) if t < count else (0, 0) for t in self.all]

    def program(self, embedding):
        m, c, b = self.m, self.c, self.b
        b.load(self.all, m._input, 4 * c.dim, self.o.x, self.dim_lines, self.count, self.dim_lines,
               reads=[b.memory("input")], label="embedding")
        for n, layer in enumerate(m._layers):
            self._layer(n, layer)
        result = {}
        if self.logits != "none":
            result = self._head()
        return b.build(inputs=[(m._input, np.ascontiguousarray(embedding, np.float32).tobytes())], **result)

    # Parts

    def _norm(self, gain_addr, gain, rows, label):
        """RMSNorm of the tiles' ``rows`` of the residual, quantised and broadcast."""
        c, o, b = self.c, self.o, self.b
        b.load(self.all, gain_addr, 0, gain, 0, 1, self.dim_lines, reads=(), label=f"{label}.gain")
        for tile, (first, end) in enumerate(rows):
            if end == first:
                continue
            n = end - first
            x = dict(a=o.x + first * self.dim_lines, a_stride=self.dim_lines, rows=n, blocks=c.dim // BLOCK)
            b.vector(tile, **x, b=x["a"], b_stride=x["a_stride"], op1=AluOp.MUL, sel1=B, reduce=SUM, r=o.squares,
                     label=f"{label}.squares")
            b.vector(tile, blocks=-(-n // BLOCK), a=o.squares, op1=AluOp.ADD, sel1=IMMEDIATE, imm1=c.dim * c.norm_eps,
                     sfu=SfuOp.RSQRT, op2=AluOp.MUL, sel2=IMMEDIATE, imm2=math.sqrt(c.dim), sink=VMEM, dst=o.squares,
                     label=f"{label}.rsqrt")
            b.vector(tile, self.all, **x, b=gain, op1=AluOp.MUL, sel1=B, op2=AluOp.MUL, sel2=C, c=o.squares,
                     sink=QUANTISE, dst=o.normed + first * (c.dim // BLOCK), dst_stride=c.dim // BLOCK, label=f"{label}.scale")

    def _project(self, matrix, tile, label):
        if matrix.size[tile]:
            self.b.stream(tile, matrix.address[tile], matrix.size[tile], label=f"{label}.weights")

    def _matmul(self, matrix, tile, tiles, a, columns, dst, dst_stride, label, rows=None):
        """The product of ``rows`` rows of activations (all tokens' by default) with the stream's next ``columns`` columns."""
        self.b.matmul(tile, tiles, a=a, a_stride=matrix.k_blocks, rows=self.count if rows is None else rows,
                      k_blocks=matrix.k_blocks, groups=-(-columns // self.config.tile.array.cols), dst=dst,
                      dst_stride=dst_stride, label=label, **matrix.format)

    def _layer(self, n, layer):
        c, o, b, name = self.c, self.o, self.b, f"layer{n}"
        self._norm(layer.attn_gain, o.attn_gain, self.rows, f"{name}.attn_norm")
        starts = np.cumsum([0, c.heads, c.kv_heads]) * c.head_dim
        for tile in self.all:
            self._project(layer.qkv, tile, f"{name}.qkv")
            for which, first, end in layer.qkv.chunks[tile]:
                self._matmul(layer.qkv, tile, self.all, o.normed, end - first, o.qkv + _lines(int(starts[which]) + first),
                             self.qkv_lines, f"{name}.{'qkv'[which]}")
        self._attention(n, layer, name)
        self._residual(layer.output, o.attended, f"{name}.attn_output")
        self._norm(layer.ffn_gain, o.ffn_gain, self.rows, f"{name}.ffn_norm")
        self._feed_forward(layer, name)
        self._residual(layer.down, o.hidden, f"{name}.ffn_down")
        macs = self.count * sum(t.shape[0] * t.shape[1] for t in (
            self.m.model.tensors[f"blk.{n}.{part}.weight"]
            for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")))
        keys = self.count * self.position + self.count * (self.count + 1) // 2
        weight_bytes = sum(sum(matrix.size) for matrix in (layer.qkv, layer.output, layer.gate_up, layer.down))
        kv_bytes = (self.position + self.count) * c.kv_heads * 2 * (c.head_dim + 4 * self.head_blocks)
        b.work.append(LayerWork(name, macs + 2 * keys * c.heads * c.head_dim, weight_bytes, kv_bytes))

    def _residual(self, matrix, a, label):
        """x += projection of ``a``; each tile its columns, broadcast."""
        c, o, b = self.c, self.o, self.b
        for tile in self.all:
            self._project(matrix, tile, label)
            for _, first, end in matrix.chunks[tile]:
                lines = _lines(end - first)
                self._matmul(matrix, tile, [tile], a, end - first, o.qkv, self.qkv_lines, label)
                x = o.x + _lines(first)
                b.vector(tile, self.all, rows=self.count, blocks=(end - first) // BLOCK, a=x, a_stride=self.dim_lines, b=o.qkv,
                         b_stride=self.qkv_lines, op1=AluOp.ADD, sel1=B, sink=VMEM, dst=x, dst_stride=self.dim_lines,
                         label=f"{label}.residual")

    def _feed_forward(self, layer, name):
        c, o, b = self.c, self.o, self.b
        width = _lines(o.ffn_columns)
        for tile in self.all:
            self._project(layer.gate_up, tile, f"{name}.gate_up")
        longest = max(len(chunks) for chunks in layer.gate_up.chunks)
        for i in range(0, longest, 2):
            gate = o.qkv + (i // 2 % 2) * 2 * width
            for tile in self.all:
                if i >= len(layer.gate_up.chunks[tile]):
                    continue
                _, first, end = layer.gate_up.chunks[tile][i]
                for which, dst in ((0, gate), (1, gate + width)):
                    self._matmul(layer.gate_up, tile, [tile], o.normed, end - first, dst, self.qkv_lines,
                                 f"{name}.{('ffn_gate', 'ffn_up')[which]}")
                b.vector(tile, self.all, rows=self.count, blocks=(end - first) // BLOCK, a=gate, a_stride=self.qkv_lines,
                         b=gate + width, b_stride=self.qkv_lines, sfu=SfuOp.SILU, op2=AluOp.MUL, sel2=B, sink=QUANTISE,
                         dst=o.hidden + first // BLOCK, dst_stride=c.ffn_dim // BLOCK, label=f"{name}.silu")

    # Attention

    def _jobs(self):
        """For each tile: (first row, end row, {KV head: query heads}); and the KV heads whose K and V it makes."""
        c = self.c
        group = c.heads // c.kv_heads
        if self.count >= self.config.tiles:
            heads = {kv: range(kv * group, (kv + 1) * group) for kv in range(c.kv_heads)}
            return [(first, end, heads, list(range(c.kv_heads))) for first, end in self.rows]
        jobs = []
        tiles = self.config.tiles
        for tile in self.all:
            mine = range(c.heads * tile // tiles, c.heads * (tile + 1) // tiles)
            heads = {}
            for head in mine:
                heads.setdefault(head // group, []).append(head)
            jobs.append((0, self.count, heads, [kv for kv in range(c.kv_heads) if kv % tiles == tile]))
        return jobs

    def _attention(self, n, layer, name):
        c, o, b = self.c, self.o, self.b
        jobs = self._jobs()
        for tile, (first, end, heads, kv_heads) in enumerate(jobs):
            if end > first:
                rows, table = end - first, 4 * c.head_dim * (self.position + first)
                for dst, source in ((o.cos, self.m._cos), (o.sin, self.m._sin)):
                    if n == 0:
                        b.load([tile], source + table, 4 * c.head_dim, dst, self.head_lines, rows, self.head_lines, reads=(),
                               label="rope.table")
                query_heads = sorted(head for some in heads.values() for head in some)
                for ranges in self._ranges(query_heads + [c.heads + kv for kv in kv_heads]):
                    self._rope(tile, first, rows, *ranges, name)
                for kv in kv_heads:
                    self._write_cache(tile, first, rows, n, layer, kv, name)
        for tile, (first, end, heads, _) in enumerate(jobs):
            for kv in heads if end > first else ():
                self._attend(tile, first, end - first, n, layer, kv, list(heads[kv]), f"{name}.attn")

    @staticmethod
    def _ranges(numbers):
        """Consecutive runs (first, end) of sorted ``numbers``."""
        runs = []
        for number in numbers:
            if runs and runs[-1][1] == number:
                runs[-1][1] = number + 1
            else:
                runs.append([number, number + 1])
        return [tuple(run) for run in runs]

    def _rope(self, tile, first, rows, head, end, name):
        """Rotate heads ``head`` to ``end`` of the tile's own rows in place: x*cos + swapped(x)*signed sin."""
        o, b, lines = self.o, self.b, self.head_lines
        x = o.qkv + first * self.qkv_lines + head * lines
        if rows >= end - head:
            sweeps = [(x + h * lines, self.qkv_lines, rows, 0, lines) for h in range(end - head)]
        else:
            sweeps = [(x + r * self.qkv_lines, lines, end - head, r * lines, 0) for r in range(rows)]
        for at, stride, count, table, table_stride in sweeps:
            common = dict(rows=count, blocks=self.head_blocks, label=f"{name}.rope")
            for dst, source, swap in ((o.rope1, o.cos, 0), (o.rope2, o.sin, 1)):
                b.vector(tile, **common, a=at, a_stride=stride, swap=swap, b=source + table, b_stride=table_stride,
                         op1=AluOp.MUL, sel1=B, sink=VMEM, dst=dst, dst_stride=lines)
            b.vector(tile, **common, a=o.rope1, a_stride=lines, b=o.rope2, b_stride=lines, op1=AluOp.ADD, sel1=B, sink=VMEM,
                     dst=at, dst_stride=stride)

    def _write_cache(self, tile, first, rows, n, layer, kv, name):
        """Quantise a KV head's K and V of the tile's own rows, and store them."""
        c, o, b, m = self.c, self.o, self.b, self.m
        array = self.config.tile.array
        stride = c.kv_heads * self.head_blocks
        for dst, column in ((o.new_keys, c.heads + kv), (o.new_values, c.heads + c.kv_heads + kv)):
            b.vector(tile, rows=rows, blocks=self.head_blocks, a=o.qkv + first * self.qkv_lines + column * self.head_lines,
                     a_stride=self.qkv_lines, sink=QUANTISE, dst=dst + kv * self.head_blocks, dst_stride=stride,
                     label=f"{name}.kv_quantise")
        written = lambda kind: [b.memory(kind, n, kv, tile)]
        chunk = min(array.rows, BLOCK)
        at = 0
        while at < rows:  # runs of positions in one group of the K cache
            t = self.position + first + at
            run = min(rows - at, array.cols - t % array.cols)
            for block in range(self.head_blocks):
                step, segment = divmod(block, array.segments)
                base = layer.keys[kv] + t // array.cols * m._key_group_bytes() + step * m._key_step_bytes()
                source = dict(src=o.new_keys + at * stride + kv * self.head_blocks + block, src_stride=stride, rows=run)
                b.store_scale(tile, **source, addr=base + 4 * (segment * array.cols + t % array.cols), stride=4,
                              writes=written("keys"), label=f"{name}.store_k")
                data = base + 4 * array.segments * array.cols
                for p in range(array.passes):
                    b.store_block(tile, **source, offset=p * chunk, length=chunk, stride=array.rows,
                                  addr=data + (p * array.cols + t % array.cols) * array.rows + segment * BLOCK,
                                  writes=written("keys"), label=f"{name}.store_k")
            at += run
        t = self.position + first
        for block in range(self.head_blocks):
            source = dict(src=o.new_values + kv * self.head_blocks + block, src_stride=stride, rows=rows)
            b.store_scale(tile, **source, addr=layer.value_scales[kv] + 4 * (block * m._positions + t), stride=4,
                          writes=written("values"), label=f"{name}.store_v")
            for part in range(BLOCK // array.cols):
                group = block * (BLOCK // array.cols) + part
                b.store_block(tile, **source, offset=part * array.cols, length=array.cols, stride=array.cols,
                              addr=layer.values[kv] + (group * m._positions + t) * array.cols, writes=written("values"),
                              label=f"{name}.store_v")

    def _key_chunks(self, first, rows):
        """Ranges of positions (first, end) scored at a time; all but the last are seen by every row."""
        end, granule = self.position + first + rows, self.m._key_granule
        chunks, at = [], 0
        while end - at > self.o.keys:
            size = min(self.o.keys, (self.position + first + 1 - at) // granule * granule)
            chunks.append((at, at + size))
            at += size
        return chunks + [(at, end)]

    def _attend(self, tile, first, rows, n, layer, kv, heads, label):
        """Attention of query ``heads`` (of one KV head) for the tile's own ``rows`` rows from ``first``, quantised."""
        c, o, b, m = self.c, self.o, self.b, self.m
        array, lines, blocks = self.config.tile.array, self.head_lines, self.head_blocks
        caches = lambda kind: [b.memory(kind, n, kv, t) for t in self.all]
        for i, head in enumerate(heads):
            b.vector(tile, rows=rows, blocks=blocks, a=o.qkv + first * self.qkv_lines + head * lines, a_stride=self.qkv_lines,
                     op1=AluOp.MUL, sel1=IMMEDIATE, imm1=c.head_dim ** -0.5 * LOG2_E, sink=QUANTISE,
                     dst=o.queries + i * rows * blocks, dst_stride=blocks, label=f"{label}.q_quantise")
        scalar = lambda buffer, i: buffer + i * o.scalar_lines
        chunks = self._key_chunks(first, rows)
        for j, (start, end) in enumerate(chunks):
            padded = align(end - start, m._key_granule)
            key_blocks, stride = padded // BLOCK, _lines(padded)
            b.load([tile], layer.value_scales[kv] + 4 * start, 4 * m._positions, o.value_scales, stride, blocks, stride,
                   reads=caches("values"), label=f"{label}.v_scales")
            groups = padded // array.cols
            b.stream(tile, layer.keys[kv] + start // array.cols * m._key_group_bytes(), groups * m._key_group_bytes(),
                     reads=caches("keys"), label=f"{label}.keys")
            b.matmul(tile, [tile], a=o.queries, a_stride=blocks, rows=len(heads) * rows, k_blocks=blocks, groups=groups,
                     dst=o.scores, dst_stride=stride, scale=2, transpose=1, label=f"{label}.scores")
            for i in range(len(heads)):
                scores = dict(rows=rows, blocks=key_blocks, a=o.scores + i * rows * stride, a_stride=stride)
                masked = dict(limit=self.position + first + 1 - start, limit_step=1, fill=MINUS_INFINITY)
                maximum = scalar(o.maximum, i) if j == 0 else scalar(o.chunk_maximum, i)
                b.vector(tile, **scores, **masked, reduce=MAXIMUM, r=maximum, label=f"{label}.max")
                if j:
                    row = dict(blocks=-(-rows // BLOCK))
                    b.vector(tile, **row, a=maximum, b=scalar(o.maximum, i), op1=AluOp.MAX, sel1=B, sink=VMEM,
                             dst=scalar(o.new_maximum, i), label=f"{label}.merge")
                    b.vector(tile, **row, a=scalar(o.maximum, i), b=scalar(o.new_maximum, i), op1=AluOp.SUB, sel1=B,
                             sfu=SfuOp.EXP2, sink=VMEM, dst=scalar(o.factor, i), label=f"{label}.merge")
                    b.vector(tile, **row, a=scalar(o.new_maximum, i), sink=VMEM, dst=scalar(o.maximum, i),
                             label=f"{label}.merge")
                total = scalar(o.sum, i) if j == 0 else scalar(o.chunk_sum, i)
                b.vector(tile, **scores, **masked, op1=AluOp.SUB, sel1=C, c=scalar(o.maximum, i), sfu=SfuOp.EXP2, sink=VMEM,
                         dst=scores["a"], dst_stride=stride, reduce=SUM, r=total, label=f"{label}.exp")
                if j:
                    b.vector(tile, **row, a=scalar(o.sum, i), b=scalar(o.factor, i), op1=AluOp.MUL, sel1=B, sink=VMEM,
                             dst=scalar(o.sum, i), label=f"{label}.merge")
                    b.vector(tile, **row, a=scalar(o.sum, i), b=total, op1=AluOp.ADD, sel1=B, sink=VMEM,
                             dst=scalar(o.sum, i), label=f"{label}.merge")
                for block in range(blocks):
                    b.vector(tile, **scores, b=o.value_scales + block * stride, op1=AluOp.MUL, sel1=B, sink=QUANTISE,
                             dst=o.probabilities[block] + i * rows * key_blocks, dst_stride=key_blocks,
                             label=f"{label}.p_quantise")
            out = o.out if j == 0 else o.partial
            b.stream(tile, layer.values[kv] + start * array.cols, padded * array.cols, rows=c.head_dim // array.cols,
                     stride=m._positions * array.cols, reads=caches("values"), label=f"{label}.values")
            for block in range(blocks):
                b.matmul(tile, [tile], a=o.probabilities[block], a_stride=key_blocks, rows=len(heads) * rows,
                         k_blocks=key_blocks, groups=BLOCK // array.cols, dst=out + block * _lines(BLOCK), dst_stride=lines,
                         label=f"{label}.output")
            if j:
                for i in range(len(heads)):
                    at = i * rows * lines
                    b.vector(tile, rows=rows, blocks=blocks, a=o.out + at, a_stride=lines, op1=AluOp.MUL, sel1=C,
                             c=scalar(o.factor, i), op2=AluOp.ADD, sel2=B, b=o.partial + at, b_stride=lines, sink=VMEM,
                             dst=o.out + at, dst_stride=lines, label=f"{label}.merge")
        for i, head in enumerate(heads):
            b.vector(tile, blocks=-(-rows // BLOCK), a=scalar(o.sum, i), sfu=SfuOp.RECIPROCAL, sink=VMEM, dst=scalar(o.sum, i),
                     label=f"{label}.reciprocal")
            b.vector(tile, self.all, rows=rows, blocks=blocks, a=o.out + i * rows * lines, a_stride=lines, op1=AluOp.MUL,
                     sel1=C, c=scalar(o.sum, i), sink=QUANTISE, dst=o.attended + first * c.heads * blocks + head * blocks,
                     dst_stride=c.heads * blocks, label=f"{label}.normalise")

    # Logits

    def _head(self):
        """Final norm and output projection of the last or of all tokens; what the program leaves in memory."""
        c, o, b, m = self.c, self.o, self.b, self.m
        last = self.logits == "last"
        if last:
            owner = next(t for t in reversed(self.all) if self.rows[t][1] > self.rows[t][0])
            rows = [(self.count - 1, self.count) if t == owner else (0, 0) for t in self.all]
        else:
            rows = self.rows
        self._norm(m._final_gain, o.attn_gain, rows, "output_norm")
        count = 1 if last else self.count
        a = o.normed + (self.count - 1 if last else 0) * (c.dim // BLOCK)
        granule = max(BLOCK, self.config.tile.array.cols)
        room = m._qkv_words * o.tokens // count // 2  # words of a row in each of two buffers
        width = min(room // granule * granule, 1024)
        for tile in self.all:
            self._project(m._head, tile, "output")
        starts = [chunks[0][1] if chunks else 0 for chunks in m._head.chunks]
        ends = [chunks[0][2] if chunks else 0 for chunks in m._head.chunks]
        longest = max(end - start for start, end in zip(starts, ends))
        for i, offset in enumerate(range(0, longest, width)):
            for tile in self.all:
                first, end = starts[tile] + offset, min(starts[tile] + offset + width, ends[tile])
                if first >= end:
                    continue
                dst = o.qkv + (i % 2) * count * _lines(width)
                self._matmul(m._head, tile, [tile], a, end - first, dst, _lines(width), "output", rows=count)
                columns = align(end - first, granule)
                if last:
                    b.vector(tile, blocks=columns // BLOCK, a=dst, reduce=ARGMAX, first=int(offset == 0), index=first,
                             limit=end - first if columns > end - first else 0xFFFF, fill=MINUS_INFINITY, r=o.best,
                             label="output.argmax")
                b.store(tile, dst, _lines(width), count, _lines(columns), m._logits + 4 * first, m.vocab_stride,
                        writes=[b.memory("logits", tile)], label="output.store")
        best = []
        if last:
            for tile in self.all:
                if ends[tile] > starts[tile]:
                    address = m._best + 4 * LINE_BYTES * tile
                    b.store(tile, o.best, 0, 1, 4, address, 0, writes=[b.memory("best", tile)], label="output.best")
                    best.append(address)
        head = m.model.output
        b.work.append(LayerWork("output", count * head.shape[0] * head.shape[1], sum(m._head.size)))
        return {"logits": (m._logits, count), "best": best}
