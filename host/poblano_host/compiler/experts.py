"""Mixtures of experts on a chip: where their weights lie in memory, and what they need of the local
memories."""

from dataclasses import dataclass

import numpy as np

from poblano.config import BLOCK, LINE_WORDS, MOST_GROUPS

from ..models.experts import Experts
from ..models.model import rows_of
from .errors import CompileError
from .image import Allocator, align
from .weights import (
    TiledMatrix,
    block_tensor,
    check_weights,
    matrix_steps,
    matrix_stream,
    split_beside,
    split_columns,
    weight_form,
)

__all__ = ["ExpertMatrix", "ExpertPlaces", "ExpertRoom", "grouped", "mixtures", "refuse"]

LINES = BLOCK // LINE_WORDS
PLACES = 3
"""Chunks of results that are kept at once, where there is room."""
COLUMNS = 256
"""The most columns of a chunk."""


def grouped(node):
    """Whether an Experts operator selects from some of its experts' groups."""
    return node.used_groups < node.groups


def refuse(node, config):
    """CompileError for a mixture that ``config``'s chip can't compute."""
    chip = config.experts

    def require(condition, message):
        if not condition:
            raise CompileError(f"{node.name}: {message}")

    require(chip is not None, "this chip routes no experts; the preset desk-moe does")
    for name in ("experts", "used"):
        value, most = getattr(node, name), getattr(chip, name)
        require(value <= most, f"{value} {name} are more than this chip's {most}")
    if grouped(node):
        require(node.scoring == "sigmoid", "groups of experts that a softmax scores can't be compiled")
        require(node.groups <= MOST_GROUPS, f"{node.groups} groups are more than {MOST_GROUPS}")
        its = f"{node.used_groups} groups of a token are more than this chip's {chip.used}"
        require(node.used_groups <= chip.used, its)
        require(node.experts > node.groups, "groups of one expert can't be compiled")
    clamped = node.limit is not None
    require(clamped or node.function == "silu", "only SiLU of experts can be compiled")
    biases = (node.gate_bias, node.up_bias, node.down_bias)
    require(clamped or not any(biases), "biases of experts with SiLU can't be compiled")
    require(
        node.selection_bias is None or node.scoring == "sigmoid",
        "a bias of the selection by softmax can't be compiled",
    )
    require(node.hidden % BLOCK == 0, f"experts of {node.hidden} elements are no whole blocks")


@dataclass(frozen=True)
class ExpertMatrix:
    """A matrix of each expert, in the streams of the tiles.

    form : its operands of a MATMUL command; k_blocks : K in blocks, whole steps
    ranges : for each tile the output columns (first, end) that it has
    address : for each tile that of expert 0's stream
    group_bytes : bytes of a group of ``cols`` array columns
    """

    form: dict
    k_blocks: int
    ranges: tuple
    address: tuple
    group_bytes: int
    cols: int

    stream = TiledMatrix.stream


