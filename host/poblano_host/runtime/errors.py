"""What can go wrong when programs run."""

from poblano.isa.commands import CommandError
from poblano.isa.registers import NO_ERROR_UNIT
from poblano.isa.topology import LARGEST

from ..assembler import disassemble

__all__ = ["ChipError", "DeviceError", "HangError", "Mismatch", "OverlayError"]


class ChipError(RuntimeError):
    """The chip refused a command, or failed in it. The queue has been reset: the backend takes the next
    program.

    ``code`` is the :class:`ErrorCode`; ``index``, ``unit`` and ``command`` (its text) say where,
    ``completed`` what each unit has completed, where that is known. It is made from the command's 64 bytes.
    """

    def __init__(self, code, index, unit, command, completed=None):
        self.code, self.index, self.unit, self.completed = code, index, unit, completed
        try:
            self.command = disassemble(command).strip()
        except CommandError:
            self.command = command.hex(" ", 4)
        where = "fetch" if unit == NO_ERROR_UNIT else LARGEST.name(unit)
        super().__init__(f"chip error {code.name} ({code.text}) at command {index} ({where}): {self.command}")


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
