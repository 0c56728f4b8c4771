"""The operations of the vector unit's lanes, numbered as in commands."""

import enum

__all__ = ["AluOp", "SfuOp"]


class AluOp(enum.IntEnum):
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


class SfuOp(enum.IntEnum):
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
