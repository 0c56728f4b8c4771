"""Cost of a token: of the chip, its memory and package, of what houses it and of what it draws."""

from dataclasses import dataclass, replace
import math

from .facts import DATA, Checked, Fact, read
from .ranges import CORNERS, Range

__all__ = ["Cost", "CostFile", "Sensitivity", "die_yield", "dies_per_wafer", "read_cost", "sensitivity"]

HOURS = 8760
WAFER_MM = 300


class Making(Checked):
    """Of a package."""

    defects_cm2: Fact
    clusters: Fact
    hbm_usd_gb: Fact
    package_usd: Fact
    package_yield: Fact
    test_usd: Fact
    markup: Fact


class Running(Checked):
    """Of what stands around it."""

    system_factor: Fact
    power_factor: Fact
    pue: Fact
    usd_kwh: Fact
    facility_usd_kw: Fact
    facility_years: Fact
    years: Fact
    utilisation: Fact


class CostFile(Checked):
    """The file of costs."""

    sources: dict[str, str]
    wafer_usd: dict[str, Fact]
    making: Making
    running: Running


def read_cost(path=DATA / "cost.toml"):
    return read(path, CostFile)


def dies_per_wafer(area):
    """Of so many mm2 (de Vries' formula for what the edge takes)."""
    return math.pi * WAFER_MM**2 / 4 / area - math.pi * WAFER_MM / math.sqrt(2 * area)


def die_yield(area, defects, clusters):
    """The part of dies of ``area`` mm2 that works (Stapper's negative binomial)."""
    return (1 + area / 100 * defects / clusters) ** -clusters


@dataclass(frozen=True)
class Cost:
    """One set of numbers, each of them plain; :func:`sensitivity` varies them one by one."""

    wafer: float
    die_mm2: float
    dies: float
    memory_gb: float
    defects_cm2: float
    clusters: float
    hbm_usd_gb: float
    package_usd: float
    package_yield: float
    test_usd: float
    markup: float
    price: float | None
    power_w: float
    system_factor: float
    power_factor: float
    pue: float
    usd_kwh: float
    facility_usd_kw: float
    facility_years: float
    years: float
    utilisation: float
    tokens: float

    @classmethod
    def of(cls, file, chip, tokens, corner="mid"):
        """Of a chip that makes ``tokens`` (a range) a second. At ``low`` all that makes it dear is low."""
        cheap = {"low": "high", "mid": "mid", "high": "low"}[corner]
        dear = lambda fact: fact.range.at(corner)
        values = {name: dear(fact) for name, fact in file.making if name != "package_yield"}
        values |= {name: dear(fact) for name, fact in file.running}
        for name in ("years", "facility_years", "utilisation"):
            values[name] = getattr(file.running, name).range.at(cheap)
        return cls(
            **values,
            package_yield=file.making.package_yield.range.at(cheap),
            wafer=dear(file.wafer_usd[chip.node]),
            die_mm2=dear(chip.die_mm2),
            dies=chip.dies.value,
            memory_gb=dear(chip.memory_gb),
            price=dear(chip.price_usd) if chip.price_usd else None,
            power_w=dear(chip.power_w),
            tokens=Range.of(tokens).at(cheap),
        )

    @property
    def silicon(self):
        good = dies_per_wafer(self.die_mm2) * die_yield(self.die_mm2, self.defects_cm2, self.clusters)
        return self.dies * self.wafer / good

    @property
    def memory(self):
        return self.memory_gb * self.hbm_usd_gb

    @property
    def package(self):
        """To make one that works."""
        return (self.silicon + self.memory + self.package_usd) / self.package_yield + self.test_usd

    @property
    def paid(self):
        """By who runs it: the price that is known, or what it costs to make with its designers' share."""
        return self.price or self.package * self.markup

    @property
    def kilowatts(self):
        """From the grid."""
        return self.power_w / 1000 * self.power_factor * self.pue

    @property
    def hours(self):
        """{what: dollars an hour} of a chip."""
        return {
            "chip": self.paid / self.years / HOURS,
            "system": self.paid * (self.system_factor - 1) / self.years / HOURS,
            "building": self.kilowatts * self.facility_usd_kw / self.facility_years / HOURS,
            "electricity": self.kilowatts * self.usd_kwh,
        }

    @property
    def hour(self):
        return sum(self.hours.values())

    @property
    def million(self):
        """Dollars for a million tokens."""
        return self.hour / (self.tokens * 3600 * self.utilisation) * 1e6


@dataclass(frozen=True)
class Sensitivity:
    """What a million tokens cost when one number is at its ends and all others are most likely."""

    name: str
    low: float
    high: float


NAMES = {
    "tokens": "tokens a second",
    "utilisation": "utilisation over a day",
    "years": "years in use",
    "price": "price of the chip",
    "markup": "share of its designers",
    "system_factor": "server and network",
    "hbm_usd_gb": "HBM, dollars a GB",
    "memory_gb": "HBM, GB",
    "die_mm2": "die area",
    "defects_cm2": "defects",
    "wafer": "wafer",
    "package_usd": "package",
    "package_yield": "yield of the package",
    "test_usd": "test and assembly",
    "power_w": "power of the chip",
    "power_factor": "power of the system",
    "pue": "cooling (PUE)",
    "usd_kwh": "electricity",
    "facility_usd_kw": "building",
    "facility_years": "years of the building",
    "clusters": "clusters of defects",
}


def sensitivity(file, chip, tokens):
    """:class:`Sensitivity` of each number that has a range and matters, the largest first."""
    corners = {corner: Cost.of(file, chip, tokens, corner) for corner in CORNERS}
    middle, found = corners["mid"], []
    for field, name in NAMES.items():
        ends = [getattr(corners[corner], field) for corner in ("low", "high")]
        if ends[0] is None or ends[0] == ends[1]:
            continue
        low, high = sorted(replace(middle, **{field: end}).million for end in ends)
        if high > low * 1.001:
            found.append(Sensitivity(name, low, high))
    return sorted(found, key=lambda item: item.low - item.high)
