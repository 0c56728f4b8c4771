"""Who works on what, and where it lies in the local memories, for steps of one shape."""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from poblano.config import BLOCK, LINE_WORDS

from .cache import attended_heads
from .errors import CompileError
from .experts import ExpertRoom
from .groups import Groups
from .image import Allocator, align
from .outputs import Outputs
from .room import Room

__all__ = ["LINES", "PIECE", "Chunks", "Item", "Part", "Plan", "Shape"]

LINES = BLOCK // LINE_WORDS
"""Lines of a block of FP32 words."""

PIECE = 8
"""Rows that are loaded and normalised at once, so that the first are normalised while others come."""
SLOTS = 5
"""Chunks of a projection's results that are kept at once, where there is room."""
BUFFERS = 4
"""Items of attention that are under way at once, where there is room."""
FFN_COLUMNS, COLUMNS = 256, 2048
"""The most columns of a chunk in the feed-forward network, and elsewhere."""
CHUNK_CYCLES = 1500
"""About the cycles of a chunk's product with several tokens: short, so that matrix and vector work
overlap."""


SPAN = 512
"""Positions that attention sees at once. The softmax goes from one *span* to the next, which begin at
multiples of this: it is a part of what a model's bits are, and depends neither on the chip nor on the
step."""


@dataclass(frozen=True, order=True)
class Part:
    """Tokens of one sequence in a step.

    count : tokens
    column : of several tokens, the first position modulo the array's columns, or with page tables modulo the
        positions of a page: where they begin in the K cache
    context : the most positions that they see, themselves included
    limited : so many of the first for which experts have room as their capacity says; for others they have
    """

    count: int
    column: int
    context: int
    limited: int = 0


@dataclass(frozen=True)
class Shape:
    """What a program is compiled for: the ``parts`` of a step, one behind the other, and of how many tokens,
    the last ones, the ``logits`` are wanted."""

    parts: tuple
    logits: int

    @cached_property
    def count(self):
        """Tokens of the step."""
        return sum(part.count for part in self.parts)

    @cached_property
    def context(self):
        """The most positions that a token sees."""
        return max(part.context for part in self.parts)

    @cached_property
    def firsts(self):
        """The first token of each part."""
        return tuple(accumulate((part.count for part in self.parts), initial=0))[:-1]

    def split(self, first, end):
        """(number of the part, first, end) of the parts' tokens among ``first`` to ``end``."""
        spans = (
            (n, max(at, first), min(at + part.count, end))
            for n, (at, part) in enumerate(zip(self.firsts, self.parts))
        )
        return [span for span in spans if span[1] < span[2]]


@dataclass(frozen=True)
class Chunks:
    """Room for results of a projection: ``count`` places of ``lines`` lines from ``base`` on, used in
    turn."""

    base: int
    lines: int
    count: int
    columns: int

    def place(self, n):
        """The first line of the ``n``-th chunk."""
        return self.base + n % self.count * self.lines


@dataclass(frozen=True)
class Item:
    """A piece of a tile's attention: query heads ``head`` to ``head_end`` of a KV head, tokens ``first`` to
    ``end`` of the step, which are of its part ``part``.

    Its rows are (token, head), the head fastest.
    """

    kv: int
    head: int
    head_end: int
    part: int
    first: int
    end: int

    @property
    def heads(self):
        return self.head_end - self.head

    @property
    def count(self):
        return self.end - self.first

    @property
    def rows(self):
        return self.heads * self.count


