"""Commands in the order of their effects to a program: their order, their waits, and layers that repeat."""

import numpy as np

from poblano.isa.commands import Opcode
from poblano.isa.header import UNIT_BITS, wait_offset

from .blocks import Blocks
from .dependencies import Dependencies
from .schedule import ahead, hoist, schedule
from .symbols import affine
from .template import WORD_BITS, WORDS, Entry, encode, repeat
from .waits import Counts

__all__ = ["assemble"]

COMPILED_LAYERS = 5
"""Of a model whose layers are alike so many are compiled (one more of a step in halves): of the third, as
often as there are layers, the others are copies."""


def assemble(builder, *, copies=0, pitch=lambda address: 0):
    """The :class:`.template.Template` of ``builder``'s commands.

    With ``copies`` the commands are those of so many layers as are compiled, of which the third is repeated
    so often; ``pitch`` gives what is added to a memory address of a layer for the next one. None if the
    third and the fourth layer differ by more than that.
    """
    ops, config = builder.ops, builder.config
    order, predecessors = _order(ops, config)
    counts, entries = Counts(config.units), []
    blocks = Blocks(config, counts, entries)
    for n in order:
        blocks.before(ops[n])
        before = ops[n].opcode is Opcode.EXPERT
        *nops, waits = counts.add(n, ops[n].unit, predecessors[n], before=before)
        entries += [Entry(ops[n], tuple(w), nop=True) for w in nops] + [Entry(ops[n], tuple(waits))]
    blocks.before(None)
    template = encode(entries)
    return _repeated(template, entries, config, copies, pitch) if copies else template


def _order(ops, config):
    """The numbers of ``ops`` in the program's order, and each one's predecessors."""
    dependencies = Dependencies(config)
    predecessors = [dependencies.add(n, op) for n, op in enumerate(ops)]
    numbers = {id(op): n for n, op in enumerate(ops)}
    for n, op in enumerate(ops):
        predecessors[n] |= {numbers[id(other)] for other in op.after}
    matmuls = {
        n: (op.stream.unit, numbers[id(op.stream)]) for n, op in enumerate(ops) if op.stream is not None
    }
    order, floors, opens, start, first = [], {}, {}, 0, 0
    fetched = int(config.tile.fifo_bytes * config.tiles / config.memory.total_bandwidth)
    for segment in _segments(ops):
        block = ops[segment[0]].block
        if block is not None:  # it begins with its EXPERT, and no stream goes into it or out
            order.append(segment.pop(0))
            opens[order[-1]] = order[-1]
            start = first = len(order)
        # Where layers repeat, a stream may go ahead into the layer before, but no further.
        floors |= {n: start for n in segment if n in matmuls}
        start = max(first, len(order))
        order += _scheduled(segment, ops, predecessors, matmuls, fetched)
        if start < len(order):
            opens |= dict.fromkeys(order[start:], order[start])
        if block is not None:
            start = first = len(order)
    order = hoist(order, matmuls, predecessors, config.queue_depth, floors)
    units = {n: None if op.opcode is Opcode.STREAM else op.unit for n, op in enumerate(ops)}
    before = [p | {matmuls[n][1]} if n in matmuls else p for n, p in enumerate(predecessors)]
    return ahead(order, units, before, opens, config.queue_depth), predecessors


def _segments(ops):
    """The numbers of the commands of each layer, the first's with what is before it; those of an expert are
    apart."""
    segments, segment, block = [], None, None
    for n, op in enumerate(ops):
        if not segments or op.segment != segment and segment != -1 or op.block is not block:
            segments.append([])
        segments[-1].append(n)
        segment, block = op.segment, op.block
    return segments


def _scheduled(segment, ops, predecessors, matmuls, fetched):
    """The commands ``segment``, but for STREAMs, in a good order."""
    kept = [n for n in segment if ops[n].opcode is not Opcode.STREAM]
    place = {n: k for k, n in enumerate(kept)}
    before = []
    for n in kept:
        numbers = predecessors[n] | predecessors[matmuls[n][1]] if n in matmuls else predecessors[n]
        before.append([place[p] for p in numbers if p in place])
    return [kept[k] for k in schedule([ops[n] for n in kept], before, fetched)]


def _repeated(template, entries, config, copies, pitch):
    starts = [next(i for i, e in enumerate(entries) if _opens(e, n)) for n in (1, 2, 3, 4)]
    units = np.array([entry.op.unit for entry in entries])
    last, a, b, c = starts
    before = np.bincount(units[:last], minlength=config.units)  # what is waited for of these is not repeated
    added = np.bincount(units[a:b], minlength=config.units)
    step = np.zeros((len(entries), WORDS), np.uint64)
    for n in range(a, len(entries)):
        bits = 0
        op = entries[n].op
        for slot, (unit, count) in enumerate(entries[n].waits):
            if count > before[unit]:
                bits += int(added[unit]) << wait_offset(slot) + UNIT_BITS
        step[n] = np.frombuffer(bits.to_bytes(8 * WORDS, "little"), np.uint64)
        if not entries[n].nop and op.layer is not None and "mem_addr" in op.operands:
            word, bit = divmod(op.opcode.definition.field["mem_addr"].offset, WORD_BITS)
            move = pitch(affine(op.operands["mem_addr"]).constant)
            step[n, word] += np.uint64((move << bit) % (1 << WORD_BITS))
    if b - a != c - b or not np.array_equal(template.words[b:c], template.words[a:b] + step[a:b]):
        return None
    return repeat(template, a, b, copies, step)


def _opens(entry, segment):
    """Whether an entry is the first of a ``segment`` that was not moved ahead."""
    return entry.op.segment == segment and entry.op.opcode is not Opcode.STREAM
