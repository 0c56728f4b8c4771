"""Programs that are compiled once for a shape and patched for each step."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from poblano.isa.commands import COMMAND_BYTES, Command, Opcode

from .symbols import affine

__all__ = ["Bound", "Entry", "Template", "encode"]

WORD_BITS = 64
WORDS = 8 * COMMAND_BYTES // WORD_BITS


@dataclass(frozen=True, slots=True)
class Entry:
    """A command in its place: ``op`` (of a NOP the one whose waits it carries), ``waits``, whether it is a
    NOP."""

    op: object
    waits: tuple
    nop: bool = False


@dataclass(frozen=True, eq=False)
class Template:
    """Commands, some of whose fields depend on symbols.

    Parameters
    ----------
    words : uint64 (commands, 8), the commands for symbols that are all 0
    places : int64 (patches,): patched words, by their place in the flat ``words``, each once
    symbols : what the patches depend on
    coefficients : uint64 (patches, symbols); a patched word is ``word + coefficients @ symbols``, modulo
        2**64
    labels : for each command (its layer or None, what it does)
    """

    words: np.ndarray
    places: np.ndarray
    symbols: tuple
    coefficients: np.ndarray
    labels: list

    @classmethod
    def constant(cls, words, labels):
        """The template of commands without symbols."""
        return cls(words, np.zeros(0, np.int64), (), np.zeros((0, 0), np.uint64), labels)

    def label(self, n):
        """What command ``n`` does, and in which layer."""
        layer, name = self.labels[n]
        return name if layer is None or layer < 0 else f"layer{layer}.{name}"

    @cached_property
    def kinds(self):
        """uint64 (kinds, symbols), the different rows of ``coefficients``; which of them each patch has."""
        if not len(self.places):
            return self.coefficients, np.zeros(0, np.int64)
        kinds: dict = {}
        numbers = [kinds.setdefault(row.tobytes(), len(kinds)) for row in self.coefficients]
        _, first = np.unique(numbers, return_index=True)
        return self.coefficients[first], np.array(numbers, np.int64)

    def bind(self, values):
        """The :class:`Bound` for ``values``, a mapping from the symbols."""
        numbers = np.array([values[symbol] for symbol in self.symbols], np.uint64)
        return Bound(self, self.kinds[0] @ numbers)


@dataclass(frozen=True, eq=False)
class Bound:
    """A :class:`Template` whose symbols have values: ``values`` (uint64) has, for each of its kinds of
    patches, what is added to the words."""

    template: Template
    values: np.ndarray

    def __len__(self):
        return len(self.template.words)

    @cached_property
    def words(self):
        """uint64 (commands, 8): the commands."""
        words = self.template.words.copy()
        words.ravel()[self.template.places] += self.values[self.template.kinds[1]]
        return words


def encode(entries):
    """The :class:`Template` of a list of :class:`Entry`."""
    data, patches, labels = [], {}, []
    for n, entry in enumerate(entries):
        op = entry.op
        if entry.nop:
            data.append(Command(Opcode.NOP, op.unit, {}, entry.waits).encode())
            labels.append((op.layer, "wait"))
            continue
        fields, constants = op.opcode.definition.field, {}
        for name, value in op.operands.items():
            if isinstance(value, int | float):
                constants[name] = value
                continue
            value, field = affine(value), fields[name]
            constants[name] = value.constant
            place = WORDS * n + field.offset // WORD_BITS
            for symbol, coefficient in value.terms:
                terms = patches.setdefault(place, {})
                terms[symbol] = terms.get(symbol, 0) + (coefficient << field.offset % WORD_BITS)
        data.append(Command(op.opcode, op.unit, constants, entry.waits).encode())
        labels.append((op.layer, op.label))
    symbols = sorted({symbol for terms in patches.values() for symbol in terms})
    column = {symbol: n for n, symbol in enumerate(symbols)}
    coefficients = np.zeros((len(patches), len(symbols)), np.uint64)
    for row, terms in zip(coefficients, patches.values()):
        for symbol, coefficient in terms.items():
            row[column[symbol]] = coefficient % (1 << WORD_BITS)
    return Template(
        np.frombuffer(b"".join(data), np.uint64).reshape(-1, WORDS),
        np.array(list(patches), np.int64),
        tuple(symbols),
        coefficients,
        labels,
    )


def repeat(template, start, end, copies, step):
    """``template`` with its commands ``start`` to ``end`` repeated ``copies`` times behind ``end``.

    ``step`` is uint64 (commands, 8): what is added to a command's words with each repetition, and, to those
    behind, ``copies`` times. The layers in ``labels`` go on counting.
    """
    words, more = template.words, np.arange(1, copies + 1, dtype=np.uint64)
    middle = words[start:end] + more[:, None, None] * step[start:end]
    tail = words[end:] + np.uint64(copies) * step[end:]
    size = end - start
    inside = (template.places >= WORDS * start) & (template.places < WORDS * end)
    behind = template.places >= WORDS * end
    shifts = WORDS * size * np.arange(copies + 1)
    places = [
        template.places[~inside & ~behind],
        (template.places[inside] + shifts[:, None]).ravel(),
        template.places[behind] + shifts[-1],
    ]
    coefficients = [
        template.coefficients[~inside & ~behind],
        np.tile(template.coefficients[inside], (copies + 1, 1)),
        template.coefficients[behind],
    ]
    later = lambda labels, n: [(layer if layer is None else layer + n, text) for layer, text in labels]
    labels = template.labels[:end]
    for n in range(1, copies + 1):
        labels = labels + later(template.labels[start:end], n)
    return replace(
        template,
        words=np.concatenate([words[:end], middle.reshape(-1, WORDS), tail]),
        places=np.concatenate(places),
        coefficients=np.concatenate(coefficients),
        labels=labels + later(template.labels[end:], copies),
    )
