"""What makes an array engine, and its registers."""

from dataclasses import dataclass
import enum

from ..config import ArrayConfig
from ..config_error import require

__all__ = ["DESIGN", "EngineConfig", "Fault", "IDENTITY", "REGISTERS", "STEP_BITS", "VERSION"]

DESIGN = "PENG"
IDENTITY = int.from_bytes(DESIGN.encode("ascii"), "little")
VERSION = 1
STEP_BITS = 10
"""Bits of the registers K_BLOCKS and GROUPS."""

REGISTERS = {
    name: 4 * n
    for n, name in enumerate(
        (
            "ID",
            "VERSION",
            "ARRAY",
            "LIMITS",
            "MEMORY_BYTES",
            "CONTROL",
            "STATUS",
            "CYCLES",
            "ROWS",
            "K_BLOCKS",
            "GROUPS",
            "ACTIVATIONS",
            "WEIGHTS",
            "RESULTS",
        )
    )
}
"""Byte addresses. ARRAY: rows, from bit 8 on columns, from bit 16 on bytes of a memory word. LIMITS: most
ROWS of a job, from bit 16 on passes of a block. MEMORY_BYTES: of each of the two memories, the second
follows the first. CONTROL: writing 1 starts a job. STATUS: bit 0 busy, from bit 1 on a :class:`Fault` of
the last job. CYCLES: of the last job. The others describe a job; the last three are bytes in their memory
(activations in the first, weights and results in the second), multiples of a memory word."""


class Fault(enum.IntEnum):
    """Why a job failed."""

    NONE = 0
    BAD_JOB = 1
    """ROWS, K_BLOCKS or GROUPS is 0, or ROWS is above the limit; nothing was done."""
    BAD_ADDRESS = 2
    """The job went past the end of a memory; nothing past it was written."""
    OVERRUN = 3
    """A sum had no room: a fault of the hardware."""


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """An INT8 ``array``; ``tokens``: most rows of activations in a job; ``memory_bytes`` of each of the two
    memories.

    ``ports`` 1: the memories read or write in a cycle (iCE40's SPRAM), 2: they do both.
    """

    array: ArrayConfig
    tokens: int = 16
    memory_bytes: int = 65536
    ports: int = 2

    def __post_init__(self):
        array = self.array
        require(
            tuple(array.formats) == ("int8",) and array.load_rows == 1 and array.rows <= 32,
            f"an engine's array has formats int8, load_rows 1 and at most 32 rows, not {array!r}",
        )
        for name, low, high in ("tokens", 2, 256), ("memory_bytes", 1024, 1 << 20):
            value = getattr(self, name)
            require(
                low <= value <= high and value & (value - 1) == 0,
                f"engine {name} must be a power of two from {low} to {high}, not {value!r}",
            )
        require(self.ports in (1, 2), f"engine ports must be 1 or 2, not {self.ports!r}")
        require(self.word_bytes <= 64, f"an engine's array has at most 64 cols, not {array.cols}")
        least = (
            max(array.passes * array.rows + self.tokens * self.result_words, array.passes * self.tokens)
            * self.word_bytes
        )
        require(
            self.memory_bytes >= least,
            f"engine memory_bytes must be at least {least} for a block of an array of {array.rows} x "
            f"{array.cols} and {self.tokens} tokens, not {self.memory_bytes}",
        )

    @property
    def word_bytes(self):
        """Bytes of a word of a memory: a row of activations, or of weights, fits in."""
        return 1 << max(2, (max(self.array.rows, self.array.cols) - 1).bit_length())

    @property
    def words(self):
        """Words of a memory."""
        return self.memory_bytes // self.word_bytes

    @property
    def word_addr_width(self):
        return (self.words - 1).bit_length()

    @property
    def result_words(self):
        """Words that a row's sums, of 32 bits each, take."""
        return -(-4 * self.array.cols // self.word_bytes)

    @property
    def addr_width(self):
        """Bits of a byte address: of the two memories and as much above."""
        return (2 * self.memory_bytes - 1).bit_length() + 1

    def job_cycles(self, *, rows, k_blocks, groups):
        """About how many cycles a job takes, from its start to its end."""
        array = self.array
        compute, drain = array.passes * max(rows, array.rows), rows * self.result_words
        shared = array.passes * array.rows + drain  # weights in and results out
        step = max(compute, drain, shared) if self.ports == 1 else max(compute, drain)
        return groups * k_blocks * step + 2 * array.rows + array.cols + drain
