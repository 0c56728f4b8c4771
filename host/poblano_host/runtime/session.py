"""Runs programs on a chip: one interface, behind it the simulated RTL or the golden model, and sessions of
a language model."""

from dataclasses import dataclass, field
import time
from typing import Protocol

import numpy as np

from poblano.config import ConfigError
from poblano.isa.commands import COMMAND_BYTES, CommandError, ErrorCode
from poblano.isa.registers import (
    COUNTERS,
    IDENTITY,
    NO_ERROR_UNIT,
    VERSION_NUMBER,
    Control,
    Irq,
    Status,
    address,
)
from poblano.isa.topology import LARGEST

from ..assembler import disassemble
from ..compiler import CompiledModel, Program
from ..golden.chip import GoldenChip
from ..sim.simulation import EVENT, Simulation, SimulationError

__all__ = [
    "BACKENDS",
    "Backend",
    "ChipError",
    "GoldenBackend",
    "Mismatch",
    "RunResult",
    "Sampler",
    "Session",
    "SimulationBackend",
    "Step",
    "open_backend",
    "run_job",
]


class ChipError(RuntimeError):
    """The chip refused a command, or failed in it. The queue has been reset: the backend takes the next
    program.

    ``code`` is the :class:`ErrorCode`, None for a program that hangs; ``index``, ``unit`` and ``command``
    (its text) say where.
    """

    def __init__(self, code, index, unit, commands):
        self.code, self.index, self.unit, self.command = code, index, unit, ""
        data = commands[COMMAND_BYTES * index : COMMAND_BYTES * (index + 1)]
        try:
            self.command = disassemble(data).strip()
        except CommandError:
            self.command = data.hex(" ", 4)
        where = "fetch" if unit == NO_ERROR_UNIT else LARGEST.name(unit)
        super().__init__(f"chip error {code.name} ({code.text}) at command {index} ({where}): {self.command}")


class Mismatch(RuntimeError):
    """The chip and the golden model differ."""


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a program's run took. The golden model knows nothing of time: its cycles, counters and bytes are
    0.

    ``counters`` has, by unit number, the counters of :data:`COUNTERS`; ``events`` (:data:`EVENT`) count
    cycles from the doorbell, as ``cycles`` does to the interrupt; ``seconds`` is the host's time.
    """

    commands: int
    seconds: float
    cycles: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    counters: dict = field(default_factory=dict)
    events: np.ndarray = field(default_factory=lambda: np.zeros(0, EVENT))


class Backend(Protocol):
    """A chip and its memory of ``memory_bytes``. ``ring`` is (address, commands) of the command ring."""

    memory: np.ndarray

    def write(self, address, data):
        """Write bytes to memory."""

    def read(self, address, size):
        """``size`` bytes of memory."""

    def run(self, commands, *, progress=None):
        """Reset the queue and run ``commands`` (bytes, 64 each); the :class:`RunResult`.

        ``progress(completed, total, cycles)`` is called from time to time. Raises :class:`ChipError`.
        """

    def close(self):
        """Free the chip."""


class _Memory:
    """Reads and writes of ``self.memory``, for backends that have it in the host's."""

    def write(self, address, data):
        self._check(address, len(data))
        self.memory[address : address + len(data)] = np.frombuffer(data, np.uint8)

    def read(self, address, size):
        self._check(address, size)
        return self.memory[address : address + size].tobytes()

    def _check(self, address, size):
        if address < 0 or address + size > len(self.memory):
            raise ValueError(
                f"bytes {address} to {address + size - 1} pass the memory of {len(self.memory)} bytes"
            )


