"""What is said about a design in which nothing moves any more."""

from dataclasses import dataclass, field

__all__ = ["CYCLES", "Inside", "StuckError"]

CYCLES = 4000
"""So long nothing may move."""


class StuckError(AssertionError):
    """Nothing moves any more, or credit is missing."""


@dataclass
class Inside:
    """What is inside a design: ``credits`` (left, whole) and ``queues`` (how many are inside) by their paths,
    such as ``stream0.reader.credit``; ``kinds``: what kind of block each of them stands in."""

    credits: dict = field(default_factory=dict)
    queues: dict = field(default_factory=dict)
    kinds: dict = field(default_factory=dict)

    def missing(self):
        """Sentences about credit that is missing though no queue beside it has anything."""
        found = []
        for path, (left, whole) in self.credits.items():
            owner = path.rpartition(".")[0]
            queues = [n for at, n in self.queues.items() if at.rpartition(".")[0] == owner]
            if left != whole and queues and not any(queues):
                change = f"{whole - left} of its credit are lost" if left < whole else "credit was made"
                found.append(
                    f"{self._place(path)}: {change}: {left} of {whole} are left, with no burst in flight and "
                    "nothing in its queues"
                )
        return found

    def _place(self, path):
        """The block that has it, and its kind."""
        owner = path.rpartition(".")[0]
        return f"{owner} ({self.kinds[path]})" if owner else self.kinds[path]

    def report(self, waits, still):
        """The text about a design that has stood for ``still`` cycles, in which the handshakes ``waits`` are
        offered and not taken."""
        lines = [*self.missing(), f"nothing has moved for {still} cycles"]
        lines += [f"offered and not taken: {', '.join(waits)}"] * bool(waits)
        for path, (left, whole) in self.credits.items():
            if left != whole:
                lines.append(f"{self._place(path)}: {left} of {whole} credit left in {path}")
        for path, count in self.queues.items():
            if count:
                what = "bursts in flight" if path.endswith("in_flight") else f"in the queue {path}"
                lines.append(f"{self._place(path)}: {count} {what}")
        return "\n".join(lines)

    def check_idle(self):
        """To be called when all is done and was taken: all credit is there."""
        if found := self.missing():
            raise StuckError("\n".join(found))
