"""How close the chip's numbers are to the float model's: the golden chip, teacher-forced on a text."""

from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np

from poblano.config import BLOCK
from poblano.vector.reference import quantise

from .compiler import CompiledModel
from .models import FloatModel, ModelError, quantise_model
from .runtime.backend import GoldenBackend, place_model, write_pieces

__all__ = [
    "Accuracy",
    "Bars",
    "CASES",
    "Case",
    "compare",
    "compare_cases",
    "golden_logits",
    "measure",
    "report",
    "text_tokens",
]

CLEAR = 0.5
"""The lead of float's best logit from which the chip must agree."""


@dataclass(frozen=True)
class Accuracy:
    """Agreement of two sets of logits on ``tokens`` positions of a text."""

    tokens: int
    top1: float
    clear: int
    """Positions where float's best logit leads by more than :data:`CLEAR`."""
    clear_top1: float
    kl: float
    """Mean Kullback-Leibler divergence of the chip's distribution from float's, in nats."""
    perplexity: float
    perplexity_ratio: float
    """The chip's perplexity over float's."""


@dataclass(frozen=True)
class Bars:
    """What :class:`Accuracy` must reach."""

    tokens: int = 250
    top1: float = 0.93
    clear_top1: float = 1.0
    kl: float = 0.01
    perplexity: float = 0.02

    def failures(self, accuracy):
        """One line for each bar that is missed."""
        checks = [
            (accuracy.tokens >= self.tokens, f"{accuracy.tokens} tokens; at least {self.tokens} are needed"),
            (accuracy.top1 >= self.top1, f"top-1 agreement {accuracy.top1:.4f} is below {self.top1}"),
            (
                accuracy.clear_top1 >= self.clear_top1,
                f"agreement {accuracy.clear_top1:.4f} where float leads by more than {CLEAR} "
                f"is below {self.clear_top1}",
            ),
            (accuracy.kl <= self.kl, f"KL {accuracy.kl:.5f} is above {self.kl}"),
            (
                abs(accuracy.perplexity_ratio - 1) <= self.perplexity,
                f"perplexity ratio {accuracy.perplexity_ratio:.4f} is not within {self.perplexity:.0%} of 1",
            ),
        ]
        return [line for passed, line in checks if not passed]


@dataclass(frozen=True)
class Case:
    """Formats of a model on a chip that has just these.

    ``weights`` is a format (or a dict of patterns, see ``quantise_model``) that the stored weights are
    quantised to once more, None as they are stored; ``activations`` as of ``CompiledModel``; ``formats``
    the chip's, None the preset's.
    """

    weights: object = None
    activations: object = None
    formats: tuple | None = None


CASES = {
    "int8": Case(),
    "mxint8": Case("mxint8", "mxint8", ("mxint8",)),
    "mxfp8_e4m3": Case("mxfp8_e4m3", "mxfp8_e4m3", ("mxfp8_e4m3",)),
    "mxfp8_e4m3, attention int8": Case(
        "mxfp8_e4m3", {"linear": "mxfp8_e4m3", "attention": "int8"}, ("int8", "mxfp8_e4m3")
    ),
    "mxfp8_e5m2": Case("mxfp8_e5m2", "mxfp8_e5m2", ("mxfp8_e5m2",)),
    "mxfp6_e2m3": Case("mxfp6_e2m3", "mxfp6_e2m3", ("mxfp6_e2m3",)),
    "mxfp6_e3m2": Case("mxfp6_e3m2", "mxfp6_e3m2", ("mxfp6_e3m2",)),
    "mxfp4_e2m1 weights, mxfp8_e4m3": Case("mxfp4_e2m1", "mxfp8_e4m3", ("mxfp8_e4m3", "mxfp4_e2m1")),
    "mxfp4_e2m1 layers, mxfp8_e4m3": Case(
        {"blk.*": "mxfp4_e2m1", "*": "mxfp8_e4m3"}, "mxfp8_e4m3", ("mxfp8_e4m3", "mxfp4_e2m1")
    ),
}
"""What `scripts/bench_accuracy.py --case` measures, by name."""


