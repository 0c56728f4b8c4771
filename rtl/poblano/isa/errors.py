"""Why a command is refused or fails."""

import enum

__all__ = ["CommandError", "ErrorCode"]


class ErrorCode(enum.IntEnum):
    """Why a command was refused or failed; in the ERROR_CODE register."""

    NONE = 0
    OPCODE = 1
    UNIT = 2
    FIELD = 3
    LOCAL_RANGE = 4
    MEMORY_RANGE = 5
    ALIGNMENT = 6
    AXI_READ = 7
    AXI_WRITE = 8
    FETCH = 9
    OVERLAP = 10
    HOME = 11
    TIMEOUT = 12
    SILENT = 13
    LENGTH = 14
    ECC = 15

    @property
    def text(self):
        return {
            ErrorCode.NONE: "no error",
            ErrorCode.OPCODE: "unknown opcode",
            ErrorCode.UNIT: "unit does not exist or does not execute this opcode",
            ErrorCode.FIELD: "field out of range or reserved bits set",
            ErrorCode.LOCAL_RANGE: "local memory address out of range",
            ErrorCode.MEMORY_RANGE: "memory address out of range",
            ErrorCode.ALIGNMENT: "address or length not aligned",
            ErrorCode.AXI_READ: "memory answered a read with an error",
            ErrorCode.AXI_WRITE: "memory answered a write with an error",
            ErrorCode.FETCH: "memory answered a command fetch with an error",
            ErrorCode.OVERLAP: "regions overlap, and the order of reads and writes would show",
            ErrorCode.HOME: "memory address outside of the tile's home",
            ErrorCode.TIMEOUT: "nothing moved on the chip for the watchdog's time",
            ErrorCode.SILENT: "memory did not answer for the watchdog's time",
            ErrorCode.LENGTH: "weight stream and matrix product differ in length",
            ErrorCode.ECC: "bits flipped in a local memory, more than its code corrects",
        }[self]


class CommandError(ValueError):
    """A command that can't be encoded or executed; ``code`` is its :class:`ErrorCode`, ``index`` its number
    in a program where that is known."""

    index: int | None = None

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