class Plan:
    """Places in the local memories for steps of a :class:`Shape`, the same in every tile.

    Vector memory: what lasts (the tile's own rows of the residual, gains, biases, RoPE's tables, row
    scalars), then a pool that every part of a layer divides anew. Activation memory: ``normed`` (a
    projection's input, or the attention's output), then PartNorms' ``rows``, Q, K, V and probabilities, or
    the feed-forward network's ``hidden`` vector.

    Members
    -------
    projected : (first, end) tokens of which Q, K and V are computed at once, before others'
    stored_apart : whether a sequence's attention waits for its own K and V alone, not for those of all: with
        several homes, where arrays wait more than memory. On one home writes among the reads of attention
        take more of the memory's time than waiting does (0.2 % of a step of 8 sequences on ``desk``)

    Raises :class:`CompileError` if they don't fit.
    """

    def __init__(self, sizes, shape, config, room=None):
        self.sizes, self.shape, self.config = sizes, shape, config
        self.room = room = room or Room.whole(config.tile)
        self.stored_apart = config.memory.homes > 1
        count = shape.count
        what = f"{sizes.name}: a step of {count} token{'s' * (count > 1)} needs"
        problem: CompileError | None = None
        for number, apart in ((self._groups(), False), (2, True), (4, True), (8, True)):
            self.groups, self.hidden_apart = Groups.of(count, number, config), apart
            self.projected = self.groups.bounds if self._time_for(sizes.read_bytes(count)) else ((0, count),)
            try:
                self._vector_memory(Allocator(room.lines, f"{what} vector memory", "lines"))
                self._activation_memory(Allocator(room.blocks, f"{what} activation memory", "blocks"))
                self._attention()
                self.experts = ExpertRoom.of(self, what)
            except CompileError as error:
                problem = problem or error
            else:
                return
        assert problem is not None
        raise problem

    def _groups(self):
        """Two groups if both fill the array's rows well and memory has time to read some weights twice,
        else one."""
        sizes, count, config, items = self.sizes, self.shape.count, self.config, self.config.tile.array.items
        second = count - align(max(items, -(-count // 2)), config.tiles)
        return 2 if second >= 3 * items // 4 and self._time_for(sizes.again_bytes(config.tiles)) else 1

    def _time_for(self, more):
        """Whether memory has time for a layer's weights and ``more`` bytes."""
        sizes, config = self.sizes, self.config
        count = self.shape.count
        compute, size = count * sizes.layer_macs / config.macs_per_cycle, sizes.read_bytes(count) + more
        return size / float(config.memory.total_bandwidth) < 0.8 * compute

    def _vector_memory(self, vmem):
        sizes, count, own = self.sizes, self.shape.count, self.groups.own
        take = lambda words: vmem.take(align(words, BLOCK) // LINE_WORDS)
        self.x = take(own * sizes.dim)
        self.gains = [take(BLOCK * sizes.dim_blocks) for _ in range(sizes.norms)]
        self.vectors = [take(words) for words in sizes.vectors]
        self.ropes = [take(count * 2 * sizes.head_dim) for _ in range(sizes.ropes)]
        # Each piece has a block of its own, which is computed at once.
        self.squares = [take(-(-share // PIECE) * BLOCK) for share in self.groups.share]
        self.scores = [take(share) for share in self.groups.share] if sizes.scored else []
        scalars = align(max(count * sizes.group, BLOCK), BLOCK)
        scalars = min(scalars, self.config.tile.tokens)
        self.maxima, self.sums = ([take(scalars) for _ in range(BUFFERS)] for _ in range(2))
        if None in sizes.windows and self._spanned(None):
            self.highest, self.factors, self.totals = (
                [take(scalars) for _ in range(BUFFERS)] for _ in range(3)
            )
        self.best = take(BLOCK)
        if sizes.layer_norms:
            self.means, self.centred = take(BLOCK), take(min(PIECE, own) * sizes.dim)
        self.pool, self.pool_lines = vmem.used, vmem.size - vmem.used
        added = self.lines(own, sizes.dim) if sizes.added_norms else 0
        chunk, head = (self.lines(n, sizes.granule) for n in (count, max(count, self.room.logits)))
        logits = 2 * head + -(-2 * head // BLOCK) + SLOTS * LINES if head > chunk or count > 1 else 0
        vmem.take(max((2 + sizes.spare) * sizes.pair * chunk, added, logits))

    def _activation_memory(self, amem):
        sizes, count = self.sizes, self.shape.count
        segments = self.config.tile.array.segments
        take = lambda blocks: amem.take(blocks, segments)
        self.normed = self.room.normed
        if self.normed is None:
            self.normed = take(count * max(sizes.dim_blocks, sizes.attended_blocks))
        self.hidden = align(amem.used, segments)
        self.rows = [take(count * blocks) for blocks in sizes.part_norms]
        self.queries = take(count * sizes.heads * sizes.head_steps)
        kv_blocks = sizes.kv_heads * sizes.head_blocks
        self.keys, self.values = take(count * kv_blocks), take(count * kv_blocks)
        self.probabilities = align(amem.used, segments)
        self.probability_blocks = amem.size - self.probabilities
        amem.used = self.hidden
        most = max(end - first for first, end in self.groups.bounds) if self.hidden_apart else count
        take(most * sizes.hidden_blocks)

    def lines(self, rows, columns):
        """Lines of ``rows`` rows of ``columns`` columns, whole granules."""
        return rows * align(columns, self.sizes.granule) // LINE_WORDS

    def whole_row(self, n):
        """The first line of the ``n``-th place for the tile's rows of heads that are normalised together, or
        of a PartNorm; 2 is room to work on them."""
        return self._whole_rows + n * self.lines(self.groups.own, self.sizes.together)

    def chunks(self, rows, most, *, pair=1, lines=None, least=2, spare=0, slots=SLOTS, granule=None):
        """:class:`Chunks` of at most ``most`` columns, but of at least a ``granule`` (the sizes'), for
        ``rows`` rows in the first ``lines`` (all) lines of the pool.

        At least ``least`` of them, at most ``slots``, of ``pair`` matrices side by side, and ``spare`` more
        of their size behind them.
        """
        room = self.pool_lines if lines is None else lines
        granule = self.sizes.granule if granule is None else granule
        unit = self.lines(rows, granule) * pair
        granules = max(1, min(-(-most // granule), room // ((least + spare) * unit)))
        size = granules * unit
        count = max(least, min(slots, room // size - spare))
        return Chunks(self.pool, size, count, granules * granule)

    def logits(self, rows):
        """:class:`Chunks` of ``rows`` rows of logits, and if there are several rows, behind them as many of
        their blocks' maxima, else None."""
        if rows == 1:
            return self.chunks(1, COLUMNS), None
        # A word for each block of logits, and what is stored at once begins and ends with a block of words.
        room = (self.pool_lines - SLOTS * LINES) * BLOCK // (BLOCK + 1)
        chunks = self.chunks(rows, COLUMNS, lines=room)
        lines = align(-(-chunks.lines // BLOCK), LINES)
        behind = self.pool + chunks.count * chunks.lines
        return chunks, Chunks(behind, lines, chunks.count, chunks.columns // BLOCK)

    # Attention

    def outputs(self, item):
        """The :class:`.outputs.Outputs` of an :class:`Item`."""
        return Outputs(self.config, self.sizes.head_blocks, item.rows, self.room.half)

    def _attention(self):
        """Divides the pool between Q, K and V's chunks and attention, and the attention's work into items."""
        self.front_lines, self.buffers = self.pool_lines, BUFFERS
        if not self.sizes.heads:
            return
        work = self._attention_work()
        most = max((end - first for mine in work for *_, first, end in mine), default=1)
        heads = max((head_end - head for mine in work for _, head, head_end, *_ in mine), default=1)
        rows = max(end - first for first, end in self.projected)
        granule = self.sizes.head_granule
        least = 3 * self.lines(rows, granule)
        columns = self.columns(rows, self.sizes.dim_blocks)
        for lines in (max(self.pool_lines // 2, least), max(self.pool_lines // 4, least), least):
            self.qkv = self.chunks(rows, columns, lines=lines, spare=1, granule=granule)
            used = (self.qkv.count + 1) * self.qkv.lines
            self._whole_rows = self.pool + used
            room = self.pool_lines - used - 3 * self.lines(self.groups.own, self.sizes.together)
            sizes = {buffers: self._item_tokens(heads, most, buffers, room) for buffers in (4, 3, 2, 1)}
            if sizes[2] >= min(most, 4):
                break
        if not sizes[1]:
            raise CompileError(
                f"{self.sizes.name}: attention over {self.shape.context} positions needs "
                f"{self.item_lines(1, heads)} "
                f"lines of vector memory and {self.item_blocks(heads)} blocks of activation memory; there "
                f"are {room} and "
                f"{self.probability_blocks} beside {self.shape.count} token{'s' * (self.shape.count > 1)}"
            )
        enough = (n for n, size in sizes.items() if size == most or n == 2 and size >= 4)
        self.buffers = next(enough, 1)
        size = sizes[self.buffers]
        self.item_room = self.item_lines(size, heads)
        self.attention_line = self.pool + self.pool_lines - self.buffers * self.item_room
        self.front_lines = self.attention_line - self.pool
        segments = self.config.tile.array.segments
        self.item_room_blocks = self.probability_blocks // self.buffers // segments * segments
        self.items = [
            [
                Item(kv, head, head_end, part, at, min(at + size, end))
                for kv, head, head_end, part, first, end in mine
                for at in range(first, end, size)
            ]
            for mine in work
        ]

    def _attention_work(self):
        """For each tile (KV head, first and last query head of it, part, tokens) that it attends for."""
        split = self.shape.split
        sizes, count, tiles, groups = self.sizes, self.shape.count, self.config.tiles, self.groups
        dealt = attended_heads(sizes.heads, sizes.kv_heads, tiles)
        if self.config.memory.homes > 1:
            spans = [span for bounds in groups.bounds for span in split(*bounds)]
            return [[(*heads, *span) for span in spans for heads in mine] for mine in dealt]
        if count >= tiles and count > 1:
            owned = [[groups.owned(g, tile) for g in range(len(groups.bounds))] for tile in range(tiles)]
            return [
                [
                    (kv, 0, sizes.group, *span)
                    for bounds in mine
                    for kv in range(sizes.kv_heads)
                    for span in split(*bounds)
                ]
                for mine in owned
            ]
        return [
            [(*heads, *span) for heads in mine for t in range(count) for span in split(t, t + 1)]
            for mine in dealt
        ]

    def together(self, head):
        """(first, number, tiles): the query heads that are attended with together with ``head``, and by whom.

        A tile streams the keys and values of its home alone: with several homes heads are dealt out to the
        tiles for any number of tokens.
        """
        sizes, tiles = self.sizes, self.config.tiles
        if self.config.memory.homes == 1:
            return head // sizes.group * sizes.group, sizes.group, range(tiles)
        for tile, mine in enumerate(attended_heads(sizes.heads, sizes.kv_heads, tiles)):
            for kv, first, end in mine:
                if first <= head - kv * sizes.group < end:
                    return kv * sizes.group + first, end - first, [tile]
        raise AssertionError(f"no tile attends with query head {head}")

    def columns(self, rows, blocks, most=COLUMNS):
        """Columns of a chunk of a product of ``rows`` rows and ``blocks`` blocks along K."""
        if self.shape.count == 1:
            return most
        array, granule = self.config.tile.array, self.sizes.granule
        cycles = granule // array.cols * blocks // array.segments * array.passes_4bit * max(rows, array.items)
        return min(most, max(1, CHUNK_CYCLES // cycles) * granule)

    def _item_tokens(self, heads, most, buffers, room):
        """The most of ``most`` tokens of an item of which ``buffers`` fit."""
        fits = lambda n: (
            n * heads <= self.config.tile.tokens
            and buffers * self.item_lines(n, heads) <= room
            and buffers * self.item_blocks(n * heads) <= self.probability_blocks
        )
        return next((n for n in range(most, 0, -1) if fits(n)), 0)

    def spans(self, window, context):
        """How many spans attention to all of ``context`` positions (``window`` None) sees; a window is
        one."""
        return 1 if window is not None else -(-context // SPAN)

    def _spanned(self, window):
        """Whether there are several."""
        return self.spans(window, self.shape.context) > 1

    def span(self, window):
        """Positions of a span of attention to all positions or to a ``window``, whole granules."""
        shape, granule = self.shape, self.sizes.key_granule
        positions = align(shape.context, granule)
        if window is None:
            return min(positions, align(SPAN, granule))
        return min(positions, align(window + shape.count + granule, granule))

    def ahead(self, tokens, window):
        """Words before each row of scores of ``tokens`` tokens: the last span begins after some of them, and
        their limits are in these words."""
        return align(tokens - 1, BLOCK) if self._spanned(window) else 0

    def item_lines(self, tokens, heads):
        """The most lines that an item of ``tokens`` tokens of ``heads`` heads needs in a layer."""
        return max(self._item_words(tokens, heads, window) for window in self.sizes.windows) // LINE_WORDS

    def _item_words(self, tokens, heads, window):
        """Words for the scores, which the output takes the place of, the scales of V, the sum of the outputs
        of several spans, and the mask of a window."""
        span = self.span(window)
        words = self.sizes.head_blocks * span
        words += self.score_room(tokens, heads, window)
        if self._spanned(window):
            words += self.sizes.out_words[tokens * heads]
        if self.windowed(window):
            words += tokens * sum(self.mask_words(tokens, window))
        return words

    def score_room(self, tokens, heads, window):
        """Words of the scores of an item, or of outputs in their place."""
        rows, ahead = tokens * heads, self.ahead(tokens, window)
        return max(rows * (ahead + self.span(window)), ahead + self.sizes.out_words[rows])

    def windowed(self, window):
        """Whether a step's tokens see fewer positions of a ``window`` (or None) than there are."""
        return window is not None and window < self.shape.context

    def mask_words(self, tokens, window):
        """(words before the first position, words) of each of ``tokens`` tokens' mask of the positions before
        its window, which end in the first granule of the first token or as many further as there are other
        tokens."""
        others = tokens - 1
        return align(others, BLOCK), min(align(self.sizes.key_granule + others, BLOCK), self.span(window))

    def item_blocks(self, rows):
        """Blocks for the probabilities, once for each block of a head."""
        return self.sizes.head_blocks * rows * max(map(self.span, self.sizes.windows)) // BLOCK
