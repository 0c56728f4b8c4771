"""What a VECTOR command can choose: operations, operands, reductions and sinks."""

from amaranth.lib import enum

__all__ = ["NO_LIMIT", "AluOp", "Fill", "Reduce", "Select", "SfuOp", "Sink"]

NO_LIMIT = 0xFFFF
"""The limit of a command that fills nothing."""


class AluOp(enum.IntEnum, shape=3):
    """Two-operand operations on FP32 numbers a and b."""

    PASS = 0
    """a"""
    ADD = 1
    SUB = 2
    """a - b"""
    MUL = 3
    MAX = 4
    MIN = 5
    RSUB = 6
    """b - a"""


class SfuOp(enum.IntEnum, shape=4):
    """Special functions of one FP32 number x."""

    PASS = 0
    """x"""
    EXP2 = 1
    """2**x"""
    RECIPROCAL = 2
    """1/x"""
    RSQRT = 3
    """1/sqrt(x)"""
    SIGMOID = 4
    """1/(1 + exp(-x))"""
    SILU = 5
    """x * sigmoid(x)"""


class Select(enum.IntEnum, shape=2):
    """The second operand of an operation."""

    B = 0
    """the element of operand b"""
    ROW = 1
    """the row's scalar c"""
    IMMEDIATE = 2
    """imm1 of the first operation, imm2 of the second"""


class Reduce(enum.IntEnum, shape=3):
    """What becomes of the elements beside the sink."""

    NONE = 0
    SUM = 1
    """of each row"""
    MAXIMUM = 2
    """of each row"""
    ARGMAX = 3
    """of the command"""
    SUM_SQUARES = 4
    """of each row: SUM of each element times itself"""


class Sink(enum.IntEnum, shape=2):
    """Where the elements go."""

    NONE = 0
    VMEM = 1
    """vector memory"""
    QUANTISE = 2
    """activation memory, quantised"""


class Fill(enum.IntEnum, shape=1):
    """What replaces the elements of a from the row's limit on."""

    ZERO = 0
    MINUS_INFINITY = 1
