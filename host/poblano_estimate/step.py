"""Steps of a model on a chip: their cycles, without gates and without weights."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from poblano.config import ChipConfig
from poblano_host.compiler import CompiledModel, CompileError
from poblano_host.compiler.experts import mixtures
from poblano_host.compiler.model import Chunk
from poblano_host.models.outline import outline

from .activity import Activity, Counter
from .chip import Chip
from .commands import decode
from .experts import draw
from .matmul import MatmulTimes
from .vector import VectorTimes

__all__ = ["Model", "StepEstimate"]

SEEN = 6
"""Layers, of a model whose layers are alike, that are walked through; the others take as long as these in
their middle."""
FIRST, LAST = 1, 4
"""Of these, from the end of the first to the end of the second all is as in any other."""
BURSTS = 20000
"""Bursts of streams, of all tiles together, up to which each is seen alone."""


@dataclass(frozen=True)
class StepEstimate:
    """What a step takes: ``tokens`` in ``cycles``, the :class:`Activity`, and the roofline: the least that
    its multiply-accumulates (``macs``) or its bytes from memory take."""

    config: ChipConfig
    tokens: int
    cycles: float
    macs: int
    roofline_cycles: float
    activity: Activity

    def __add__(self, other):
        return replace(
            self,
            **{
                name: getattr(self, name) + getattr(other, name)
                for name in ("tokens", "cycles", "macs", "roofline_cycles", "activity")
            },
        )

    def __mul__(self, count):
        names = ("tokens", "cycles", "macs", "roofline_cycles", "activity")
        return replace(self, **{name: getattr(self, name) * count for name in names})

    @property
    def utilisation(self):
        """Of all cycles, by name: the multiply-accumulates of the arrays, the work of the units, and of the
        bytes that memory could give those of streams and all."""
        config, activity = self.config, self.activity
        tiles, memory = config.tiles * self.cycles, float(config.memory.total_bandwidth) * self.cycles
        return {
            "arrays": self.macs / (config.macs_per_cycle * self.cycles),
            "matmul": activity.matmul_cycles / tiles,
            "vector": activity.vector_cycles / tiles,
            "dma": activity.dma_cycles / self.cycles,
            "stream": activity.stream_bytes / memory,
            "memory": (activity.bytes_read + activity.store_bytes) / memory,
        }

    @property
    def clock_mhz(self):
        """None where the chip's memory has no clock."""
        dram = self.config.memory.dram
        return None if dram is None else float(dram.clock_mhz)

    @property
    def roofline_fraction(self):
        return self.roofline_cycles / self.cycles

    def as_json(self):
        return dict(
            tokens=self.tokens,
            cycles=self.cycles,
            macs=self.macs,
            roofline_cycles=self.roofline_cycles,
            roofline_fraction=self.roofline_fraction,
            bytes_read=self.activity.bytes_read,
            bytes_written=self.activity.store_bytes,
            utilisation=self.utilisation,
            activity=self.activity.as_json(),
        )


