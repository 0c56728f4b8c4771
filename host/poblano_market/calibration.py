"""One efficiency for each vendor, fitted on one public measurement, and what it says of the others."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from .chips import named, read_chips
from .closed_form import decode, prefill, serve
from .deployment import Deployment, Formats, Split
from .errors import MarketError
from .facts import DATA, Checked, read
from .ranges import Range
from .shapes import read_shapes

__all__ = ["BAR", "Calibration", "Held", "calibrate"]

MEASUREMENTS = DATA / "measurements.toml"
BAR = 0.15
"""The error that a measurement may be missed by."""
LEAST, MOST = 0.02, 1.0
"""Efficiencies that a fit is looked for in."""


class Point(Checked):
    """A public measurement."""

    name: str
    chip: str
    model: str
    formats: list[str] = Field(min_length=3, max_length=3)
    tensor: int = 1
    data: int = 1
    expert: int | None = None
    prompt: int = Field(gt=0)
    output: int = Field(gt=0)
    batch: int | None = None
    requests: int | None = None
    slowest_ms: float | None = None
    what: Literal[
        "user_ms", "first_ms", "request_s", "output_tokens", "all_tokens", "prefill_ms", "decode_ms"
    ]
    value: float = Field(gt=0)
    fit: bool = False
    source: str


class PointFile(Checked):
    """The file of measurements."""

    sources: dict[str, str]
    points: list[Point]


@dataclass(frozen=True)
class Held:
    """A measurement beside what the closed form says."""

    point: Point
    vendor: str
    modelled: float
    implied: float

    @property
    def error(self):
        """Of the modelled figure, relative to the measured."""
        return self.modelled / self.point.value - 1

    @property
    def within(self):
        return abs(self.error) <= BAR


@dataclass(frozen=True)
class Calibration:
    """Efficiencies by vendor, and all measurements."""

    efficiency: dict
    held: list
    sources: dict

    def of(self, vendor):
        """The range of a vendor: its own, or that of all vendors for one that published nothing."""
        if vendor in self.efficiency:
            return self.efficiency[vendor]
        everyone = list(self.efficiency.values())
        return Range(
            min(e.low for e in everyone),
            sum(e.mid for e in everyone) / len(everyone),
            max(e.high for e in everyone),
        )


def deployment_of(point, chips, shapes):
    """The deployment that was measured."""
    shape = named("model", point.model, shapes)
    split = Split(point.tensor, point.data, point.expert)
    chip = named("chip", point.chip, chips)
    return Deployment(point.model, shape, chip, Formats(*point.formats), split).check()


def batch_of(point, deployment, efficiency):
    """The requests at once: as stated, or as many as fit in memory and are fast enough."""
    if point.batch is not None:
        return point.batch
    most = deployment.sequences(point.prompt + point.output)
    most = min(most, point.requests or most)
    if point.slowest_ms is None:
        return most
    step = lambda batch: (
        serve(deployment, point.prompt, point.output, batch, deployment.chip.at("mid"), efficiency).step
    )
    return bisect_right(range(1, most + 1), point.slowest_ms / 1000, key=step) or 1


def modelled(point, deployment, efficiency):
    """What the closed form says in place of a measurement."""
    specification, batch = deployment.chip.at("mid"), batch_of(point, deployment, efficiency)
    if point.what == "prefill_ms":
        return 1000 * prefill(deployment, point.prompt, specification, efficiency, batch).seconds
    if point.what == "decode_ms":
        context = point.prompt + point.output // 2
        return 1000 * decode(deployment, batch, context, specification, efficiency).seconds
    served = serve(deployment, point.prompt, point.output, batch, specification, efficiency)
    return {
        "user_ms": 1000 * served.step,
        "first_ms": 1000 * served.first_token,
        "request_s": served.first_token + point.output * served.step,
        "output_tokens": served.chip_tokens,
        "all_tokens": served.chip_tokens * (1 + point.prompt / point.output),
    }[point.what]


def implied(point, deployment):
    """The efficiency at which the closed form gives what was measured; the nearest one that it looks at."""
    rate = point.what in ("output_tokens", "all_tokens")
    least, most = LEAST, MOST
    for _ in range(50):
        middle = (least + most) / 2
        fast = modelled(point, deployment, middle)
        if (fast > point.value) == rate:
            most = middle
        else:
            least = middle
    return (least + most) / 2


def calibrate(chips=None, path=MEASUREMENTS):
    """The :class:`Calibration`: fitted on each vendor's point that the file marks. A vendor's range is that
    of the efficiencies at which the closed form would meet each of its points."""
    chips = chips or read_chips()[0]
    shapes, file = read_shapes(), read(path, PointFile)
    for point in file.points:
        if point.source not in file.sources:
            raise MarketError(f"{path}: {point.name}: no source {point.source!r} in [sources]")
    measured = [(point, deployment_of(point, chips, shapes)) for point in file.points]
    wanted = {id(point): implied(point, deployment) for point, deployment in measured}
    fitted = {deployment.chip.vendor: wanted[id(point)] for point, deployment in measured if point.fit}
    held = [
        Held(
            point,
            deployment.chip.vendor,
            modelled(point, deployment, fitted[deployment.chip.vendor]),
            wanted[id(point)],
        )
        for point, deployment in measured
    ]
    efficiency = {
        vendor: Range.around([middle, *(h.implied for h in held if h.vendor == vendor)])
        for vendor, middle in fitted.items()
    }
    return Calibration(efficiency, held, file.sources)
