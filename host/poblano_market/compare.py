"""Chips beside each other, each as well as it can run a model."""

from dataclasses import dataclass
from pathlib import Path

from .calibration import Calibration, calibrate
from .chips import BITS, CHIPS, Chip, named, read_chips
from .closed_form import best, serve_range
from .cost import Cost, CostFile, Sensitivity, read_cost, sensitivity
from .deployment import Deployment, Formats, Split
from .energy import Energy, TokenEnergy, read_energy, token_energy
from .errors import MarketError
from .ranges import CORNERS, Range
from .shapes import Shape, read_shapes

__all__ = ["DEFAULT_CHIPS", "Comparison", "Row", "Wanted", "compare"]

DEFAULT_CHIPS = (
    "jalapeno",
    "tpu-v7",
    "tpu-8i",
    "tpu-8t",
    "b200",
    "gb300",
    "trainium3",
    "inferentia2",
    "maia200",
    "zhenwu-m890",
    "h100",
    "mi355x",
)
LARGEST = 64
"""Chips that a split is looked for with, at most."""


@dataclass(frozen=True)
class Wanted:
    """What is compared: a model in a format, lengths of requests, the least speed for a user, a batch (None:
    the best) and a split (None: the best)."""

    model: str
    weights: str | None = None
    kv: str = "fp8"
    prompt: int = 1024
    output: int = 1024
    speed: float = 20
    batch: int | None = None
    split: Split | None = None

    def check(self):
        for name in ("prompt", "output"):
            if getattr(self, name) < 1:
                raise MarketError(f"{name} must be at least 1 token, not {getattr(self, name)}")
        if self.batch is not None and self.batch < 1:
            raise MarketError(f"a batch is at least 1 request, not {self.batch}")
        return self


@dataclass(frozen=True)
class Row:
    """A chip in the comparison."""

    key: str
    chip: Chip
    deployment: Deployment
    batch: int
    served: dict
    efficiency: Range
    energy: TokenEnergy
    cost: Range
    costs: Cost
    sensitivity: list[Sensitivity]

    def _range(self, of):
        return Range.around(of(self.served[corner]) for corner in ("mid", "low", "high"))

    @property
    def tokens(self):
        """A second and chip."""
        return self._range(lambda served: served.chip_tokens)

    @property
    def user(self):
        """Tokens a second for a user."""
        return self._range(lambda served: served.user_tokens)

    @property
    def first_token(self):
        return self._range(lambda served: served.first_token)

    @property
    def limit(self):
        return self.served["mid"].limit

    @property
    def utilisation(self):
        """Of the peak of the format that the products are computed in."""
        peaks = {corner: self.chip.at(corner).peak(self.deployment.formats.compute) for corner in CORNERS}
        done = {corner: self.served[corner] for corner in CORNERS}
        return Range.around(
            done[corner].chip_tokens * done[corner].flops_per_token / peaks[corner]
            for corner in ("mid", "low", "high")
        )

    @property
    def watts(self):
        """What the operations and bytes of its tokens take, of a package."""
        return self.energy.sum * self.served["mid"].chip_tokens

    def as_json(self):
        return {
            "chip": self.key,
            "name": self.chip.name,
            "split": self.deployment.split.text(),
            "chips": self.deployment.split.chips,
            "batch": self.batch,
            "tokens_per_second_chip": self.tokens.as_json(),
            "tokens_per_second_user": self.user.as_json(),
            "first_token_seconds": self.first_token.as_json(),
            "utilisation": self.utilisation.as_json(),
            "bound_by": self.limit,
            "bound": {
                kind: part / self.served["mid"].step for kind, part in self.served["mid"].bound.items()
            },
            "joules_per_token": self.energy.sum.as_json(),
            "joules_per_token_at_full_power": self.energy.full.as_json(),
            "watts": self.watts.as_json(),
            "dollars_per_million_tokens": self.cost.as_json(),
            "efficiency": self.efficiency.as_json(),
        }


