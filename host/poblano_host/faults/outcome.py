"""What becomes of a fault."""

from dataclasses import asdict, dataclass
import json

__all__ = ["CLASSES", "Outcome"]

CLASSES = ("masked", "corrected", "detected", "hang", "silent")
"""Nothing differs; a code has corrected it; an error was raised; the chip did not end its program; what is
stored, or the token, differs, without an error."""


@dataclass(frozen=True)
class Outcome:
    """A fault's class, and where it was: its kind, block, place and cycle.

    ``code``, ``unit`` and ``label`` are of the error; ``retried``: the runtime ran the step once more, which
    went well. ``next``: whether the next program ran bit-exact; None if none was run.
    """

    kind: str
    block: str
    where: str
    cycle: int
    result: str
    code: str = ""
    unit: str = ""
    label: str = ""
    retried: bool = False
    next: bool | None = None

    @property
    def wrong(self):
        """Whether it is more than an error of the one program: silence, a hang, or a wrong program after
        it."""
        return self.result in ("silent", "hang") or self.next is False

    def encode(self):
        """A line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode_all(cls, data):
        return [cls(**json.loads(line)) for line in data.splitlines()]
