"""Why a program does not go on: the unit, its command, and the wait that does not hold."""

from poblano.isa.commands import COUNT_BITS, Opcode
from poblano.isa.topology import UnitKind

from ..compiler.missing_waits import unit_queues, weights_brought, weights_taken

__all__ = ["left_weights", "stuck"]


def stuck(commands, completed, config, name="command {}".format):
    """A line for each unit that has commands left of ``commands`` and can't start the next, where each unit
    has ``completed`` so many; first those that wait for what the program does not have. ``name`` gives what
    command number n is called."""
    queues = unit_queues(commands, config)
    never, waiting = [], []
    for unit, queue in enumerate(queues):
        if completed[unit] >= len(queue):
            continue
        n = queue[completed[unit]]
        reasons, lacking = [], False
        for other, count in commands[n].waits:
            if (completed[other] - count) % (1 << COUNT_BITS) >= 1 << COUNT_BITS - 1:
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


def left_weights(commands, config):
    """A line for each tile whose STREAMs bring more weights than its MATMULs take."""
    topology, lines = config.topology, []
    queues = unit_queues(commands, config)
    for tile in range(config.tiles):
        stream, matmul = topology.unit(UnitKind.STREAM, tile), topology.unit(UnitKind.MATMUL, tile)
        left = sum(weights_brought(commands[n]) for n in queues[stream])
        left -= sum(weights_taken(commands[n], config) for n in queues[matmul])
        if left > 0:
            lines.append(
                f"the program leaves {left} bytes of weights: {topology.name(stream)}'s commands bring more "
                f"than {topology.name(matmul)}'s take"
            )
    return lines


def _weights(commands, queues, completed, unit, command, config):
    """What is wrong with the weights of a MATMUL or a STREAM whose waits hold."""
    topology, tile = config.topology, config.topology.tile_of(unit)
    if command.opcode not in (Opcode.MATMUL, Opcode.STREAM):
        return []
    stream, matmul = topology.unit(UnitKind.STREAM, tile), topology.unit(UnitKind.MATMUL, tile)
    brought = sum(weights_brought(commands[n]) for n in queues[stream])
    taken = sum(weights_taken(commands[n], config) for n in queues[matmul][: completed[matmul]])
    if command.opcode is Opcode.STREAM:
        left = brought - sum(weights_taken(commands[n], config) for n in queues[matmul])
        more = (
            f"; {topology.name(matmul)}'s commands take {left} bytes less than are brought"
            if left > 0
            else ""
        )
        return [f"room in the weight FIFO{more}"]
    needs = weights_taken(command, config)
    return [f"{needs} bytes of weights; {topology.name(stream)}'s commands bring {max(0, brought - taken)}"]
