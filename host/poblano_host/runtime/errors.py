"""What can go wrong when programs run."""

from poblano.isa.commands import CommandError, ErrorCode
from poblano.isa.registers import NO_ERROR_UNIT
from poblano.isa.topology import LARGEST

from ..assembler import disassemble

__all__ = ["ChipError", "DeviceError", "HangError", "Mismatch", "OverlayError"]


TRANSIENT = {
    ErrorCode.AXI_READ,
    ErrorCode.AXI_WRITE,
    ErrorCode.FETCH,
    ErrorCode.TIMEOUT,
    ErrorCode.SILENT,
    ErrorCode.ECC,
}
"""Errors that are not the program's, and may not come again."""


class ChipError(RuntimeError):
    """The chip refused a command, or failed in it. The queue has been reset: the backend takes the next
    program.

    ``code`` is the :class:`ErrorCode`; ``index``, ``unit``, ``command`` (its text) and ``label``, which names
    the layer, say where, ``completed`` what each unit has completed, where that is known. It is made from the
    command's 64 bytes.
    """

    def __init__(self, code, index, unit, command, completed=None, label=""):
        self.code, self.index, self.unit, self.label = code, index, unit, label
        self.completed = completed
        try:
            self.command = disassemble(command).strip()
        except CommandError:
            self.command = command.hex(" ", 4)
        self.where = "fetch" if unit == NO_ERROR_UNIT else LARGEST.name(unit)
        place = f"{self.where}, {label}" if label else self.where
        super().__init__(f"chip error {code.name} ({code.text}) at command {index} ({place}): {self.command}")

    @property
    def transient(self):
        """Whether the program may well run the next time."""
        return self.code in TRANSIENT


class DeviceError(RuntimeError):
    """The chip is not of the configuration that was expected, hangs, or does not end its reset."""


class HangError(DeviceError):
    """The chip completes nothing more; ``completed`` has what each unit has completed."""

    def __init__(self, message, completed):
        super().__init__(message)
        self.completed = completed


class OverlayError(RuntimeError):
    """A program that can't be run by overlays."""


class Mismatch(RuntimeError):
    """The chip and the golden model differ."""
