"""How far a run is: its time so far as a fraction of all, judged by the work that is done and left."""

import time

import numpy as np

from .report import roofline_cycles

__all__ = ["Progress"]

OVERHEAD = 1.05
"""Cycles of a program by its roofline's, before anything is known of it."""
ARRAYS = 0.65
"""How much longer than another the host simulates a cycle in which all of the arrays multiply: by 0.46 of it
for SmolLM2 and 0.86 for the default model, on ``desk``."""


class Progress:
    """How far a run of several steps is.

    A step's cycles are those of its roofline times a factor, which its layers show as they complete, and
    later steps of its phase take from those before. A cycle in which the arrays work takes the host longer
    than another; how long that is, the run shows.

    Parameters
    ----------
    config : ChipConfig
    steps : (phase, list of :class:`~poblano_host.compiler.program.LayerWork`) of each step to come
    clock : gives seconds

    Members
    -------
    elapsed : seconds since the first call of :meth:`update`
    left : seconds that the rest will take, None where nothing is known
    """

    def __init__(self, config, steps, clock=time.monotonic):
        self._config, self._clock = config, clock
        self._steps = [(phase, *self._sizes(work)) for phase, work in steps]
        self._at = 0
        self._factors, self._measured = {}, {}  # by phase: cycles a roofline cycle; seconds, effort
        self._begun = self._step = None
        self.elapsed, self.left = 0.0, None

    def _sizes(self, work):
        """The roofline's cycles of each layer, and what the step asks of the host."""
        cycles = np.array([roofline_cycles(layer, self._config) for layer in work])
        macs = sum(layer.macs for layer in work) / self._config.macs_per_cycle
        return cycles, cycles.sum() + ARRAYS * macs

    @property
    def fraction(self):
        """Of the time, 0 to 1."""
        return 0.0 if self.left is None else self.elapsed / max(self.elapsed + self.left, 1e-9)

    def update(self, phase, program, completed, cycles):
        """The running step's ``program`` has completed so many commands, in so many cycles."""
        now = self._clock()
        if self._begun is None:
            self._begun = now
        if self._step is None:
            self._step = _Step(program, self._factors.get(phase))
            self._share, self._since = self._step.share(completed, cycles, self._layers), now
        self.elapsed = now - self._begun
        share = self._step.share(completed, cycles, self._layers)
        effort = self._steps[self._at][2] if self._at < len(self._steps) else 0.0
        # Of a running step little is known as long as its layers teach what it takes.
        measured = self._measured or {phase: (now - self._since, effort * (share - self._share))}
        self._judge(phase, effort * (1 - share), measured)

    @property
    def _layers(self):
        return self._steps[self._at][1] if self._at < len(self._steps) else np.ones(1)

    def _judge(self, phase, left, measured):
        """Set ``left`` from the efforts left, and the seconds and efforts ``measured`` of each phase."""
        rates = {name: seconds / done for name, (seconds, done) in measured.items() if done > 0}
        if not rates:
            return
        other = next(iter(rates.values()))
        later = [(phase, left)] + [(name, effort) for name, _, effort in self._steps[self._at + 1 :]]
        self.left = sum(effort * rates.get(name, other) for name, effort in later)

    def step_done(self, step):
        """A :class:`~poblano_host.runtime.session.Step` has ended."""
        now = self._clock()
        if self._at < len(self._steps) and self._step is not None:
            _, layers, effort = self._steps[self._at]
            if step.result.cycles:
                self._factors[step.phase] = step.result.cycles / layers.sum()
            seconds, done = self._measured.get(step.phase, (0.0, 0.0))
            part = effort * (1 - self._share)
            self._measured[step.phase] = seconds + now - self._since, done + part
        self._at, self._step = self._at + 1, None


class _Step:
    """The running step: what share of it is done. ``factor``: its cycles by its roofline's, if known."""

    def __init__(self, program, factor):
        layers = len(program.work)
        last = layers - 1
        of = np.array([last if layer is None else max(layer, 0) for layer, _ in program.names])
        self._ends = np.cumsum(np.bincount(np.minimum(of, last), minlength=layers))
        self._learns, self._complete = factor is None, 0
        self._factor = OVERHEAD if factor is None else factor

    def share(self, completed, cycles, layers):
        """Of the step's time, 0 to 1; ``layers`` has the roofline's cycles of each."""
        if not cycles:
            return completed / max(int(self._ends[-1]), 1)
        complete = int(np.searchsorted(self._ends, completed, "right"))
        if self._learns and self._complete < complete < len(layers):
            done = layers[:complete].sum()
            weight = done / layers.sum()
            self._complete = complete
            self._factor = weight * cycles / done + (1 - weight) * OVERHEAD
        return min(cycles / (layers.sum() * self._factor), 0.99)