class GoldenBackend(_Memory):
    """The golden model behind :class:`Backend`."""

    def __init__(self, config, memory_bytes, ring, *, report=None):
        self.config = config
        self.memory = np.zeros(memory_bytes, np.uint8)
        self.chip = GoldenChip(config, self.memory)

    def run(self, commands, *, progress=None):
        start = time.monotonic()
        self.chip.reset_queue()
        report = None if progress is None else lambda done, total: progress(done, total, 0)
        try:
            self.chip.run(commands, progress=report)
        except CommandError as error:
            command = commands[COMMAND_BYTES * error.index : COMMAND_BYTES * (error.index + 1)]
            raise ChipError(error.code, error.index, command[1], commands) from None
        return RunResult(commands=len(commands) // COMMAND_BYTES, seconds=time.monotonic() - start)

    def close(self):
        pass


class SimulationBackend(_Memory):
    """The RTL in simulation behind :class:`Backend`.

    ``report`` is called with a line for each slow step of building the model; ``simulation`` makes the
    :class:`Simulation`. A chip that starts and completes nothing for long is a :class:`SimulationError`.
    """

    SLICE = 10000
    """Cycles between calls of ``progress``."""

    def __init__(self, config, memory_bytes, ring, *, report=lambda text: None, simulation=Simulation):
        self.config = config
        self.ring_address, self.ring_size = ring
        self.patience = max(2**31 // config.macs_per_cycle, 2**20)
        self.simulation = simulation(config, memory_bytes, report=report)
        self.memory = self.simulation.memory
        identity = self._read("ID"), self._read("VERSION"), self._read("CONFIG0") & 0xFF
        if identity != (IDENTITY, VERSION_NUMBER, config.tiles):
            raise SimulationError(f"the chip's ID, VERSION and tiles are {identity}")
        for name, value in (("RING_BASE", self.ring_address), ("MEMORY_SIZE", memory_bytes)):
            self._write(f"{name}_LO", value & 0xFFFFFFFF)
            self._write(f"{name}_HI", value >> 32)
        self._write("RING_SIZE", self.ring_size)
        self._write("IRQ_ENABLE", Irq.DONE | Irq.ERROR)

    def _read(self, name, unit=None):
        return self.simulation.read(address(name, unit))

    def _write(self, name, value):
        self.simulation.write(address(name), value)

    def run(self, commands, *, progress=None):
        sim, total = self.simulation, len(commands) // COMMAND_BYTES
        begun = time.monotonic()
        self._reset_queue(Control.CLEAR_COUNTERS)
        sim.take_events()
        completed_before = sim.completed
        self._write("CONTROL", Control.ENABLE)
        start, written, seen, last = sim.cycle, 0, -1, 0
        running = total > 0
        while running:
            if written < total:
                written = self._feed(commands, written)
            sim.run(self.SLICE if written == total else self.SLICE // 10)
            activity = sim.started + sim.completed
            if activity != seen:
                seen, last = activity, sim.cycle
            elif sim.cycle - last > self.patience:
                raise SimulationError(self._hang(total))
            if progress is not None:
                progress(sim.completed - completed_before, total, sim.cycle - start)
            if sim.irq:
                if self._read("IRQ_STATUS") & Irq.ERROR:
                    self._fail(commands)
                # While the ring is fed, done may be that of an earlier TAIL.
                self._write("IRQ_STATUS", Irq.DONE)
                running = written < total or bool(self._read("STATUS") & Status.RUNNING)
        events = sim.take_events()
        cycles = int(events["cycle"].max(initial=start - 1)) + 1 - start
        events["cycle"] -= np.uint64(start)
        counters = {
            unit: {name: self._read(name, unit) for name in COUNTERS} for unit in range(self.config.units)
        }
        beat = self.config.memory.data_bytes
        return RunResult(
            commands=total,
            seconds=time.monotonic() - begun,
            cycles=cycles,
            counters=counters,
            events=events,
            bytes_read=beat * self._read("READ_BEATS"),
            bytes_written=beat * self._read("WRITE_BEATS"),
        )

    def _reset_queue(self, others=0):
        self._write("CONTROL", Control.QUEUE_RESET | others)
        deadline = self.simulation.cycle + self.patience
        while self._read("CONTROL") & Control.QUEUE_RESET:
            if self.simulation.cycle > deadline:
                raise SimulationError(f"the queue's reset has not ended in {self.patience} cycles")
        self._write("IRQ_STATUS", Irq.DONE | Irq.ERROR)

    def _feed(self, commands, written):
        """Write commands from number ``written`` on to where the ring is free; how many have been written
        then."""
        total = len(commands) // COMMAND_BYTES
        free = min(total, self._read("HEAD") + self.ring_size) if written else min(total, self.ring_size)
        if free == written:
            return written
        while written < free:
            place = written % self.ring_size
            count = min(free - written, self.ring_size - place)
            self.write(
                self.ring_address + COMMAND_BYTES * place,
                commands[COMMAND_BYTES * written : COMMAND_BYTES * (written + count)],
            )
            written += count
        self._write("TAIL", written)
        return written

    def _fail(self, commands):
        code, index, unit = (self._read(f"ERROR_{name}") for name in ("CODE", "INDEX", "UNIT"))
        self._reset_queue()
        self.simulation.take_events()
        raise ChipError(ErrorCode(code), index, unit, commands)

    def _hang(self, total):
        counts = ", ".join(
            f"{self.config.topology.name(unit)} {self._read('COMPLETED', unit)}"
            for unit in range(self.config.units)
        )
        return (
            f"the chip hangs: nothing started or completed in {self.patience} cycles; {self._read('HEAD')} "
            f"of {total} commands "
            f"are dispatched, and completed are {counts}"
        )

    def close(self):
        self.memory = None
        self.simulation.close()


BACKENDS = {"sim": SimulationBackend, "golden": GoldenBackend}


def open_backend(name, config, memory_bytes, ring, *, report=lambda text: None):
    """The backend called ``name``, with a memory of ``memory_bytes`` zero bytes; ConfigError for another
    name.

    ``name`` can also be a function that makes one of the other arguments.
    """
    if callable(name):
        return name(config, memory_bytes, ring, report=report)
    if name not in BACKENDS:
        raise ConfigError(f"unknown backend {name!r}; there are {', '.join(BACKENDS)}")
    return BACKENDS[name](config, memory_bytes, ring, report=report)


def run_job(job, backend, *, progress=None):
    """Run a compiled :class:`MatmulJob`: its product, and the :class:`RunResult`."""
    for address_, data in job.image + job.program.inputs:
        backend.write(address_, data)
    result = backend.run(job.program.encode(), progress=progress)
    address_, (rows, columns) = job.program.result
    product = np.frombuffer(backend.read(address_, 4 * rows * columns), np.float32).reshape(rows, columns)
    return product[:, : job.shape[1]].copy(), result


@dataclass(frozen=True)
class Sampler:
    """Chooses the next token: the chip's own argmax at ``temperature`` 0, else from the ``top_k`` best
    logits (0: all)."""

    temperature: float = 0.0
    top_k: int = 40
    seed: int = 0

    def __post_init__(self):
        if not self.temperature >= 0:
            raise ConfigError(f"the temperature must be at least 0, not {self.temperature}")
        if self.top_k < 0:
            raise ConfigError(f"top-k must be at least 0, not {self.top_k}")

    def choose(self, step):
        """The token that follows a :class:`Step`."""
        if self.temperature == 0:
            return step.best
        order = np.argsort(-step.logits, kind="stable")[: self.top_k or None]
        weights = step.logits[order].astype(np.float64) / self.temperature
        weights = np.exp(weights - weights.max())
        # A generator for each position: the choice does not depend on the steps before.
        generator = np.random.default_rng((self.seed, step.position + step.count))
        return int(generator.choice(order, p=weights / weights.sum()))


@dataclass(frozen=True, eq=False)
class Step:
    """A program's run: ``count`` tokens from ``position`` on. ``best`` (the chip's argmax) and ``logits``
    are of the last token, and None inside a prompt."""

    phase: str
    position: int
    count: int
    program: Program
    result: RunResult
    best: int | None = None
    logits: np.ndarray | None = None


class Session:
    """A model on a chip, and the tokens that it has seen.

    Parameters
    ----------
    model : Model
    config : ChipConfig
    backend : name of the backend, or a function that makes it: see :func:`open_backend`
    context : positions of the KV caches
    activations : the format of the activations, as of ``CompiledModel``
    check : run the golden model beside, and raise :class:`Mismatch` at the first difference in what is in
        memory
    report : called with a line for each slow step of the start
    progress : called as ``progress(phase, completed, total, cycles)``; cycles are those of the running
        program
    """

    def __init__(
        self,
        model,
        config,
        *,
        backend="sim",
        context=None,
        activations=None,
        check=False,
        report=lambda text: None,
        progress=lambda *arguments: None,
    ):
        self.model = model
        self.config = config
        self.progress = progress
        report("compiling the model")
        self.compiled = CompiledModel(model, config, context=context, activations=activations)
        size, ring = self.compiled.memory_bytes, self.compiled.ring
        self.backend = open_backend(backend, config, size, ring, report=report)
        self.golden = GoldenBackend(config, size, ring) if check else None
        for chip in self._chips():
            for address_, data in self.compiled.image:
                chip.write(address_, data)
        self.position = 0

    def _chips(self):
        return [self.backend] + [self.golden] * (self.golden is not None)

    def close(self):
        self.backend.close()

    def generate(self, prompt, count, sampler=Sampler(), *, stop=()):
        """Run the token ids ``prompt``, then choose up to ``count`` tokens; each run is yielded as (step,
        token).

        ``token`` is None inside the prompt. It ends after a token of ``stop``, or where the context is full.
        """
        for first in range(0, len(prompt), self.compiled.max_tokens):
            tokens = prompt[first : first + self.compiled.max_tokens]
            last = first + len(tokens) == len(prompt)
            step = self._step("prefill", tokens, "last" if last else "none")
            if not last:
                yield step, None
        for n in range(count):
            token = sampler.choose(step)
            yield step, token
            if n + 1 == count or token in stop or self.position == self.compiled.context:
                return
            step = self._step("decode", [token], "last")

    def _step(self, phase, tokens, logits):
        program = self.compiled.step(tokens, self.position, logits=logits)
        commands = program.encode()
        for chip in self._chips():
            for address_, data in program.inputs:
                chip.write(address_, data)
        result = self.backend.run(commands, progress=lambda *arguments: self.progress(phase, *arguments))
        if self.golden is not None:
            self.golden.run(commands)
            self._compare(program)
        position = self.position
        self.position += len(tokens)
        if program.logits is None:
            return Step(phase, position, len(tokens), program, result)
        return Step(
            phase,
            position,
            len(tokens),
            program,
            result,
            self._best(program),
            self._logits(self.backend, program),
        )

    def _logits(self, chip, program):
        start, rows = program.logits
        stride = self.compiled.vocab_stride
        return np.frombuffer(chip.read(start + (rows - 1) * stride, stride), np.float32)[
            : self.model.config.vocab
        ].copy()

    def _best(self, program):
        """The first of the largest of the tiles' results; token 0 if all are NaN."""
        results = [
            np.frombuffer(
                self.backend.read(place, 8), np.dtype([("value", np.float32), ("token", np.uint32)])
            )[0]
            for place in program.best
        ]
        found = [
            (-result["value"], int(result["token"])) for result in results if not np.isnan(result["value"])
        ]
        return min(found, default=(0, 0))[1]

    def _compare(self, program):
        end = self.compiled.ring[0]
        if np.array_equal(self.backend.memory[:end], self.golden.memory[:end]):
            return
        where = f"positions {self.position} on"
        if program.logits is not None:
            ours, golden = (
                self._logits(chip, program).view(np.uint32) for chip in (self.backend, self.golden)
            )
            different = np.nonzero(ours != golden)[0]
            if len(different):
                n = int(different[0])
                raise Mismatch(
                    f"{where}: {len(different)} logits differ from the golden model's, the first for token "
                    f"{n}: bits "
                    f"0x{ours[n]:08x}, golden 0x{golden[n]:08x}"
                )
        first = int(np.nonzero(self.backend.memory[:end] != self.golden.memory[:end])[0][0])
        raise Mismatch(f"{where}: memory differs from the golden model's, the first byte is at 0x{first:x}")
