"""The cases of `bench_estimate.py`: chips, and steps of models on them."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
import random

from poblano.config import ArrayConfig, ChipConfig, ExpertsConfig, MemoryConfig, TileConfig, preset
from poblano.dram.config import DramConfig
from poblano_estimate.shapes import SHAPES, model_shape
from poblano_estimate.step import Model
from poblano_host.compiler import CompileError
from poblano_host.models.loader import MOE

__all__ = ["CASES", "Case", "drawn"]


def _odd():
    """A chip that is like no preset: three tiles, low arrays, few lanes, narrow beats, single commands."""
    tile = TileConfig(
        array=ArrayConfig(rows=8, cols=16, load_rows=4),
        lanes=4,
        tokens=32,
        vmem_lines=4096,
        vmem_banks=2,
        amem_blocks=2048,
        fifo_bytes=2048,
    )
    memory = MemoryConfig(data_width=128, burst_beats=8, outstanding=4, bandwidth=Fraction(12), latency=40)
    return ChipConfig(name="odd", tiles=3, tile=tile, memory=memory, queue_depth=2)


def _ddr3():
    """A chip with a DDR3, whose banks are refreshed together, and arrays as high as a block."""
    tile = TileConfig(
        array=ArrayConfig(rows=32, cols=8, load_rows=2),
        lanes=8,
        tokens=32,
        vmem_lines=4096,
        amem_blocks=2048,
        fifo_bytes=4096,
    )
    dram = DramConfig(kind="DDR3-1600", clock_mhz=Fraction(200))
    memory = MemoryConfig(data_width=128, addr_width=29, dram=dram)
    return ChipConfig(name="ddr3", tiles=2, tile=tile, memory=memory)


def _homes():
    """A chip like a small ``quad``: two homes of two pseudo-channels side by side, more lanes than a line."""
    tile = TileConfig(
        array=ArrayConfig(rows=32, cols=16, load_rows=2),
        lanes=16,
        tokens=32,
        vmem_lines=8192,
        amem_blocks=2048,
        fifo_bytes=8192,
    )
    dram = DramConfig(channels=2)
    memory = MemoryConfig(
        data_width=512, addr_width=40, outstanding=16, homes=2, home_bytes=dram.timing.bytes, dram=dram
    )
    return ChipConfig(name="homes", tiles=2, tile=tile, memory=memory)


def _nano_moe():
    """A ``nano`` that routes experts."""
    return replace(preset("nano"), name="nano_moe", experts=ExpertsConfig(experts=8, used=2, rows=16))


CHIPS = {
    "nano": lambda: preset("nano"),
    "nano_moe": _nano_moe,
    "desk": lambda: preset("desk"),
    "desk_moe": lambda: preset("desk-moe"),
    "desk_axi": lambda: preset("desk").with_axi_ports(),
    "quad": lambda: preset("quad"),
    "odd": _odd,
    "ddr3": _ddr3,
    "homes": _homes,
}


@dataclass(frozen=True)
class Case:
    """A step of chunks at ``places``, (tokens, position), of a model of ``sizes``, (layers, dim, ffn_dim,
    heads, kv_heads, head_dim, vocab), of a mixture also (experts, used), or of a shape's name, on one of
    :data:`CHIPS`, with a plain memory of ``plain`` bytes a cycle and latency where they are given."""

    chip: str
    sizes: tuple | str
    format: str
    places: tuple
    plain: tuple | None = None
    slow: bool = False

    @property
    def config(self):
        config = CHIPS[self.chip]()
        if self.plain is None:
            return config
        return config.with_memory(bandwidth=Fraction(self.plain[0]), latency=self.plain[1])

    @property
    def shape(self):
        if isinstance(self.sizes, str):
            return model_shape(self.sizes)[0]
        names = "layers", "dim", "ffn_dim", "heads", "kv_heads", "head_dim", "vocab", "experts", "used"
        sizes = dict(zip(names, self.sizes), name="drawn")
        return replace(MIXTURE if "experts" in sizes else SHAPES["smollm2-135m"], **sizes)

    @property
    def room(self):
        """Positions and sequences."""
        end = max(position + count for count, position in self.places)
        return dict(context=max(end, 64), slots=len(self.places))

    @cached_property
    def model(self):
        return Model(self.shape, self.format, self.config, **self.room)

    @property
    def mixes(self):
        """Whether it has experts, so that its course depends on numbers."""
        return hasattr(self.shape, "experts")

    @property
    def fits(self):
        """Whether there is room for it."""
        try:
            return sum(count for count, _ in self.places) <= self.model.max_tokens
        except CompileError:
            return False

    @property
    def name(self):
        plain = "" if self.plain is None else f"/{self.plain[0]}B,{self.plain[1]}"
        sizes = Path(self.sizes).stem if isinstance(self.sizes, str) else "x".join(map(str, self.sizes))
        places = "+".join(f"{count}@{position}" for count, position in self.places)
        return f"{self.chip}{plain}/{sizes}/{self.format}/{places}"


MIXTURE = model_shape(str(MOE))[0]
TINY = 2, 64, 96, 4, 2, 32, 72
SMALL = 2, 128, 384, 4, 2, 32, 1024
WIDE = 1, 576, 1536, 9, 3, 64, 512
DEEP = 8, 128, 256, 4, 2, 32, 512
QUAD = 1, 1024, 2048, 16, 4, 64, 512
FEW_EXPERTS = 2, 64, 64, 2, 1, 32, 72, 8, 2
EXPERTS = 1, 256, 192, 4, 2, 64, 512, 16, 2
WIDE_EXPERTS = 1, 1024, 512, 16, 16, 64, 512, 16, 4
OLMOE = 1, 2048, 1024, 32, 32, 64, 512, 64, 8
ONE, LATER, FEW, MANY = ((1, 8),), ((1, 250),), ((5, 3),), ((32, 0),)
SEVERAL = (1, 3), (1, 40), (1, 130), (1, 60)


def _mixtures():
    """Layers of experts."""
    found = [
        Case("nano_moe", sizes, "q4_1", places, plain)
        for sizes, places, plain in (
            (FEW_EXPERTS, ONE, None),
            (FEW_EXPERTS, FEW, ("8", 60)),
            (FEW_EXPERTS, ((1, 3), (1, 9)), ("8", 20)),
        )
    ]
    found += [
        Case("desk_moe", sizes, "q4_1", places)
        for sizes, places in (
            (EXPERTS, ONE),
            (EXPERTS, SEVERAL * 2),
            (EXPERTS, ((24, 0),)),
            (str(MOE), ONE),
            (str(MOE), SEVERAL),
            (str(MOE), ((16, 0),)),
            (WIDE_EXPERTS, ((1, 0),)),
        )
    ]
    found += [Case("desk_moe", WIDE_EXPERTS, "q4_1", ((1, 0),) * 8, slow=True)]
    return [*found, *(Case("desk_moe", OLMOE, "q4_1", ((1, 0),) * count, slow=True) for count in (1, 8))]


WHOLE = (("desk", "smollm2-135m", "q4_1", ((1, 512),)), ("nano", "smollm2-135m", "q4_1", ((1, 64),)))
"""Whole models of many layers."""


def _cases():
    """Those that the model was made with."""
    found = [
        Case("nano", TINY, form, places, plain)
        for form, places, plain in (
            ("q8_0", ONE, None),
            ("q4_1", ONE, ("8", 20)),
            ("q4_0", ONE, ("8", 150)),
            ("q8_0", ((1, 40),), ("4", 150)),
            ("q4_1", FEW, None),
            ("q8_0", FEW, ("8", 100)),
            ("q4_0", ((8, 0),), ("1", 60)),
            ("q4_1", ((12, 20),), ("8", 60)),
        )
    ]
    found += [Case("nano", DEEP, "q4_1", ONE, ("8", 60)), Case("nano", "default", "q8_0", ONE, ("8", 60))]
    found += [
        Case("desk", sizes, form, places)
        for sizes, form, places in (
            (TINY, "q8_0", ONE),
            (TINY, "q4_1", SEVERAL),
            (SMALL, "q8_0", ONE),
            (SMALL, "q4_1", LATER),
            (SMALL, "q4_0", FEW),
            (SMALL, "q8_0", MANY),
            (SMALL, "q4_1", SEVERAL),
            (WIDE, "q4_1", LATER),
            (WIDE, "q8_0", MANY),
            (WIDE, "q8_0", ONE),
            (WIDE, "q4_0", SEVERAL),
            (DEEP, "q4_1", ONE),
            (DEEP, "q8_0", ((16, 16),)),
            ("default", "q8_0", ((1, 31),)),
            ("default", "q8_0", ((64, 0),)),
        )
    ]
    found += [
        Case("desk_axi", sizes, form, places, plain)
        for sizes, form, places, plain in (
            (TINY, "q4_1", ONE, ("32", 120)),
            (TINY, "q8_0", SEVERAL, ("32", 60)),
            (SMALL, "q8_0", ONE, ("20", 60)),
            (SMALL, "q4_1", MANY, ("32", 120)),
            (SMALL, "q4_0", SEVERAL, ("10", 20)),
            (WIDE, "q4_1", LATER, ("32", 60)),
        )
    ]
    found += [
        Case("odd", sizes, form, places, plain)
        for sizes, form, places, plain in (
            (TINY, "q8_0", ONE, None),
            (TINY, "q4_1", SEVERAL, ("16", 60)),
            (SMALL, "q4_1", ONE, ("16", 20)),
            (SMALL, "q8_0", FEW, ("16", 100)),
            (SMALL, "q4_0", ((16, 8),), None),
            (SMALL, "q4_1", SEVERAL, ("16", 40)),
        )
    ]
    found += [
        Case("ddr3", sizes, form, places)
        for sizes, form, places in (
            (TINY, "q4_1", ONE),
            (SMALL, "q8_0", ONE),
            (SMALL, "q4_0", ((16, 8),)),
            (SMALL, "q4_1", SEVERAL),
        )
    ]
    found += [
        Case("homes", sizes, form, places, slow=True)
        for sizes, form, places in (
            (TINY, "q8_0", ONE),
            (SMALL, "q4_1", LATER),
            (WIDE, "q4_1", ONE),
            (SMALL, "q8_0", MANY),
            (SMALL, "q4_1", SEVERAL),
        )
    ]
    found += [Case("quad", QUAD, "q4_1", ONE, slow=True), Case("quad", QUAD, "q8_0", MANY, slow=True)]
    found += [Case(*whole, slow=True) for whole in WHOLE]
    return [*found, *_mixtures()]


CASES = {case.name: case for case in _cases()}


def drawn(seed, count, *, slow):
    """``count`` cases by a ``seed``; with ``slow`` on chips that take long to compile too."""
    rng, found = random.Random(seed), {}
    while len(found) < count:
        chip = rng.choice(
            ["nano", "nano", "nano_moe", "desk", "desk", "desk_moe", "desk_axi", "odd", "ddr3"]
            + ["homes", "quad"] * slow
        )
        small, large, mixes = chip in ("nano", "nano_moe", "odd", "ddr3"), chip == "quad", "moe" in chip
        kv_heads = rng.choice([4] if large else [1, 2] if small else [1, 2, 3])
        sizes = (
            rng.choice([1, 2, 3]),
            rng.choice([512, 1024] if large else [64, 96, 128] if small else [128, 256, 384]),
            rng.choice([1024, 2048] if large else [96, 160, 256] if small else [256, 384, 768]),
            kv_heads * rng.choice([1, 2, 3]),
            kv_heads,
            rng.choice([64] if large else [32, 64]),
            rng.choice([512, 1024] if large else [72, 200] if small else [256, 1024]),
            *((rng.choice([4, 8]), rng.choice([1, 2])) if mixes else ()),
        )
        position = rng.choice([0, 7, 30] if small else [0, 20, 150, 400])
        kind = rng.choice(["one", "one", "several", "prefill"])
        places: tuple = ((1, position),)
        if kind == "prefill":
            places = ((rng.choice([2, 5, 8] if small else [4, 16, 40]), position),)
        elif kind == "several":
            places = tuple((1, rng.choice([1, 20, 100])) for _ in range(rng.choice([2, 3, 6])))
        rates = {
            "nano": ("4", "8"),
            "nano_moe": ("4", "8"),
            "desk_axi": ("10", "20", "32"),
            "odd": ("8", "12", "16"),
        }
        plain = (rng.choice(rates[chip]), rng.choice([20, 60, 150])) if chip in rates else None
        form = "q4_1" if mixes else rng.choice(["q4_0", "q4_1", "q8_0"])
        case = Case(chip, sizes, form, places, plain)
        if case.fits:
            found[case.name] = case
    return found