def golden_logits(compiled, tokens, *, progress=None):
    """float32 logits (len(tokens), vocab) of the golden chip: steps of at most ``compiled.max_tokens``
    tokens from position 0."""
    backend = GoldenBackend(compiled.config, compiled.memory_bytes, compiled.ring)
    place_model(backend, compiled)
    vocab, logits = compiled.model.config.vocab, []
    for start in range(0, len(tokens), compiled.max_tokens):
        program = compiled.step(tokens[start : start + compiled.max_tokens], start, logits="all")
        write_pieces(backend, program.inputs)
        backend.run(program.code)
        address, rows = program.logits
        stored = backend.memory[address : address + rows * compiled.vocab_stride].view(np.float32)
        logits.append(stored.reshape(rows, -1)[:, :vocab].copy())
        if progress is not None:
            progress(start + rows, len(tokens))
    return np.concatenate(logits)


def _log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def compare(reference, logits, tokens):
    """The :class:`Accuracy` of ``logits`` against ``reference`` (n, vocab), both of the text ``tokens``
    (n)."""
    p, q = _log_softmax(reference), _log_softmax(logits)
    agree = reference.argmax(-1) == logits.argmax(-1)
    best = np.partition(reference, -2, axis=-1)[:, -2:]
    clear = best[:, 1] - best[:, 0] > CLEAR
    following = np.asarray(tokens)[1:]
    loss = lambda logs: -logs[np.arange(len(following)), following].mean()
    return Accuracy(
        tokens=len(tokens),
        top1=float(agree.mean()),
        clear=int(clear.sum()),
        clear_top1=float(agree[clear].mean()) if clear.any() else 1.0,
        kl=float((np.exp(p) * (p - q)).sum(-1).mean()),
        perplexity=float(np.exp(loss(q))),
        perplexity_ratio=float(np.exp(loss(q) - loss(p))),
    )


def text_tokens(model, text, tokens):
    """The first ``tokens`` token ids of ``text``; ModelError if it has fewer."""
    ids = model.framed(text)
    if len(ids) < tokens:
        raise ModelError(f"the text has {len(ids)} tokens; {tokens} are needed")
    return ids[:tokens]


def measure(model, config, text, tokens, *, progress=None):
    """The :class:`Accuracy` of ``model`` on the chip ``config``, against float on its stored weights, over
    ``tokens`` tokens.

    ModelError if ``text`` has fewer.
    """
    ids = text_tokens(model, text, tokens)
    return compare(
        FloatModel(model).forward(ids),
        golden_logits(CompiledModel(model, config), ids, progress=progress),
        ids,
    )


def compare_cases(model, config, text, tokens, cases, *, progress=None):
    """For each :class:`Case` of ``cases`` three :class:`Accuracy`.

    Yields (name, the chip against float on the stored weights, the chip against float on the case's
    weights, and float whose projections have inputs rounded as the case's activations against the same).
    The second lacks what the weights' format costs; where the third is like it, what is left is the
    activations' format and nothing of the chip's arithmetic.
    """
    ids = text_tokens(model, text, tokens)
    stored = FloatModel(model).forward(ids)
    for name, case in cases.items():
        quantised = model if case.weights is None else quantise_model(model, case.weights, again=True)
        chip = config if case.formats is None else replace(config, formats=case.formats)
        compiled = CompiledModel(quantised, chip, activations=case.activations)
        logits = golden_logits(compiled, ids, progress=progress)
        own = stored if quantised is model else FloatModel(quantised).forward(ids)
        rounded = FloatModel(quantised, rounding=partial(_rounded, compiled.formats.linear)).forward(ids)
        yield name, compare(stored, logits, ids), compare(own, logits, ids), compare(own, rounded, ids)


def _rounded(activation, x):
    """float32 ``x`` (n, K) as its blocks in the activation format."""
    codes, scale, _ = quantise(x, activation)
    values = (
        activation.integers(codes) * 2.0**activation.quantum * np.repeat(scale.astype(np.float64), BLOCK, -1)
    )
    return values.astype(np.float32)


def report(rows):
    """A table of (name, :class:`Accuracy`) rows, as text."""
    names = [f.name for f in fields(Accuracy)]
    cell = lambda value: f"{value:.5f}" if isinstance(value, float) else str(value)
    table = [["model", *names]] + [
        [name, *(cell(getattr(accuracy, n)) for n in names)] for name, accuracy in rows
    ]
    widths = [max(map(len, column)) for column in zip(*table)]
    return "\n".join(
        "  ".join(value.ljust(width) for value, width in zip(line, widths)).rstrip() for line in table
    )