@dataclass(frozen=True)
class Comparison:
    """All rows, and the chips that can't run the model, with the reason."""

    wanted: Wanted
    shape: Shape
    rows: list[Row]
    left_out: dict
    calibration: Calibration
    chips: dict
    sources: dict
    energy: Energy
    cost: CostFile

    def row(self, key):
        return next((row for row in self.rows if row.key == key), None)


def splits(shape, chip):
    """Splits worth a try: tensor parallel; experts over chips whose attention is apart."""
    most, size = min(LARGEST, int(chip.domain.value)), 1
    while size <= most:
        if shape.heads % size == 0:
            yield Split(tensor=size)
        if shape.experts is not None and size > 1 and shape.experts.count % size == 0:
            yield Split(data=size, expert=size)
        size *= 2


def formats_for(wanted, shape):
    """The :class:`Formats` that are asked for; FP8, or the model's own, by default."""
    weights = wanted.weights or ("fp8" if "fp8" in shape.formats else shape.formats[0])
    if weights not in shape.formats:
        raise MarketError(
            f"{wanted.model} is compared with weights in {', '.join(shape.formats)}, not in {weights!r}"
        )
    if wanted.kv not in ("bf16", "fp8"):
        raise MarketError(f"keys and values are in bf16 or fp8, not in {wanted.kv!r}")
    compute = {"mxfp4": "fp8", "int4": "int8"}.get(weights, weights)
    assert weights in BITS
    return Formats(weights, compute, wanted.kv)


def compare(wanted, keys=None, path=CHIPS):
    """The :class:`Comparison` of chips of a file; of :data:`DEFAULT_CHIPS`, or all of another file, by
    default. With a split or a batch that is given, :class:`MarketError` if a chip can't do it; else such
    chips are left out with the reason."""
    chips, sources = read_chips(path)
    shape = named("model", wanted.check().model, read_shapes())
    keys = keys or (DEFAULT_CHIPS if Path(path) == CHIPS else chips)
    chosen = {key: named("chip", key, chips) for key in keys}
    calibration, energy, cost = calibrate(), read_energy(), read_cost()
    formats, rows, left_out = formats_for(wanted, shape), [], {}
    for key, chip in chosen.items():
        given = [wanted.split] if wanted.split else list(splits(shape, chip))
        deployments = [Deployment(wanted.model, shape, chip, formats, split) for split in given]
        try:
            rows.append(_row(key, deployments, wanted, calibration, energy, cost))
        except MarketError as error:
            if len(chosen) == 1 or wanted.split or wanted.batch:
                raise
            left_out[key] = str(error)
    rows.sort(key=lambda row: row.cost.mid)
    return Comparison(wanted, shape, rows, left_out, calibration, chips, sources, energy, cost)


def _row(key, deployments, wanted, calibration, energy, cost):
    chip = deployments[0].chip
    if chip.node not in cost.wafer_usd:
        raise MarketError(
            f"{key}: no price of a wafer of {chip.node!r}; there are {', '.join(cost.wafer_usd)}"
        )
    efficiency = calibration.of(chip.vendor)
    deployment, batch = best(
        deployments, wanted.prompt, wanted.output, wanted.speed, efficiency.mid, wanted.batch
    )
    served = serve_range(deployment, wanted.prompt, wanted.output, batch, efficiency)
    tokens = Range.around(served[corner].chip_tokens for corner in ("mid", "low", "high"))
    million = [Cost.of(cost, chip, tokens, corner).million for corner in ("mid", "low", "high")]
    return Row(
        key=key,
        chip=chip,
        deployment=deployment,
        batch=batch,
        served=served,
        efficiency=efficiency,
        energy=token_energy(energy, chip, deployment.formats.compute, served),
        cost=Range.around(million),
        costs=Cost.of(cost, chip, tokens),
        sensitivity=sensitivity(cost, chip, tokens),
    )
