"""How far a run says it is, against how far it was."""

from types import SimpleNamespace

import pytest

from poblano.config import preset
from poblano_host.compiler.program import LayerWork
from poblano_host.models import load_model
from poblano_host.runtime.progress import Progress
from poblano_host.runtime.session import Session

DESK = preset("desk")


class Clock:
    """Seconds that pass as a run says."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def work(layers, macs, weight_bytes, output):
    """A step's, as SmolLM2's."""
    return [LayerWork(f"layer{n}", macs, weight_bytes) for n in range(layers)] + [
        LayerWork("output", *output)
    ]


PREFILL = work(30, 80 * 3_538_944, 2_211_840, (0, 1))[:-1] + [LayerWork("output", 0, 0)]
CHUNK = work(30, 20 * 3_538_944, 2_211_840, (28_311_552, 30_081_024))
DECODE = work(30, 3_538_944, 2_211_840, (28_311_552, 30_081_024))
STEPS = [("prefill", PREFILL, 1.027, 11.1e-6), ("prefill", CHUNK, 1.032, 10.7e-6)]
STEPS += [("decode", DECODE, 1.032, 8.0e-6)] * 24
"""Steps of SmolLM2 on ``desk``: phase, work, cycles by the roofline's, seconds a cycle (measured)."""


def errors(steps, tick=10_000):
    """The differences, of each moment of a run, between what is said and what is."""
    clock = Clock()
    progress = Progress(DESK, [(phase, work) for phase, work, _, _ in steps], clock)
    sizes = [progress._sizes(work)[0] for _, work, _, _ in steps]
    cycles = [int(size.sum() * factor) for size, (_, _, factor, _) in zip(sizes, steps)]
    whole = sum(count * seconds for count, (_, _, _, seconds) in zip(cycles, steps))
    found, begun = [], clock.now
    for size, total, (phase, layers, factor, seconds) in zip(sizes, cycles, steps):
        names = [(n, "matmul") for n in range(len(layers) - 1) for _ in range(50)] + [(None, "head")] * 9
        program, start = SimpleNamespace(work=layers, names=names), clock.now
        for done in range(tick, total, tick):
            clock.now = start + done * seconds
            ends = (size.cumsum() * factor <= done).sum()
            progress.update(phase, program, min(50 * ends, len(names)), done)
            found.append(abs(progress.fraction - (clock.now - begun) / whole))
        clock.now = start + total * seconds
        result = SimpleNamespace(cycles=total)
        progress.step_done(SimpleNamespace(phase=phase, result=result))
    return found


def test_right_within_five_percent():
    found = errors(STEPS)
    assert len(found) > 1000 and max(found) < 0.05
    assert max(errors(STEPS[:1])) < 0.05 > max(errors(STEPS[2:]))


def test_golden_has_no_cycles():
    """The share of a step is then that of its commands."""
    clock = Clock()
    progress = Progress(DESK, [("prefill", PREFILL), ("decode", DECODE)], clock)
    program = SimpleNamespace(work=PREFILL, names=[(0, "x")] * 10)
    assert progress.fraction == 0 and progress.left is None
    for done in range(1, 11):
        clock.now += 1
        progress.update("prefill", program, done, 0)
    assert progress.elapsed == 9 and 0 < progress.left < 9 and 0.5 < progress.fraction < 1


@pytest.mark.slow
def test_on_the_rtl():
    """The default model on desk: what the bar says, against the cycles, each as long as measured."""
    clock, seconds = Clock(), {"prefill": 12.2e-6, "decode": 7.6e-6}
    session = Session(load_model("default"), DESK, context=140)
    progress = Progress(DESK, session.plan(100, 24), clock)
    begun, said, at = clock.now, [], clock.now

    def tell(phase, program, completed, cycles):
        clock.now = at + cycles * seconds[phase]
        progress.update(phase, program, completed, cycles)
        said.append((clock.now - begun, progress.fraction))

    session.progress = tell
    for step, _ in session.generate(range(5, 105), 24):
        at = clock.now = at + step.result.cycles * seconds[step.phase]
        progress.step_done(step)
    whole = at - begun
    assert len(said) > 60 and max(abs(now / whole - fraction) for now, fraction in said) < 0.05
