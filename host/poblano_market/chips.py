"""The chips of the market, from their file."""

from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import Field

from .errors import MarketError
from .facts import DATA, Checked, Fact, read

__all__ = ["BITS", "CHIPS", "Chip", "Specification", "named", "read_chips"]

CHIPS = DATA / "chips.toml"

BITS = {"bf16": 16, "fp8": 8, "int8": 8, "fp4": 4.5, "mxfp4": 4.25, "int4": 4.5}
"""Bits of a weight in memory, with its share of the scale: a byte for 16 (NVFP4) or 32 (MXFP4) weights, two
for 32 of INT4."""
ENGINES = {
    "bf16": ("bf16",),
    "fp8": ("fp8", "int8", "bf16"),
    "int8": ("int8", "fp8", "bf16"),
    "fp4": ("fp4", "fp8", "int8", "bf16"),
}
"""The peaks that products of a format use, the first that a chip has."""


@dataclass(frozen=True)
class Specification:
    """A chip's numbers at one corner of their ranges, in operations, bytes and seconds."""

    peaks: dict
    bandwidth: float
    memory: float
    link: float
    latency: float

    def peak(self, compute):
        """Operations a second of products in a format: two for a multiply-accumulate."""
        for engine in ENGINES[compute]:
            if engine in self.peaks:
                return self.peaks[engine]
        raise MarketError(f"no peak for products in {compute}")


class Chip(Checked):
    """A chip: the figures that its maker, the press or nobody states."""

    name: str
    vendor: str
    node: str
    estimate: bool = False
    peak_tflops: dict[str, Fact]
    memory_gb: Fact
    bandwidth_tb_s: Fact
    power_w: Fact
    link_gb_s: Fact
    link_us: Fact
    domain: Fact
    dies: Fact
    die_mm2: Fact
    price_usd: Fact | None = None

    def at(self, corner):
        """Its :class:`Specification`: ``low`` is slow in all, ``high`` fast in all."""
        slow = {"low": "high", "mid": "mid", "high": "low"}[corner]
        return Specification(
            peaks={name: fact.range.at(corner) * 1e12 for name, fact in self.peak_tflops.items()},
            bandwidth=self.bandwidth_tb_s.range.at(corner) * 1e12,
            memory=self.memory_gb.range.at(corner) * 1e9,
            link=self.link_gb_s.range.at(corner) * 1e9,
            latency=self.link_us.range.at(slow) * 1e-6,
        )

    def engine(self, compute):
        """The name of the peak that products of a format use."""
        return next(engine for engine in ENGINES[compute] if engine in self.peak_tflops)


class ChipFile(Checked):
    """The chips file."""

    sources: dict[str, str] = Field(min_length=1)
    chips: dict[str, Chip] = Field(min_length=1)


def read_chips(path=CHIPS):
    """{key: chip} of a chips file, and its sources; :class:`MarketError` if it is broken."""
    file = read(path, ChipFile)
    for key, chip in file.chips.items():
        unknown = set(chip.peak_tflops) - set(ENGINES)
        if unknown or "bf16" not in chip.peak_tflops:
            wrong = f"unknown format {min(unknown)!r}" if unknown else "bf16 is missing"
            raise MarketError(f"{path}: chips.{key}.peak_tflops: {wrong}; formats are {', '.join(ENGINES)}")
    return file.chips, file.sources


def named(what, name, known):
    """``known[name]``; :class:`MarketError` names what comes near."""
    if name in known:
        return known[name]
    near = get_close_matches(name, known, 1)
    guess = f"; did you mean {near[0]}?" if near else ""
    raise MarketError(f"no {what} {name!r}{guess}; there are {', '.join(known)}")
