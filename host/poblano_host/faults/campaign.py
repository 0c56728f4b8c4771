"""A model's step on a simulated chip, again and again, each time with a fault."""

from dataclasses import dataclass
import gc
import json
import mmap
import os
import sys
import tempfile
import time
import traceback

import numpy as np

from poblano.config import LINE_BYTES
from poblano.isa.commands import COMMAND_BYTES
from poblano.isa.registers import address

from ..compiler.plan import LINES
from ..runtime.backend import DeviceBackend
from ..runtime.errors import ChipError, DeviceError
from ..runtime.session import Session
from ..sim.errors import SimulationError
from .device import FaultyDevice
from .faults import KINDS, BeatError, Flip, Interrupted, QueueReset, Reset, Silence, draw
from .outcome import Outcome
from .places import KINDS_OF_BITS, Places, memory_places, register_places
from .summary import Summary

__all__ = ["Campaign", "Golden"]

BEST_BYTES = 8
"""A value and a token."""
JUNK = 0xA5
"""In the place of results before a program that must write them."""
WATCHDOG = 1 << 13
"""Cycles of the watchdog, where there is one: enough for every step, and short for those that hang."""
LOOK = 0.5
"""Seconds between two looks at what is done."""


@dataclass(frozen=True)
class Golden:
    """The step without faults: its cycles, beats read, bursts written, and the best token."""

    cycles: int
    beats_read: int
    bursts_written: int
    best: int


def _backend(config, memory_bytes, ring, *, report):
    return DeviceBackend(config, memory_bytes, ring, FaultyDevice(config, memory_bytes, report=report))


