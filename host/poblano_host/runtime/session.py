"""A language model on a chip: prompts in, tokens out."""

from dataclasses import dataclass, replace

import numpy as np

from poblano.isa.commands import ErrorCode

from ..compiler import CompiledModel, Program
from .backend import GoldenBackend, open_backend, place_model, write_pieces
from .errors import ChipError, Mismatch
from .logits import Logits, largest
from .result import RunResult
from .sampler import Sampler

__all__ = ["Session", "Step", "run_program"]


@dataclass(frozen=True, eq=False)
class Step:
    """A program's run: ``count`` tokens from ``position`` on. ``best`` (the chip's argmax) and ``logits``
    are of the last token, and None inside a prompt; ``logits`` also where nobody asked for them. ``retried``
    is the :class:`ChipError` after which the program was run once more."""

    phase: str
    position: int
    count: int
    program: Program
    result: RunResult
    best: int | None = None
    logits: np.ndarray | None = None
    retried: ChipError | None = None

    def top(self, count=None):
        """(tokens, logits) of the ``count`` (all) largest logits, in the order of :func:`.logits.largest`."""
        assert self.logits is not None
        tokens = largest(self.logits, count)
        return tokens, self.logits[tokens]


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
    progress : called as ``progress(phase, program, completed, cycles)``: commands of the running program that
        have completed, and its cycles so far
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
            place_model(chip, self.compiled)
        self.position = 0

    def _chips(self):
        return [self.backend] + [self.golden] * (self.golden is not None)

    def close(self):
        self.backend.close()

    def generate(self, prompt, count, sampler=Sampler(), *, stop=(), logits=False):
        """Run the token ids ``prompt``, then choose up to ``count`` tokens; each run is yielded as (step,
        token).

        ``token`` is None inside the prompt. It ends after a token of ``stop``, or where the context is full.
        ``logits``: the steps have them though the sampler does not need them.
        """
        logits = logits or sampler.needs_logits
        for first in range(0, len(prompt), self.compiled.max_tokens):
            tokens = prompt[first : first + self.compiled.max_tokens]
            last = first + len(tokens) == len(prompt)
            step = self.step("prefill", tokens, "last" if last else "none", read=logits)
            if not last:
                yield step, None
        for n in range(count):
            token = sampler.choose(step)
            yield step, token
            if n + 1 == count or token in stop or self.position == self.compiled.context:
                return
            step = self.step("decode", [token], "last", read=logits)

    def plan(self, length, count):
        """The steps of :meth:`generate` for a prompt of ``length`` tokens and ``count`` tokens to choose, if
        nothing ends it before: (phase, work) of each, without compiling it."""
        start, end = self.position, min(self.position + length + count - 1, self.compiled.context)
        steps = []
        for first in range(start, start + length, self.compiled.max_tokens):
            tokens = min(self.compiled.max_tokens, start + length - first)
            logits = "last" if first + tokens == start + length else "none"
            steps.append(("prefill", self.compiled.work(tokens, first, logits=logits)))
        return steps + [("decode", self.compiled.work(1, n)) for n in range(start + length, end)]

    def rewind(self, position):
        """Forget the tokens from ``position`` on: the next step goes on there."""
        if not 0 <= position <= self.position:
            raise ValueError(f"the session has seen {self.position} tokens; it can't go back to {position}")
        self.position = position

    def forget(self):
        """Make the chip another owner's: no token has been seen, and of what the tokens before left nothing
        is in memory or in the chip."""
        for chip in self._chips():
            for first, end in self.compiled.written:
                chip.clear(first, end)
            chip.clear_local()
        self.position = 0

    def step(self, phase, tokens, logits, *, read=True):
        """Run ``tokens`` after those before; the :class:`Step`. ``phase`` names it, and "prefill" is that of
        a prompt; ``logits`` as of ``CompiledModel.step``; ``read``: the step has them, if there are any."""
        prompt = len(tokens) if phase == "prefill" else 0
        program = self.compiled.step(tokens, self.position, logits=logits, prompt=prompt)
        tell = lambda completed, total, cycles: self.progress(phase, program, completed, cycles)
        result, retried = run_program(self.backend, program, progress=tell)
        if self.golden is not None:
            write_pieces(self.golden, program.inputs)
            self.golden.run(program.code)
            self._compare(program, self.golden)
        step = Step(phase, self.position, len(tokens), program, result, retried=retried)
        self.position += len(tokens)
        if program.logits is None:
            return step
        row = self._last(self.backend, program)
        return replace(step, best=row.best, logits=row.values if read else None)

    def _last(self, chip, program):
        """The :class:`.logits.LogitsRow` of the last token."""
        return Logits(chip, self.compiled, program)[program.logits[1] - 1]

    def _compare(self, program, golden):
        for start, end in self.compiled.memory.extents:
            memory = np.frombuffer(self.backend.read(start, end - start), np.uint8)
            if not np.array_equal(memory, golden.memory[start:end]):
                first = start + int(np.nonzero(memory != golden.memory[start:end])[0][0])
                self._tell_mismatch(program, golden, first)

    def _tell_mismatch(self, program, golden, first):
        """Raise :class:`Mismatch`; the first byte of memory that differs is at ``first``."""
        where = f"positions {self.position} on"
        if program.logits is not None:
            ours, its = (self._last(chip, program).values.view(np.uint32) for chip in (self.backend, golden))
            different = np.nonzero(ours != its)[0]
            if len(different):
                n = int(different[0])
                raise Mismatch(
                    f"{where}: {len(different)} logits differ from the golden model's, the first for token "
                    f"{n}: bits 0x{ours[n]:08x}, golden 0x{its[n]:08x}"
                )
        raise Mismatch(f"{where}: memory differs from the golden model's, the first byte is at 0x{first:x}")


def run_program(backend, program, *, progress=None):
    """Write a step's inputs and run it, after an error that may pass once more: it writes nothing that it has
    read before. The result, and the :class:`ChipError` that there was."""
    write_pieces(backend, program.inputs)
    try:
        return backend.run(program.code, progress=progress), None
    except ChipError as error:
        if not error.transient:
            raise
        if error.code is ErrorCode.ECC:
            backend.clear_local()  # a word that the program does not write may be what failed
        write_pieces(backend, program.inputs)
        return backend.run(program.code, progress=progress), error
