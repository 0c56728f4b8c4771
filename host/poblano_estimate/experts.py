"""Mixtures of experts: which experts have rows, and what becomes of a program's commands then."""

import numpy as np

from poblano.config import ConfigError
from poblano.isa.commands import Opcode
from poblano.isa.opcodes.experts import PASSED
from poblano.moe.reference import ENTRIES_IN_A_LINE

__all__ = ["BY_LIST", "draw", "resolve"]

BY_LIST = Opcode.GATHER, Opcode.SCATTER
BY_ROWS = Opcode.MATMUL, Opcode.VECTOR, *BY_LIST
BY_MEMORY = Opcode.LOAD, Opcode.STREAM
"""The commands of which an expert has the rows, and the address."""


def draw(rng, tokens, experts, used):
    """The experts that have rows, as (number, rows), in ascending order, where each of so many ``tokens``
    uses ``used`` of the ``experts``, any as likely as another and whatever the other tokens do."""
    chosen = np.argsort(rng.random((tokens, experts)), axis=1)[:, :used]
    counts = np.bincount(chosen.ravel(), minlength=experts)
    return [(int(expert), int(counts[expert])) for expert in np.flatnonzero(counts)]


def resolve(commands, topology, routes):
    """Gives the commands of experts their rows, lists and addresses, in place. ``routes`` has for each ROUTE
    command that is not quiet, in order, the experts that have rows, as (number, rows).

    Each EXPERT command gets ``passes``: by unit what it adds to the count of each, where its slot has no
    expert; None where it has one. The numbers of the commands that are passed over.

    Raises ConfigError if there are fewer routes than such ROUTE commands.
    """
    left, passed, n = iter(routes), set(), 0
    table: list = []
    its, todo, offset = (0, 0, 0), 0, 0  # the expert of the next ``todo`` commands, and where its memory is
    while n < len(commands):
        o = commands[n]
        n += 1
        if o.opcode == Opcode.ROUTE and not o.quiet:
            table = _table(next(left, None), o.list)
        elif o.opcode == Opcode.EXPERT:
            todo, o.passes = 0, None
            if o.slot < len(table):
                its, todo = table[o.slot], o.commands
                offset = its[0] * o.stride
                continue
            o.passes = {
                unit: getattr(o, PASSED[kind]) + (unit == o.unit)
                for unit, kind in enumerate(topology.kind_of(unit) for unit in range(len(topology.units)))
            }
            passed.update(range(n, n + o.skip))
            n += o.skip
        elif todo:
            todo -= 1
            if o.opcode in BY_ROWS:
                o.rows = its[1]
            if o.opcode in BY_LIST:
                o.c = its[2]
            if o.opcode in BY_MEMORY:
                o.mem_addr += offset
    return passed


def _table(route, line):
    """(number, rows, line of the list) of the experts of a ``route``, whose first list is at ``line``."""
    if route is None:
        raise ConfigError("what a mixture of experts takes depends on which experts the tokens use")
    found = []
    for expert, rows in route:
        found.append((expert, rows, line))
        line += -(-rows // ENTRIES_IN_A_LINE)
    return found
