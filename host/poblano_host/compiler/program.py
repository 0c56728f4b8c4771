"""Programs: commands for one run of the chip, what to write before and what to read after."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

from poblano.isa.commands import COMMAND_BYTES, Command

from .template import Bound

__all__ = ["LayerWork", "Maxima", "Program", "with_experts"]


@dataclass(frozen=True)
class LayerWork:
    """The least work of a layer: useful multiply-accumulates, bytes of weights and other bytes from
    memory. The weights are also those of ``experts`` experts of ``expert_bytes`` each, as many as the tokens
    can use."""

    name: str
    macs: int
    weight_bytes: int
    other_bytes: int = 0
    experts: int = 0
    expert_bytes: int = 0

    def using(self, experts):
        """The work if so many experts get rows; of several steps or layers together a mean."""
        unused = round((self.experts - experts) * self.expert_bytes)
        return replace(self, weight_bytes=self.weight_bytes - unused)


def with_experts(works, count):
    """The :class:`LayerWork` s ``works`` if in all layers together ``count`` experts got rows, in each layer
    the same part of those that could; None: that is not known."""
    most = sum(work.experts for work in works)
    if count is None or not most:
        return works
    return [work.using(work.experts * count / most) for work in works]


@dataclass(frozen=True)
class Maxima:
    """The largest of each of ``blocks`` blocks of 32 logits, FP32, for each row of logits: the first row's at
    ``address``, those of the next row ``stride`` words on."""

    address: int
    blocks: int
    stride: int


@dataclass
class Program:
    """Commands for one run of the chip.

    Parameters
    ----------
    code : :class:`.template.Bound`, the commands
    inputs : list of (address, bytes) to write before
    logits : (address, rows) or None
    best : addresses of each tile's argmax (value, index) if there is one row of logits, else empty
    maxima : :class:`Maxima` of the blocks of the vocabulary, in its order, if there are several rows of
        several sequences, else empty
    count_work : gives the list of :class:`LayerWork`, which reports alone want
    """

    code: Bound
    inputs: list = field(default_factory=list)
    logits: tuple | None = None
    best: list = field(default_factory=list)
    maxima: list = field(default_factory=list)
    count_work: Callable = list

    def __len__(self):
        return len(self.code)

    @cached_property
    def work(self):
        """The list of :class:`LayerWork`."""
        return self.count_work()

    @property
    def words(self):
        """uint64 (commands, 8)."""
        return self.code.words

    @property
    def names(self):
        """For each command (its layer or None, what it does)."""
        return self.code.template.labels

    def encode(self):
        """The commands' bytes."""
        return self.words.tobytes()

    def label(self, n):
        """What command ``n`` does, and in which layer."""
        return self.code.template.label(n)

    @property
    def commands(self):
        """The commands, decoded, with their labels: for people, traces and tests."""
        data = self.encode()
        pieces = (data[n : n + COMMAND_BYTES] for n in range(0, len(data), COMMAND_BYTES))
        return [replace(Command.decode(piece), label=self.label(n)) for n, piece in enumerate(pieces)]