class Model:
    """A model's shape on a chip.

    Parameters
    ----------
    shape : ModelConfig
    format : of the matrices
    config : ChipConfig
    context : positions of the caches of each of ``slots`` sequences
    tokens : the most of a step; as many as there is room for, by default

    Raises CompileError for a model that does not fit.
    """

    def __init__(self, shape, format, config, *, context, slots=1, tokens=None, activations=None):
        self.config, self.shape = config, shape
        try:
            self.compiled = CompiledModel(
                outline(shape, format),
                config,
                context=context,
                slots=slots,
                tokens=tokens,
                activations=activations,
            )
        except CompileError as error:
            raise CompileError(f"{error}{_hint(str(error), config)}") from None
        self._times = MatmulTimes(config), VectorTimes(config.tile)
        self._counter = Counter(config, *self._times)

    @property
    def max_tokens(self):
        return self.compiled.max_tokens

    @cached_property
    def layers(self):
        """Layers that are walked through: all, where they are few or not alike."""
        count = len(self.compiled.model.graph.layers)
        return None if count <= SEEN or not self.compiled.memory.alike else SEEN

    def step(self, places, *, logits, seed=0, routes=None):
        """The :class:`StepEstimate` of a step of chunks at ``places``, (tokens, position) of the first
        sequences; ``logits`` rows of logits are wanted. ``routes``: for each mixture of experts, in the
        order of the layers, the experts that have rows, as (number, rows); drawn by ``seed``, by default."""
        tokens = sum(count for count, _ in places)
        if routes is None:
            rng = np.random.default_rng(seed)
            nodes = mixtures(self.compiled.model.graph.nodes)
            routes = [draw(rng, tokens, node.experts, node.used) for node in nodes]
        chunks = [Chunk(n, position, (0,) * count) for n, (count, position) in enumerate(places)]
        program = self.compiled.batch(chunks, logits=logits, layers=self.layers)
        return self.of_program(program, tokens, self.layers, routes)

    def of_program(self, program, tokens, layers=None, routes=()):
        """The estimate of a program, of all layers or of the first; ``routes`` as of :meth:`step`."""
        commands = decode(program.words)
        chip = Chip(
            self.config,
            commands,
            ring=self.compiled.ring[0],
            translate=self._translate,
            together=self._together(commands),
            routes=routes,
            times=self._times,
        )
        count = lambda places: self._counter.count(commands[n] for n in places if n not in chip.passed)
        cycles, activity = chip.cycles, count(range(len(commands)))
        if layers is not None:
            more = len(self.compiled.model.graph.layers) - layers
            of_layer, names = {}, program.names
            for n, (layer, _) in enumerate(names):
                of_layer.setdefault(layer, []).append(n)
            ends = {layer: max(chip.ends[n] for n in of_layer[layer]) for layer in (FIRST, LAST)}
            cycles += more * (ends[LAST] - ends[FIRST]) / (LAST - FIRST)
            rounds, rest = divmod(more, LAST - FIRST)
            activity += count(of_layer[LAST]) * rest
            activity += count(n for layer in range(FIRST + 1, LAST + 1) for n in of_layer[layer]) * rounds
        work, config = _used(program.work, routes), self.config
        bandwidth = float(config.memory.total_bandwidth)
        roofline = sum(
            max(part.macs / config.macs_per_cycle, (part.weight_bytes + part.other_bytes) / bandwidth)
            for part in work
        )
        return StepEstimate(config, tokens, cycles, sum(part.macs for part in work), roofline, activity)

    def _translate(self, address):
        """Where the address of the window of page tables is, with each sequence's pages in their order."""
        paging, compiled = self.config.memory.paging, self.compiled
        count = -(-compiled.context // compiled.page_positions)
        page = paging.slot(address) * count + paging.page(address)
        home = compiled.pages.homes[paging.home(address)]
        return home + compiled.pages.address(page) + paging.offset(address)

    def _together(self, commands):
        """Bursts of a stream that are seen as one: one, if there are few, or as many as are a part of the
        weight FIFO, and of a granule of the DRAM."""
        memory = self.config.memory
        burst = memory.burst_beats * memory.data_bytes
        count = sum(o.rows * o.row_bytes for o in commands if hasattr(o, "row_bytes")) / burst
        fifo = self.config.tile.fifo_bytes
        most = fifo // 8 if memory.dram is None else min(fifo // 4, memory.dram.granule)
        together = 1
        while count > BURSTS * together and 2 * together * burst <= most:
            together *= 2
        return together


def _used(work, routes):
    """The :class:`~poblano_host.compiler.program.LayerWork` s of a program without experts that no token
    uses."""
    left = iter(routes)
    return [part.using(len(next(left))) if part.experts else part for part in work]


def _hint(error, config):
    """What would hold a model that does not fit in memory."""
    if "bytes of memory" not in error:
        return ""
    needed = int(error.split(" needs ")[1].split()[0])
    have = config.memory.bytes_of_home
    size, more = 1 << (needed - 1).bit_length(), (needed - have) / 1e9
    return f": {more:.2g} GB more; homes of {size} bytes would do, or {-(-needed // have)} times as many"
