"""The configurations that are searched, and the task that they are judged by."""

from dataclasses import asdict, dataclass, replace
from fractions import Fraction

from poblano.config import ConfigError, preset
from poblano_host.models import load_model

__all__ = ["CHOICES", "Task", "configuration", "start"]

CHOICES = {
    "rows": (4, 8, 16, 32, 64),
    "cols": (4, 8, 16, 32, 64),
    "tiles": (1, 2, 4, 8),
    "lanes": (2, 4, 8, 16, 32),
    "scalers": (1, 2, 4),
    "load_rows": (1, 2, 4),
    "formats": ("int8,int4", "int8,int4,mxfp8_e4m3", "int8,int4,mxfp4_e2m1"),
    "tokens": (16, 32, 64, 128, 256),
    "vmem_lines": (1024, 2048, 4096, 8192, 16384, 32768),
    "amem_blocks": (512, 1024, 2048, 4096, 8192, 16384),
    "fifo_bytes": (512, 1024, 2048, 4096, 8192, 16384),
    "outstanding": (2, 4, 8, 16),
    "channels": (1, 2, 4, 8),
    "clock_mhz": (50, 75, 100, 150, 200),
}
"""Values of each parameter. ``lanes`` are at most the columns; ``scalers`` are a multiple of the lanes;
``channels`` are memory ports, of which each brings its bandwidth."""


@dataclass(frozen=True)
class Task:
    """A prompt of a model and tokens after it, on a chip that begins from ``base``, with memory of so many
    MB/s behind each channel that answers after ``latency_ns``, and at most ``largest_mm2`` at 180 nm."""

    base: str = "nano"
    model: str = "default"
    prompt: int = 16
    output: int = 16
    channel_mb_s: int = 400
    latency_ns: int = 300
    largest_mm2: float = 60

    def check(self):
        for name in ("prompt", "output", "channel_mb_s", "latency_ns", "largest_mm2"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        preset(self.base)
        load_model(self.model)
        return self

    def as_json(self):
        return asdict(self)


def start(task):
    """The parameters of the chip that the search begins from, or what of :data:`CHOICES` is nearest."""
    base = preset(task.base)
    tile, array, memory = base.tile, base.tile.array, base.memory
    own = {
        "rows": array.rows,
        "cols": array.cols,
        "tiles": base.tiles,
        "lanes": tile.lanes,
        "scalers": tile.scalers // tile.lanes,
        "load_rows": array.load_rows,
        "tokens": tile.tokens,
        "vmem_lines": tile.vmem_lines,
        "amem_blocks": tile.amem_blocks,
        "fifo_bytes": tile.fifo_bytes,
        "outstanding": memory.outstanding,
        "channels": memory.homes,
        "clock_mhz": max(CHOICES["clock_mhz"]),
    }
    near = {name: min(CHOICES[name], key=lambda choice: abs(choice - value)) for name, value in own.items()}
    return near | {"formats": CHOICES["formats"][0]}


def configuration(task, parameters, name="point"):
    """The chip of a point; ConfigError if there is none."""
    base = preset(task.base)
    cols = parameters["cols"]
    lanes = min(parameters["lanes"], cols)
    array = replace(
        base.tile.array,
        rows=parameters["rows"],
        cols=cols,
        load_rows=min(parameters["load_rows"], parameters["rows"], cols),
    )
    tile = replace(
        base.tile,
        array=array,
        lanes=lanes,
        scalers=min(parameters["scalers"] * lanes, cols),
        tokens=parameters["tokens"],
        vmem_lines=parameters["vmem_lines"],
        amem_blocks=parameters["amem_blocks"],
        fifo_bytes=parameters["fifo_bytes"],
    )
    channels = min(parameters["channels"], parameters["tiles"])
    width = min(32 * lanes, 256)
    bandwidth = min(Fraction(task.channel_mb_s, parameters["clock_mhz"]), Fraction(width // 8))
    memory = replace(
        base.memory,
        dram=None,
        paging=None,
        addr_width=32,
        data_width=width,
        outstanding=parameters["outstanding"],
        homes=channels,
        home_bytes=1 << 28,
        bandwidth=bandwidth,
        latency=-(-task.latency_ns * parameters["clock_mhz"] // 1000),
    )
    return replace(
        base,
        name=name,
        formats=tuple(parameters["formats"].split(",")),
        tiles=parameters["tiles"],
        tile=tile,
        memory=memory,
    )