class Campaign:
    """A decode step of ``model`` on ``config`` after the tokens ``prompt``: first without faults, and then,
    from there, with each fault in a process of its own.

    Members
    -------
    golden : :class:`Golden`
    places : by kind the :class:`.places.Places` of bits
    """

    def __init__(self, model, config, prompt, *, report=lambda text: None):
        if len(prompt) < 2:
            raise ValueError("a campaign needs a prompt of two tokens")
        self.config = config
        context = min(model.config.context, len(prompt) + 1)
        self.session = Session(model, config, backend=_backend, context=context, report=report)
        self._device = self.session.backend.device
        self._memory = self._device.simulation.memory
        self._watch()
        report("running the step without faults")
        self.session.step("prefill", prompt[:-1], "none")
        self._token = prompt[-1]
        self.session.step("decode", [self._token], "last")  # now its program is in memory
        self.session.rewind(self.session.position - 1)
        self._outputs, self._left = self._results()
        self._junk()
        self._before = self._memory.copy()
        self._expected = np.frombuffer(mmap.mmap(-1, len(self._memory)), np.uint8)
        (found,) = _shares([lambda sink: sink(self._run_golden())])
        self.golden = Golden(**json.loads(found))
        # A chip that hangs is given up, and so is one that completes command after command.
        self._device.patience = max(4 * WATCHDOG, 2 * self.golden.cycles)
        self._limit = 8 * (self.golden.cycles + self._device.patience)
        self.places = self._places()

    def close(self):
        self.session.close()

    def faults(self, kind, count, seed, *, bits=1):
        """``count`` random faults of a kind; see :func:`.faults.draw`."""
        return draw(
            kind,
            count,
            seed,
            golden=self.golden,
            places=self.places.get(kind),
            homes=self.config.memory.homes,
            bits=bits,
        )

    @property
    def kinds(self):
        """The kinds of faults that this chip can have: DRAM answers always, and without errors."""
        ports = () if self.config.memory.dram is None else (BeatError.kind, Silence.kind)
        return tuple(kind for kind in KINDS if kind not in ports)

    def run(self, faults, *, jobs=1, progress=lambda done: None):
        """The :class:`.outcome.Outcome` s of ``faults``, by ``jobs`` processes at a time."""
        ordered = sorted(faults, key=lambda fault: fault.cycle)
        shares = [ordered[n::jobs] for n in range(min(jobs, len(ordered)))]
        lines = _shares([lambda sink, s=share: self._share(s, sink) for share in shares], progress)
        return Outcome.decode_all(b"".join(lines))

    def summary(self, outcomes):
        """The :class:`.summary.Summary` of what became of faults."""
        return Summary(outcomes, {kind: places.blocks() for kind, places in self.places.items()})

    def _watch(self):
        if self.config.watchdog:
            self._device.write_register(address("WATCHDOG"), WATCHDOG)

    def _results(self):
        """(first, end) of what the step stores for the host, and of what comes with it: what was in the rest
        of the lines with the tiles' best tokens, which may be zero after a reset."""
        program = self.session.compiled.step([self._token], self.session.position, logits="last")
        start, rows = program.logits
        words = [(start, start + rows * self.session.compiled.vocab_stride)]
        best = [(place, place + BEST_BYTES) for place in program.best]
        return words + best, [(end, first + LINES * LINE_BYTES) for first, end in best]

    def _junk(self):
        for first, end in self._outputs:
            self.session.backend.write(first, bytes([JUNK]) * (end - first))

    def _places(self):
        """The bits that can flip, by kind: of memory what the model and its program use."""
        found = register_places(self._device.simulation.registers)
        ring, count = self.session.backend.ring.place
        compiled = self.session.compiled
        regions = [("commands", ring, ring + COMMAND_BYTES * count)]
        regions += [("weights", first, first + len(data)) for first, data in compiled.image]
        regions += [("activations", first, end) for first, end in compiled.memory.work]
        if compiled.pages is not None:
            regions += [("activations", *extent) for extent in compiled.pages.extents]
        found += memory_places(regions, self.config)
        return {kind: Places(p for p in found if p.kind == kind) for kind in KINDS_OF_BITS}

    def _step(self):
        return self.session.step("decode", [self._token], "last", read=False)

    def _run_golden(self):
        """Run the step without faults: what memory holds after it is what all others must leave."""
        simulation = self._device.simulation
        before = simulation.beats_read, simulation.bursts_written
        step = self._step()
        self._expected[:] = self._memory
        after = simulation.beats_read, simulation.bursts_written
        golden = Golden(step.result.cycles, after[0] - before[0], after[1] - before[1], step.best)
        return json.dumps(vars(golden)).encode() + b"\n"

    def _share(self, faults, sink):
        """Run the step, in which the faults come: in each process of theirs the fault's outcome goes to
        ``sink``."""
        device = self._device
        device.plan(faults)
        device.limit = self._limit
        found = self._attempt()
        if device.fault is not None:
            sink(self._outcome(device.fault, found).encode())
            os._exit(0)
        assert found == {"result": "masked"}, f"the step without faults is {found}"
        for fault in device.lost:
            sink(Outcome(fault.kind, fault.block, fault.where, fault.cycle, "silent", "crash").encode())
        for fault in device.planned:  # after the run's end
            sink(Outcome(fault.kind, fault.block, fault.where, fault.cycle, "masked").encode())

    def _attempt(self):
        """Run the step: fields of an :class:`Outcome`."""
        try:
            step = self._step()
        except Interrupted:
            return {"result": "masked"}
        except ChipError as error:
            return {"result": "detected", "next": False} | _about(error)
        except (DeviceError, SimulationError):  # the latter if a register does not answer
            return {"result": "hang", "next": False}
        self.session.rewind(step.position)
        same = step.best == self.golden.best and not self._differs()
        if step.retried is not None:
            about = _about(step.retried) | {"retried": same, "next": same}
            return {"result": "detected" if same else "silent"} | about
        corrected = any(counts.corrected for counts in step.result.ecc.values())
        return {"result": ("corrected" if corrected else "masked") if same else "silent"}

    def _outcome(self, fault, found):
        """The :class:`Outcome` after the run with the fault, which ``found`` tells of: after what is not
        masked the next program shows whether the chip is as good as before."""
        broken = found["result"] in ("detected", "hang") and not found.get("retried")
        if broken or isinstance(fault, Reset | QueueReset):
            found["next"] = self._next_program(fault, found["result"])
        return Outcome(fault.kind, fault.block, fault.where, fault.cycle, **found)

    def _next_program(self, fault, result):
        """Whether a program runs bit-exact after the fault's."""
        device, backend = self._device, self.session.backend
        if isinstance(fault, Silence):
            device.simulation.silence(0, 0, home=fault.home)
        try:
            device.plan([])
            if result == "hang":
                device.simulation.reset()
            if result == "hang" or isinstance(fault, Reset):
                backend.open_ring()
                self._watch()
            if isinstance(fault, Flip) and fault.kind in ("dram", "flip-flop"):
                self._bring_again()
            self._junk()
            return self._attempt()["result"] in ("masked", "corrected")
        except (DeviceError, SimulationError):
            return False

    def _bring_again(self):
        """Write all of memory, of which something may be lost."""
        simulation = self._device.simulation
        for home in range(self.config.memory.homes):
            for at in simulation.different_dram(home):
                self._memory[home * self.config.memory.home_bytes + at] ^= 0xFF
            simulation.different_dram(home)  # sees that they have been written
        self._memory[:] = self._before

    def _differs(self):
        """Whether what is stored differs from what it is without faults."""
        fault = self._device.fault
        for first, end in self.session.compiled.memory.extents:
            found, expected = self._memory[first:end], self._expected[first:end]
            if np.array_equal(found, expected):
                continue
            difference = self._memory ^ self._expected
            for low, high in self._left:
                difference[low:high] = 0
            if fault is None or fault.without(difference)[first:end].any():
                return True
        return False


def _about(error):
    return {"code": error.code.name, "unit": error.where, "label": error.label}


def _shares(tasks, progress=lambda done: None):
    """What each of ``tasks``, in a process of its own, gives to the function that it is called with: bytes,
    whole lines. ``progress`` is called with the number of lines."""
    gc.collect()
    gc.freeze()  # pages of objects stay common
    files = [tempfile.TemporaryFile() for _ in tasks]  # noqa: SIM115 - closed below
    running = {}
    for task, file in zip(tasks, files):
        child = os.fork()
        if not child:
            _be(task, file)
        running[child] = task
    failed = False
    while running:
        for child in list(running):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                del running[child]
                failed |= status != 0
        time.sleep(LOOK if running else 0)
        progress(sum(_read(file).count(b"\n") for file in files))
    if failed:
        raise RuntimeError("a process of the campaign failed; see above")
    found = [_read(file) for file in files]
    for file in files:
        file.close()
    return found


def _be(task, file):
    """Run a task in a new process, and end it."""
    code = 1
    try:
        task(lambda line: os.write(file.fileno(), line))
        code = 0
    except KeyboardInterrupt:
        pass
    except BaseException:  # nothing of what is behind the fork may run twice
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _read(file):
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)
