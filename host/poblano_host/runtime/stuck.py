"""Why a program does not go on: the unit, its command, and the wait that does not hold."""

from poblano.isa.commands import Opcode
from poblano.isa.topology import UnitKind
from poblano.isa.weight_stream import weight_bytes

__all__ = ["stuck"]

BEHIND = 1 << 19
"""A count that is so far ahead, modulo twice as many, has been completed."""


def stuck(commands, completed, config, name="command {}".format):
    """A line for each unit that has commands left of ``commands`` and can't start the next, where each unit
    has ``completed`` so many; first those that wait for what the program does not have. ``name`` gives what
    command number n is called."""
    queues = [
        [n for n, command in enumerate(commands) if command.unit == unit] for unit in range(config.units)
    ]
    never, waiting = [], []
    for unit, queue in enumerate(queues):
        if completed[unit] >= len(queue):
            continue
        n = queue[completed[unit]]
        reasons, lacking = [], False
        for other, count in commands[n].waits:
            if (completed[other] - count) % (2 * BEHIND) >= BEHIND:
                total, called = len(queues[other]), config.topology.name(other)
                has = f"completed {completed[other]}" if count <= total else "no more"
                reasons.append(f"{called}>={count} ({called} has {total} command{'s' * (total != 1)}, {has})")
                lacking |= count > total
        if not reasons:
            reasons = _weights(commands, queues, completed, unit, commands[n], config)
            lacking = bool(reasons)
        if reasons:
            where = f"{config.topology.name(unit)} stands at {name(n)}"
            (never if lacking else waiting).append(f"{where}, which waits for {', and for '.join(reasons)}")
    return never + waiting


def _weights(commands, queues, completed, unit, command, config):
    """What is wrong with the weights of a MATMUL or a STREAM whose waits hold."""
    topology, tile = config.topology, config.topology.tile_of(unit)
    if command.opcode not in (Opcode.MATMUL, Opcode.STREAM):
        return []
    stream, matmul = topology.unit(UnitKind.STREAM, tile), topology.unit(UnitKind.MATMUL, tile)
    brought = sum(
        commands[n].values.rows * commands[n].values.row_bytes for n in _streams(commands, queues[stream])
    )
    taken = sum(_size(commands[n], config) for n in queues[matmul][: completed[matmul]])
    if command.opcode is Opcode.STREAM:
        left = brought - sum(_size(commands[n], config) for n in queues[matmul])
        more = (
            f"; {topology.name(matmul)}'s commands take {left} bytes less than are brought"
            if left > 0
            else ""
        )
        return [f"room in the weight FIFO{more}"]
    needs = _size(command, config)
    return [f"{needs} bytes of weights; {topology.name(stream)}'s commands bring {max(0, brought - taken)}"]


def _streams(commands, queue):
    return [n for n in queue if commands[n].opcode is Opcode.STREAM]


def _size(command, config):
    """Bytes of weights that a command takes."""
    if command.opcode is not Opcode.MATMUL:
        return 0
    return weight_bytes(command.values, config)
