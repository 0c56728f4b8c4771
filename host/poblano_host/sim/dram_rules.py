"""What a DRAM demands of its commands, as a table in memory clocks, and the C++ structs of a DRAM."""

import ctypes

import numpy as np

__all__ = ["COMMANDS", "KINDS", "RULE", "Code", "Shape", "Times", "dram_rules", "dram_times"]

KINDS = ("ACT", "PRE", "REFAB", "REFPB", "RD", "WR")
"""As DramKind in C++."""
BANK, GROUP, OTHERS = 1, 2, 4
"""Where the first command of a rule was: the bank itself, other banks of its group, other groups."""
AFTER_DATA = ("wr", "wtr_s", "wtr_l")
"""Times that begin with the end of a write's data and not with the command."""

COMMANDS = np.dtype(
    [
        *((name, np.uint8) for name in ("row_op", "column_op", "row_group", "row_bank")),
        *((name, np.uint8) for name in ("column_group", "column_bank")),
        *((name, np.uint32) for name in ("row", "column")),
    ],
    align=True,
)
"""The commands of a cycle, as DramCommands in C++."""

RULE = np.dtype(
    [
        ("name", "S16"),
        *((name, np.uint32) for name in ("first", "second", "scope", "window")),
        ("clocks", np.int64),
    ]
)
"""As DramRule in C++."""


def _struct(names):
    return [(name, ctypes.c_int64) for name in names.split()]


class Shape(ctypes.Structure):
    """As DramShape in C++."""

    _fields_ = _struct(
        "groups banks ways rows columns burst_bytes burst_clocks sideband_bits ratio row_phase column_phase "
        "shared_bus burst_cycles read_latency write_latency"
    )

    @classmethod
    def of(cls, config):
        """Of a :class:`~poblano.dram.config.DramConfig`."""
        own = {name: int(getattr(config.timing, name)) for name, _ in cls._fields_[:-3]}
        cycles = config.cycles
        return cls(
            **own,
            burst_cycles=cycles.burst,
            read_latency=cycles.read_latency,
            write_latency=cycles.write_latency,
        )


class Code(ctypes.Structure):
    """As DramCode in C++."""

    _fields_ = [*_struct("words bytes sideband_bits checks"), ("columns", ctypes.POINTER(ctypes.c_uint64))]

    @classmethod
    def of(cls, config):
        """Of a :class:`~poblano.dram.config.DramConfig`."""
        if not config.ecc:
            return cls()
        code = config.code
        columns = (ctypes.c_uint64 * code.code.data)(*code.code.columns)
        return cls(code.words, code.bytes, code.sideband_bits, code.code.checks, columns)


class Times(ctypes.Structure):
    """As DramTimes in C++."""

    _fields_ = _struct(
        "cl cwl rcd_read rcd_write rp ras rc ccd_s ccd_l rrd_s rrd_l faw rtp wr wtr_s wtr_l rtw "
        "rfc_all rfc_bank rrefd refi postponed"
    )


def dram_times(config):
    """The times of a :class:`~poblano.dram.config.DramConfig` in memory clocks, by name; one can be changed
    before they become :class:`Times` or :func:`dram_rules`."""
    clock_ns = max(config.clock_ns, config.timing.clock_ns)
    times = {name: int(value) for name, value in config.timing.clocks(clock_ns).items()}
    return times | {"postponed": config.timing.postponed}


def dram_rules(times, *, burst_clocks, bank_refresh):
    """An array of :data:`RULE` of ``times``. A write's data end ``burst_clocks`` after they begin."""
    group = BANK | GROUP
    rules = [
        ("rcd_read", "ACT RD", BANK),
        ("rcd_write", "ACT WR", BANK),
        ("ras", "ACT PRE", BANK),
        ("rc", "ACT ACT", BANK),
        ("rc", "ACT REFAB", BANK),
        ("rrd_l", "ACT ACT", GROUP),
        ("rrd_s", "ACT ACT", OTHERS),
        ("rp", "PRE ACT", BANK),
        ("rp", "PRE REFAB", BANK),
        ("rtp", "RD PRE", BANK),
        ("wr", "WR PRE", BANK),
        ("ccd_l", "RD RD", group),
        ("ccd_s", "RD RD", OTHERS),
        ("ccd_l", "WR WR", group),
        ("ccd_s", "WR WR", OTHERS),
        ("wtr_l", "WR RD", group),
        ("wtr_s", "WR RD", OTHERS),
        ("rtw", "RD WR", group | OTHERS),
        ("rfc_all", "REFAB ACT", BANK),
        ("rfc_all", "REFAB PRE", BANK),
        ("rfc_all", "REFAB REFAB", BANK),
    ]
    if bank_refresh:
        rules += [
            ("rc", "ACT REFPB", BANK),
            ("rrd_l", "ACT REFPB", GROUP),
            ("rrd_s", "ACT REFPB", OTHERS),
            ("rp", "PRE REFPB", BANK),
            ("rfc_all", "REFAB REFPB", BANK),
            ("rfc_bank", "REFPB ACT", BANK),
            ("rfc_bank", "REFPB PRE", BANK),
            ("rfc_bank", "REFPB REFPB", BANK),
            ("rfc_bank", "REFPB REFAB", BANK),
            ("rrefd", "REFPB ACT", GROUP | OTHERS),
            ("rrefd", "REFPB REFPB", GROUP | OTHERS),
        ]
    rows = []
    for name, commands, scope in rules:
        first, second = (KINDS.index(kind) for kind in commands.split())
        before = times["cwl"] + burst_clocks if name in AFTER_DATA else 0
        rows.append((name, first, second, scope, 1, before + times[name]))
    activation = KINDS.index("ACT")
    rows.append(("faw", activation, activation, group | OTHERS, 4, times["faw"]))
    return np.array(rows, RULE)
