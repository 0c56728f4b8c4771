"""Commands of DRAMs for tests."""

import numpy as np

from poblano.dram.signature import ColumnOp, RowOp
from poblano_host.sim.dram_rules import COMMANDS

__all__ = ["COLUMN", "CYCLES", "ROWS", "random_commands", "stream"]

ROWS, CYCLES = 16, 4000
"""Of random commands."""
COLUMN = {"RD": ColumnOp.READ, "WR": ColumnOp.WRITE}
ROW = {
    "ACT": RowOp.ACTIVATE,
    "PRE": RowOp.PRECHARGE,
    "PREA": RowOp.PRECHARGE_ALL,
    "REFAB": RowOp.REFRESH_ALL,
    "REFPB": RowOp.REFRESH_BANK,
}


def stream(*commands):
    """An array of commands, each a (cycle, kind, group, bank[, place])."""
    length = max(cycle for cycle, *_ in commands) + 1
    array = np.zeros(length, COMMANDS)
    for cycle, kind, group, bank, *place in commands:
        bus, ops = ("column", COLUMN) if kind in COLUMN else ("row", ROW)
        slot = array[cycle]
        slot[f"{bus}_op"], slot[f"{bus}_group"], slot[f"{bus}_bank"] = ops[kind].value, group, bank
        slot[bus] = place[0] if place else 0
    return array


def random_commands(config, rng):
    """Commands that keep no times, only states and the data's places on the pins."""
    timing = config.timing
    commands = np.zeros(CYCLES, COMMANDS)
    opened, free = {}, 0
    for cycle, command in enumerate(commands):
        if rng.random() < 0.3:
            bank = int(rng.integers(timing.groups)), int(rng.integers(timing.banks))
            op = rng.choice(list(RowOp)[1:], p=[0.8, 0.14, 0.02, 0.02, 0.02])
            command["row_op"], command["row_group"], command["row_bank"] = op.value, *bank
            command["row"] = rng.integers(ROWS)
            if op is RowOp.ACTIVATE:
                opened[bank] = True
            elif op is RowOp.PRECHARGE:
                opened.pop(bank, None)
            elif op is RowOp.PRECHARGE_ALL:
                opened.clear()
        if opened and cycle >= free and rng.random() < 0.7 and cycle < CYCLES - 100:
            bank = list(opened)[rng.integers(len(opened))]
            command["column_op"] = rng.choice([ColumnOp.READ.value, ColumnOp.WRITE.value])
            command["column_group"], command["column_bank"] = bank
            command["column"] = rng.integers(min(timing.columns, 4))
            free = cycle + config.cycles.burst
    return commands
