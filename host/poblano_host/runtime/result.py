"""What a program's run took."""

from dataclasses import dataclass, field

import numpy as np

from ..sim.simulation import EVENT

__all__ = ["SAMPLED", "RunResult"]

SAMPLED = ("BUSY", "STALL_IN", "STALL_OUT")
"""The counters that say what units do."""


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a program's run took. The golden model knows nothing of time: its cycles, counters and bytes are
    0.

    ``counters`` has, by unit number, the counters of :data:`COUNTERS`; ``events`` (:data:`EVENT`) count
    cycles from the doorbell, as ``cycles`` does to the interrupt; ``seconds`` is the host's time. A device
    that does not see single cycles has no events, and its cycles are from the start of the run. ``samples``
    are the :data:`SAMPLED` counters in between, if the ring took any: (cycle, array (units, counters)).
    ``ecc`` has, by place, the :class:`~.ecc.ECCCounts` that are not 0. ``experts`` are those of mixtures that
    got rows, of all layers together; None where they are not counted. ``rerouted`` are choices of experts
    that had no room.
    """

    commands: int
    seconds: float
    cycles: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    counters: dict = field(default_factory=dict)
    events: np.ndarray = field(default_factory=lambda: np.zeros(0, EVENT))
    samples: list = field(default_factory=list)
    ecc: dict = field(default_factory=dict)
    experts: int | None = None
    rerouted: int = 0
