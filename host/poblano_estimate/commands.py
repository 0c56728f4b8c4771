"""A program's commands as numbers, many at a time."""

from types import SimpleNamespace

import numpy as np

from poblano.isa.commands import NO_UNIT, Opcode, raw_waits

__all__ = ["decode"]

WORD_BITS = 64


def decode(words):
    """A list of the commands of ``words``, uint64 (commands, 8): for each its ``opcode``, ``unit``, ``waits``
    as (unit, count), and its operands."""
    opcodes = (words[:, 0] & np.uint64(0xFF)).astype(np.int64)
    units = (words[:, 0] >> np.uint64(8) & np.uint64(0xFF)).tolist()
    headers = zip(words[:, 0].tolist(), words[:, 1].tolist())
    waits = [
        [wait for wait in raw_waits(low | high << WORD_BITS) if wait[0] != NO_UNIT] for low, high in headers
    ]
    found: list[SimpleNamespace] = [SimpleNamespace()] * len(words)
    for opcode in Opcode:
        places = np.flatnonzero(opcodes == opcode)
        if not len(places):
            continue
        names = [field.name for field in opcode.definition.fields]
        columns = [_column(words[places], field) for field in opcode.definition.fields]
        rows = zip(*columns) if columns else [()] * len(places)
        for place, values in zip(places.tolist(), rows):
            found[place] = SimpleNamespace(
                opcode=opcode, unit=units[place], waits=waits[place], **dict(zip(names, values))
            )
    return found


def _column(words, field):
    """The values of a field."""
    word, bit = divmod(field.offset, WORD_BITS)
    values = words[:, word] >> np.uint64(bit)
    if bit + field.width > WORD_BITS:
        values |= words[:, word + 1] << np.uint64(WORD_BITS - bit)
    return (values & np.uint64((1 << field.width) - 1)).tolist()
