"""The register map: one table for the hardware, the host and ``docs/registers.md``. 32-bit registers, byte addresses."""

from dataclasses import dataclass

__all__ = ["COUNTERS", "COUNTER_BASE", "COUNTER_STRIDE", "IDENTITY", "REGISTERS", "Register", "VERSION_NUMBER", "address"]

IDENTITY = int.from_bytes(b"PBLN", "big")
VERSION_NUMBER = 1


@dataclass(frozen=True)
class Register:
    """A register: ``access`` is ro, rw, wo (reads as its doc says) or w1c (write 1 to clear)."""

    name: str
    address: int
    access: str
    doc: str


REGISTERS = {register.name: register for register in (
    Register("ID", 0x00, "ro", "0x50424c4e, PBLN"),
    Register("VERSION", 0x04, "ro", "version of the command set and of this map"),
    Register("CONFIG0", 0x08, "ro", "bits 7:0 tiles, 15:8 units, 31:16 log2 of memory data bytes"),
    Register("CONFIG1", 0x0C, "ro", "bits 15:0 array rows, 31:16 array columns"),
    Register("CONTROL", 0x10, "rw", "bit 0 enable; bit 1 queue reset: write 1 to start, reads 1 until it has ended; bit 2 clear "
                                    "counters: write 1, reads 0"),
    Register("STATUS", 0x14, "ro", "bit 0 commands are left or in progress; bit 1 error"),
    Register("RING_BASE_LO", 0x18, "rw", "address of the command ring, a multiple of 4096"),
    Register("RING_BASE_HI", 0x1C, "rw", "its bits from 32 on"),
    Register("RING_SIZE", 0x20, "rw", "commands in the ring, a power of two of at least 64"),
    Register("TAIL", 0x24, "rw", "doorbell: commands written since the queue's reset"),
    Register("HEAD", 0x28, "ro", "commands dispatched since the queue's reset"),
    Register("MEMORY_SIZE_LO", 0x2C, "rw", "bytes of memory that commands may use"),
    Register("MEMORY_SIZE_HI", 0x30, "rw", "its bits from 32 on"),
    Register("IRQ_ENABLE", 0x34, "rw", "bits that raise the interrupt"),
    Register("IRQ_STATUS", 0x38, "w1c", "bit 0 all commands up to TAIL have completed; bit 1 error"),
    Register("ERROR_CODE", 0x3C, "ro", "why: see the error codes of the command set"),
    Register("ERROR_INDEX", 0x40, "ro", "which command, counted since the queue's reset"),
    Register("ERROR_UNIT", 0x44, "ro", "its unit"),
    Register("CYCLES_LO", 0x48, "ro", "cycles since the counters were cleared"),
    Register("CYCLES_HI", 0x4C, "ro", "its bits from 32 on"),
    Register("READ_BEATS", 0x50, "ro", "beats read from memory"),
    Register("WRITE_BEATS", 0x54, "ro", "beats written to memory"),
)}

COUNTERS = ("COMPLETED", "BUSY", "STALL_IN", "STALL_OUT")
"""Each unit's read-only counters: commands completed since the queue's reset; cycles in a command, and of these the
cycles lost waiting for input and for output. Idle cycles are the rest."""
COUNTER_BASE = 0x100
COUNTER_STRIDE = 4 * len(COUNTERS)


def address(name, unit=None):
    """The byte address of a register, or of a unit's counter."""
    if unit is None:
        return REGISTERS[name].address
    return COUNTER_BASE + unit * COUNTER_STRIDE + 4 * COUNTERS.index(name)