@dataclass(frozen=True)
class ExpertPlaces:
    """An Experts operator's weights: the router, and those of each expert, ``pitch`` bytes behind the one
    before in every tile's home.

    biases : addresses of the router's bias and of the selection's, None where there is none
    added : with a clamped activation, for each tile (address, lines) of what expert 0 adds to the tile's
        columns: to gate, to up (its bias, and 1), and to down, one behind the other; else empty
    size : bytes of all that a tile reads of an expert, together
    """

    router: TiledMatrix
    gate: ExpertMatrix
    up: ExpertMatrix
    down: ExpertMatrix
    pitch: int
    size: int
    biases: tuple
    added: tuple

    @classmethod
    def place(cls, image, node, model, config):
        """Appends them to ``image``."""
        tensor = lambda name: block_tensor(model.tensors[name], config)
        router = TiledMatrix.place(
            image, tensor(node.router), split_columns([node.experts], config)[0], config
        )
        (hidden,) = split_columns([node.hidden], config)
        before = [2 * (end - first) * node.width / node.hidden for first, end in hidden]
        out = split_beside(node.width, before, config)
        parts = {"gate": (node.gate, hidden), "up": (node.up, hidden), "down": (node.down, out)}
        streams, made = [[b""] * node.experts for _ in range(config.tiles)], {}
        for name, (stored, ranges) in parts.items():
            made[name] = cls._part(tensor(stored), node.experts, ranges, streams, config)
        unit = max(config.stream_bytes, config.memory.data_bytes)
        added = cls._added(node, model, hidden, out, streams, unit)
        size = max(len(one) for mine in streams for one in mine)
        pitch = align(size, unit)
        bases = [
            image.append(b"".join(one.ljust(pitch, b"\0") for one in mine), config.topology.home_of(tile))
            for tile, mine in enumerate(streams)
        ]
        matrices = {
            name: ExpertMatrix(
                form, k_blocks, ranges, tuple(map(sum, zip(bases, offsets))), group, config.tile.array.cols
            )
            for name, (form, k_blocks, ranges, offsets, group) in made.items()
        }
        biases = tuple(
            None
            if name is None
            else image.array(np.pad(np.asarray(model.tensors[name], np.float32), (0, -node.experts % BLOCK)))
            for name in (node.router_bias, node.selection_bias)
        )
        added = tuple((base + offset, lines) for base, (offset, lines) in zip(bases, added))
        size = sum(len(mine[0]) for mine in streams)
        return cls(router, **matrices, pitch=pitch, size=size, biases=biases, added=added)

    @staticmethod
    def _added(node, model, hidden, out, streams, unit):
        """Appends what is added to the columns of a clamped activation's experts to their ``streams`` of each
        tile; for each tile (offset, lines)."""
        if node.limit is None:
            return []
        parts, found = [], []
        for name, more, ranges in (
            (node.gate_bias, 0, hidden),
            (node.up_bias, 1, hidden),
            (node.down_bias, 0, out),
        ):
            zeros = np.zeros((node.experts, ranges[-1][1]), np.float32)
            bias = zeros if name is None else np.reshape(model.tensors[name], zeros.shape)
            parts.append((bias.astype(np.float32) + np.float32(more), ranges))
        for tile, mine in enumerate(streams):
            offset = align(len(mine[0]), unit)
            words = np.hstack([bias[:, slice(*ranges[tile])] for bias, ranges in parts])
            for expert, its in enumerate(words):
                mine[expert] = mine[expert].ljust(offset, b"\0") + its.tobytes()
            found.append((offset, words.shape[1] // LINE_WORDS))
        return found

    @staticmethod
    def _part(tensor, experts, ranges, streams, config):
        """Appends the columns of a matrix of all experts to their ``streams`` of each tile."""
        check_weights(tensor.format, config)
        rows, offsets = tensor.shape[0] // experts, []
        for (first, end), mine in zip(ranges, streams):
            offsets.append(len(mine[0]))
            for expert in range(experts):
                part = rows_of(tensor, slice(expert * rows + first, expert * rows + end))
                mine[expert] += matrix_stream(part, config)
        form = {name: int(value) for name, value in weight_form(tensor).items()}
        k_blocks, group = matrix_steps(tensor, config)
        return form, k_blocks, tuple(ranges), offsets, group


class ExpertRoom:
    """Places in the local memories for the mixtures of a step of ``count`` tokens, the same in every tile.

    Vector memory, lines from ``vmem`` on: ``logits``, ``scores`` and ``bias`` of ``row`` lines for a token or
    for all; ``windows``, a block for each token, where experts have a capacity; ``maxima``, ``totals`` and
    ``factors``, a word for each token; ``kept``, a block of a token's weights; ``lists``; ``normed``, a
    tile's blocks of its tokens' inputs, where there are several tokens; ``sums`` of a tile's columns; what a
    clamped activation's expert adds, in two places; ``delta``, whole rows of the tokens that a tile owns; and
    chunks of results.
    Activation memory, blocks from ``amem`` on: ``hidden`` and, of several tokens, ``gathered`` rows, in
    ``turns`` places.
    """

    @classmethod
    def of(cls, plan, what):
        """That of a :class:`.plan.Plan`, in its pool and behind its norm's results; None if there are no
        mixtures. ``what`` begins errors."""
        if not plan.sizes.experts:
            return None
        vmem = Allocator((plan.pool, plan.room.lines[1]), f"{what} vector memory", "lines")
        amem = Allocator((plan.hidden, plan.room.blocks[1]), f"{what} activation memory", "blocks")
        return cls(plan.sizes, plan.shape.count, plan.groups.own, plan.config, vmem, amem)

    def __init__(self, sizes, count, own, config, vmem, amem):
        if count > config.experts.rows:
            raise CompileError(f"a step of {count} tokens; the chip routes {config.experts.rows} at once")
        blocks, segments = sizes.dim // BLOCK, config.tile.array.segments
        self.row = align(sizes.experts, sizes.granule) // LINE_WORDS
        self.windows = vmem.take(count * LINES * (sizes.capacity is not None), LINES)
        words = lambda count: vmem.take(LINES * -(-count // BLOCK), LINES)
        self.logits, self.scores = (vmem.take(count * self.row, LINES) for _ in range(2))
        self.router_bias, self.selection_bias = (vmem.take(self.row, LINES) for _ in range(2))
        self.maxima, self.totals, self.factors = (words(count) for _ in range(3))
        self.kept = vmem.take(count * LINES, LINES)
        self.lists = vmem.take(count * sizes.used, LINES)
        bounds = [blocks * t // config.tiles for t in range(config.tiles + 1)]
        self.blocks = list(zip(bounds, bounds[1:]))
        self.part = LINES * max(end - first for first, end in self.blocks)
        self.normed = vmem.take(count * self.part * (count > 1), LINES)
        ranges = split_columns([sizes.dim], config)[0]
        self.stride = max(end - first for first, end in ranges) // LINE_WORDS
        self.sums = vmem.take(count * self.stride, LINES)
        self._added = []
        if sizes.clamped:
            hidden = max(end - first for first, end in split_columns([sizes.clamped], config)[0])
            lines = 2 * hidden // LINE_WORDS + self.stride
            self._added = [vmem.take(lines, LINES) for _ in range(2)]
        self.whole = align(sizes.dim, sizes.granule) // LINE_WORDS
        self.delta = vmem.take(own * self.whole, LINES)
        unit = 2 * count * sizes.granule // LINE_WORDS  # gate and up side by side
        granules = min(max(1, (vmem.size - vmem.used) // (2 * unit)), -(-COLUMNS // sizes.granule))
        self.columns, self.lines = granules * sizes.granule, granules * unit
        self.places = min(PLACES, max(2, (vmem.size - vmem.used) // self.lines))
        self.chunks = vmem.take(self.places * self.lines, LINES)
        gathered = count * sizes.dim_blocks * (count > 1)
        one = align(count * sizes.hidden_blocks, segments) + align(gathered, segments)
        self.turns = 2 if align(amem.used, segments) + 2 * one <= amem.size else 1
        self._hidden = [amem.take(count * sizes.hidden_blocks, segments) for _ in range(self.turns)]
        self._gathered = [amem.take(gathered, segments) for _ in range(self.turns)]

    def chunk(self, n):
        """The first line of the ``n``-th chunk of results."""
        return self.chunks + n % self.places * self.lines

    def added(self, slot):
        """The first line of what an expert adds to a tile's columns, see :class:`ExpertPlaces`."""
        return self._added[slot % 2]

    def hidden(self, slot):
        """The first block of an expert's hidden elements."""
        return self._hidden[slot % self.turns]

    def gathered(self, slot):
        """The first block of an expert's inputs."""
        return self._gathered[slot % self.turns]


def mixtures(nodes):
    """The Experts among ``nodes``."""
    return [node for node in nodes if isinstance(node, Experts)]
