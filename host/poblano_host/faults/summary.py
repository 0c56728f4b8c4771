"""Figures of a fault campaign: shares of what became of the faults, by kind and by block."""

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from math import sqrt

from .faults import KINDS
from .outcome import CLASSES, Outcome

__all__ = ["COLUMNS", "Share", "Summary", "interval"]

CONFIDENT = 1.96
"""Standard deviations on either side, for 95 %."""


def interval(count, total):
    """Wilson's interval of 95 % for a probability of which ``count`` of ``total`` cases came true."""
    if not total:
        return 0.0, 1.0
    share, square = count / total, CONFIDENT**2 / total
    middle = share + square / 2
    spread = CONFIDENT * sqrt(share * (1 - share) / total + square / (4 * total))
    return max(0.0, (middle - spread) / (1 + square)), min(1.0, (middle + spread) / (1 + square))


COLUMNS = ("bits", "faults", *CLASSES, "silent share", "95 % between", "next wrong")


@dataclass(frozen=True)
class Share:
    """What became of faults of one kind, or in one block, which has so many ``bits``: None where none
    flip."""

    name: str
    bits: int | None
    classes: Counter
    wrong_after: int

    @classmethod
    def of(cls, name, bits, outcomes):
        return cls(
            name,
            bits,
            Counter(outcome.result for outcome in outcomes),
            sum(outcome.next is False for outcome in outcomes),
        )

    @property
    def faults(self):
        return self.classes.total()

    @property
    def silent_share(self):
        return self.classes["silent"] / self.faults if self.faults else 0.0

    def row(self):
        """Of :data:`COLUMNS`, behind the name."""
        low, high = interval(self.classes["silent"], self.faults)
        return [
            self.name,
            "" if self.bits is None else f"{self.bits:,}",
            f"{self.faults:,}",
            *(f"{self.classes[name]:,}" for name in CLASSES),
            f"{self.silent_share:.2%}",
            f"{low:.2%} and {high:.2%}",
            f"{self.wrong_after:,}",
        ]

    def as_json(self):
        low, high = interval(self.classes["silent"], self.faults)
        return {
            "bits": self.bits,
            "faults": self.faults,
            **{name: self.classes[name] for name in CLASSES},
            "silent_share": self.silent_share,
            "silent_low": low,
            "silent_high": high,
            "next_wrong": self.wrong_after,
        }


@dataclass(frozen=True)
class Summary:
    """What became of the faults of a campaign: ``outcomes``; ``blocks`` has, by kind, the bits of each
    block."""

    outcomes: list[Outcome]
    blocks: dict

    def kinds(self):
        """A :class:`Share` of each kind."""
        found = self._grouped(lambda outcome: outcome.kind)
        bits = lambda kind: sum(self.blocks[kind].values()) if kind in self.blocks else None
        return [Share.of(kind, bits(kind), found[kind]) for kind in KINDS if kind in found]

    def parts(self, kind):
        """A :class:`Share` of each block of a kind, those with the most silent flips of all first."""
        found = self._grouped(lambda outcome: outcome.block, kind)
        bits = self.blocks.get(kind, {})
        shares = [Share.of(block, bits.get(block), outcomes) for block, outcomes in found.items()]
        return sorted(shares, key=lambda share: (-share.classes["silent"], -share.faults))

    def errors(self):
        """(kind, code, unit, label, how many) of the errors, the most frequent first."""
        found = Counter(
            (outcome.kind, outcome.code, outcome.unit, outcome.label)
            for outcome in self.outcomes
            if outcome.result == "detected"
        )
        return [(*key, count) for key, count in found.most_common()]

    def as_json(self):
        """All figures, and every fault that was not masked."""
        return {
            "kinds": {share.name: share.as_json() for share in self.kinds()},
            "blocks": {
                share.name: {part.name: part.as_json() for part in self.parts(share.name)}
                for share in self.kinds()
            },
            "faults": [asdict(outcome) for outcome in self.outcomes if outcome.result != "masked"],
        }

    def _grouped(self, key, kind=None):
        found = defaultdict(list)
        for outcome in self.outcomes:
            if kind is None or outcome.kind == kind:
                found[key(outcome)].append(outcome)
        return found
