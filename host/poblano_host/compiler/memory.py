"""A model in the chip's memory: weights, gains, tables and caches, and the places of inputs and results."""

from dataclasses import fields
from functools import cached_property

import numpy as np

from poblano.config import BLOCK, LINE_BYTES
from poblano.isa.commands import COMMAND_BYTES

from ..models.operators import Attention, HeadNorm, Linear, Norm, Residual, Rope
from ..models.plain_latents import PartNorm
from . import sinks
from .cache import KVPlaces
from .errors import CompileError
from .experts import ExpertPlaces, mixtures
from .image import Image, align
from .pages import PageRoom
from .plan import LINES
from .sizes import normed_together, vector_of
from .weights import TiledMatrix, block_tensor, split_columns

__all__ = ["ModelMemory"]


class ModelMemory:
    """Places of everything that programs of a model read and write in memory.

    A tile's columns of every matrix and the keys and values that it attends to lie in its home; all else,
    which the DMA engine brings, in the first. Layers lie one behind the other in every home. Where they are
    alike, so are their places, :attr:`pitch` bytes apart, and the gain of the norm behind the last layer
    lies where a further layer's first would. Where there are KV buffers, caches lie at the ends of the
    homes, the first layer's last; what the KV buffers do not hold is in memory, by its address.

    Parameters
    ----------
    model : Model
    sizes : :class:`.sizes.Sizes`
    context : positions in the caches of a sequence
    slots : sequences that have caches
    tokens : the most tokens of a step

    Members
    -------
    pieces : list of (address, bytes) to write once; everything else is zero at first
    extents : for each home the (first, end) address of all but the ring and pages; then that of pages
    maxima : where programs leave the largest of each block of logits; None where there is one sequence,
        of which one row of logits is looked at
    pitch : bytes from a layer to the next, but of caches at the ends of homes, None if they differ
    """

    def __init__(self, model, sizes, config, *, context, slots, tokens):
        self.model, self.graph, self.sizes, self.config = model, model.graph, sizes, config
        self._places, self._caches, self.slots = {}, {}, slots
        self._experts = {}
        self._image = image = Image(f"{model.config.name}:", config)
        norms = [[node for node in layer if isinstance(node, Norm)] for layer in self.graph.layers]
        self._norms = [*norms, [node for node in self.graph.epilogue if isinstance(node, Norm)]]
        groups = (*self.graph.layers, self.graph.epilogue)
        vectors = [[node for node in nodes if vector_of(node, config)] for nodes in groups]
        self._norm_index, self._vector_index = (
            {node.name: i for nodes in counted for i, node in enumerate(nodes)}
            for counted in (self._norms, vectors)
        )
        starts = []
        for layer in self.graph.layers:
            starts.append(image.level())
            self._place(layer, context, slots)
        starts.append(image.level())
        gaps = {b - a for a, b in zip(starts, starts[1:])}
        self.pitch = gaps.pop() if len(gaps) == 1 else None
        self._place(self.graph.epilogue, context, slots)
        self.ropes = self._rope_tables(align(context, sizes.key_granule))
        self.input = image.reserve(4 * tokens * sizes.dim)
        (self._head,) = [node for node in self.graph.epilogue if type(node).__name__ == "Head"]
        self.vocab_stride = 4 * align(self._head.width, sizes.granule)
        self.logits = image.reserve(tokens * self.vocab_stride)
        self.best = image.reserve(LINES * LINE_BYTES * config.tiles)
        self.maxima = None
        if slots > 1:  # tiles have whole granules of columns, and what is stored at once is whole blocks
            granules = self._head.width // sizes.granule + config.tiles
            self.maxima = image.reserve(granules * 4 * align(tokens * sizes.granule // BLOCK, BLOCK))
        self.extents, self._own, self.pieces = image.extents, image.extents, image.pieces

    @property
    def work(self):
        """(first, end) of all that programs write and that is not written once, but for pages: caches,
        inputs, results."""
        found = []
        for first, end in self._own:
            at = first
            stored = sorted((low, low + len(data)) for low, data in self.pieces if first <= low < end)
            for low, high in [*stored, (end, end)]:
                found += [(at, low)] if at < low else []
                at = max(at, high)
        return found

    def place_ring(self, commands, pages, least):
        """Room for a ring of ``commands`` behind all else, and for ``pages`` pages or as many as fit, but at
        least ``least``: its address, the :class:`.pages.PageRoom`, None without page tables, and the bytes of
        memory with them."""
        address, room = self._image.reserve(COMMAND_BYTES * commands), None
        if self.config.memory.paging is not None and self._caches:
            memory, start = self.config.memory, self._image.level()
            fitting = lambda size: max(least, min(pages, (memory.bytes_of_home - start) // size))
            room = PageRoom.place(start, self._image.page_bytes, fitting, memory)
            for home in range(memory.homes):
                self._image.reserve(room.count * room.bytes, home)
            self.extents = [*self.extents, *room.extents]
        return address, room, self._image.size

    def pitch_at(self, address):
        """Bytes from what a layer has at an address to what the next one has, if they are :attr:`alike`."""
        if not self._image.cached(address):
            return self.pitch
        return self._pitch_of_caches

    @cached_property
    def _pitch_of_caches(self):
        first, second = (self.cache(node).address[0] for node in self.graph.of(Attention)[:2])
        return second - first

    def matrix(self, tensor):
        """The :class:`.weights.TiledMatrix` of a tensor."""
        return self._places[tensor]

    def experts(self, node):
        """The :class:`.experts.ExpertPlaces` of an Experts."""
        return self._experts[node.name]

    def cache(self, attention):
        """The :class:`.cache.KVPlaces` of an Attention."""
        return self._caches[attention.name]

    @property
    def caches(self):
        """The :class:`.cache.KVPlaces` of every Attention."""
        return tuple(self._caches.values())

    def norm_index(self, node):
        """The number of a norm in its layer."""
        return self._norm_index[node.name]

    def part_norm_index(self, node):
        """The number of a PartNorm in its layer."""
        layer = self.graph.layers[self.graph.layer(node.name)]
        return [one for one in layer if isinstance(one, PartNorm)].index(node)

    def rope_index(self, node):
        """The number of a Rope's table."""
        return list(self.ropes).index((node.frequencies, node.scale))

    def gain(self, node):
        """The address of a norm's gain."""
        return self._places[node.gain]

    def vector(self, node):
        """(its number in the layer, address, words) of an operator's :func:`.sizes.vector_of`."""
        index = self._vector_index[node.name]
        return index, self._places[vector_of(node, self.config)[0]], self.sizes.vectors[index]

    @cached_property
    def alike(self):
        """Whether all layers compute the same with weights of the same formats and places."""
        return self.pitch is not None and len({self._signature(layer) for layer in self.graph.layers}) == 1

    def _signature(self, layer):
        names = {name: n for n, node in enumerate(layer) for name in (node.name, *node.tensors)}
        own = lambda value: names.get(value, value) if isinstance(value, str) else value
        parts = []
        for node in layer:
            values = (getattr(node, field.name) for field in fields(node) if field.name != "inputs")
            inputs = tuple(names.get(name) for name in node.inputs)
            form = repr(self.matrix(node.weight).form) if isinstance(node, Linear) else ""
            for places in (self.experts(node) for node in mixtures([node])):
                form = repr([(m.form, places.pitch) for m in (places.router, places.gate, places.down)])
            parts.append((type(node), inputs, form, *map(own, values)))
        return tuple(parts)

    def following_gain(self, node, last):
        """The address of the gain that takes the place of a norm's in the next layer; ``last`` is the last
        layer.

        None if there is none.
        """
        layer, index = self.graph.layer(node.name), self._norm_index[node.name]
        if layer is None:
            return None
        if layer < last:
            following = self._norms[layer + 1]
            return self.gain(following[index]) if index < len(following) else None
        if index >= len(self._norms[-1]):
            return None
        if self.pitch is None:
            return self.gain(self._norms[-1][index])
        return self.gain(self._norms[0][index]) + (layer + 1) * self.pitch

    def _place(self, nodes, context, slots):
        """Everything of some operators that is not there yet."""
        row = lambda values, width: self._image.array(np.pad(values, (0, width - len(values))))
        vector = lambda name: np.asarray(self.model.tensors[name], np.float32)
        linears = [node for node in nodes if isinstance(node, Linear)]
        for node in nodes:
            if isinstance(node, Norm):
                self._places[node.gain] = row(vector(node.gain), BLOCK * self.sizes.dim_blocks)
            if found := vector_of(node, self.config):
                values, words = vector(found[0]), self.sizes.vectors[self._vector_index[node.name]]
                if isinstance(node, Attention):
                    values = sinks.rows(values, node, self.config)
                self._places[found[0]] = row(values, words)
        for node, ranges in zip(linears, self._ranges(linears)):
            try:
                tensor = block_tensor(self.model.tensors[node.weight], self.config)
                self._places[node.weight] = TiledMatrix.place(self._image, tensor, ranges, self.config)
            except CompileError as error:
                raise CompileError(f"{self.sizes.name}: tensor {node.weight}: {error}") from None
        for node in mixtures(nodes):
            try:
                self._experts[node.name] = ExpertPlaces.place(self._image, node, self.model, self.config)
            except CompileError as error:
                raise CompileError(f"{self.sizes.name}: {node.name}: {error}") from None
        for node in nodes:
            if isinstance(node, Attention):
                self._caches[node.name] = KVPlaces.place(self._image, node, context, slots, self.config)

    def _ranges(self, linears):
        """For each of ``linears`` the tiles' columns: those of one input that end in one attention go
        together; of those that go to the residual, which is FP32, blocks are split."""
        sets = {}
        for node in linears:
            attention = self._attention(node)
            sets.setdefault(node.name if attention is None else attention.name, []).append(node)
        ranges = {}
        for nodes in sets.values():
            # Keys and values are needed first.
            nodes = sorted(nodes, key=lambda node: node.width)
            users = self.graph.consumers(nodes[0].name)
            blocks = not users or not all(isinstance(user, Residual) for user in users)
            size, takers = self.sizes.head_dim, (u for n in nodes for u in self.graph.consumers(n.name))
            apart = any(isinstance(u, HeadNorm) and not normed_together(u, size) for u in takers)
            unit = size if apart else 1
            split = split_columns([n.width for n in nodes], self.config, blocks=blocks, unit=unit)
            ranges |= zip([n.name for n in nodes], split)
        return [ranges[node.name] for node in linears]

    def _attention(self, node):
        """The Attention that reads what a Linear gives, through what it goes before; None if none does."""
        users = self.graph.consumers(node.name)
        while len(users) == 1 and isinstance(users[0], HeadNorm | Rope):
            users = self.graph.consumers(users[0].name)
        return next((user for user in users if isinstance(user, Attention)), None)

    def _rope_tables(self, positions):
        """The address of each table by (frequencies, scale): for each position a row, cos of each pair of
        elements twice, then -sin and sin."""
        tables = {}
        for node in self.graph.of(Rope):
            key = node.frequencies, node.scale
            if key not in tables:
                cos, sin = node.factors(np.arange(positions))
                signed = np.stack((-sin, sin), -1).reshape(len(sin), -1)
                rows = np.hstack((np.repeat(cos, 2, axis=1), signed))
                tables[key] = self._image.array(rows.astype(np.float32))
        return tables
