"""Programs that people write: run on a backend, and on the golden model in every order that waits allow."""

from dataclasses import dataclass

import numpy as np

from poblano.config import ChipConfig, ConfigError
from poblano.isa.commands import COMMAND_BYTES, ErrorCode
from poblano.isa.regions import Access

from ..compiler.missing_waits import missing_waits
from ..compiler.timing import Timing
from ..golden.chip import GoldenChip, GoldenError
from .backend import open_backend
from .errors import ChipError, DeviceError, HangError, Mismatch
from .stuck import left_weights, stuck

__all__ = ["Execution"]

PAGE = 4096
SHOWN = 8
"""Bytes of a difference that are shown, and missing waits that are named."""


@dataclass(frozen=True)
class Execution:
    """A program, what is in memory before it, and what is looked at after it.

    Parameters
    ----------
    config : ChipConfig
    lines : list of (number, :class:`~poblano.isa.commands.Command`), as
        :func:`~poblano_host.assembler.assemble_lines` gives them for ``config``
    loads : list of (address, bytes)
    dumps : list of (address, size)
    """

    config: ChipConfig
    lines: list
    loads: list
    dumps: list

    @property
    def commands(self):
        return [command for _, command in self.lines]

    @property
    def code(self):
        """The commands' bytes."""
        return b"".join(command.encode() for command in self.commands)

    def name(self, n):
        """What command number ``n`` is called: by its line."""
        number, command = self.lines[n]
        unit = self.config.topology.name(command.unit)
        return f"line {number} ({unit} {command.opcode.name})"

    @property
    def size(self):
        """Bytes of memory up to the last that is used, in whole pages."""
        spans = [self._span(command) for command in self.commands if command.opcode.definition.memory]
        ends = [at + len(data) for at, data in self.loads] + [at + size for at, size in self.dumps]
        return -(-max([1, *ends, *(span.end for span in spans)]) // PAGE) * PAGE

    @property
    def ring(self):
        """(address, commands) of the ring: behind all that is used."""
        return self.size, 1 << max(4, (len(self.lines) - 1).bit_length())

    @staticmethod
    def _span(command):
        return command.opcode.definition.memory.span(command.values)

    @property
    def written(self):
        """(first, end) of the bytes of memory that commands write, each row of theirs."""
        found = set()
        for command in self.commands:
            memory = command.opcode.definition.memory
            if memory and memory.access is Access.WRITE:
                span = self._span(command)
                found |= {
                    (span.base + span.stride * row, span.base + span.stride * row + span.extent)
                    for row in range(span.rows)
                }
        return sorted(found)

    def missing_waits(self):
        """A line for each wait that the program lacks."""
        return [
            f"{self.name(wait.later)} {wait.what.format(self.name(wait.earlier))}, without waiting for it; "
            f"this would be: wait {wait.wait}"
            for wait in missing_waits(self.commands, self.config)
        ]

    def run(self, name, *, report=lambda text: None):
        """Run it on the backend called ``name``: the backend, still open, and the result. DeviceError, with
        the unit and the wait, for a program that never ends, and for one that leaves weights."""
        address, count = self.ring
        total = address + COMMAND_BYTES * count
        if total > self.config.memory.most_bytes:
            raise ConfigError(
                f"the program needs {total} bytes of memory, its commands included; {self.config.name} "
                f"addresses {self.config.memory.most_bytes}"
            )
        backend = open_backend(name, self.config, total, self.ring, report=report)
        if hasattr(backend, "device"):
            backend.device.patience = self.patience
        for at, data in self.loads:
            backend.write(at, data)
        try:
            result = backend.run(self.code)
            if lines := left_weights(self.commands, self.config):
                raise DeviceError("\n  ".join(lines))
            return backend, result
        except ChipError as error:
            if error.code is not ErrorCode.TIMEOUT:
                raise
            completed, message = error.completed, str(error)
        except GoldenError as error:
            completed, message = backend.chip.completed, str(error)
        except HangError as error:
            completed, message = error.completed, str(error)
        raise DeviceError(self._never_ends(completed, message))

    @property
    def patience(self):
        """Cycles after which a chip that completes nothing hangs: many times those of the longest command."""
        timing = Timing(self.config)
        longest = [
            timing.of(command.opcode, vars(command.values))[1]
            for command in self.commands
            if command.operands
        ]
        return 200_000 + 16 * max([0, *longest])

    def _never_ends(self, completed, message):
        lines = stuck(self.commands, completed, self.config, self.name)
        return "the program never ends: " + ("\n  ".join(lines) or message)

    def compare_orders(self, orders):
        """Run it on the golden model in ``orders`` other orders, each chosen at random among those that the
        waits allow; :class:`Mismatch` says what comes out different, and which wait is likely to lack."""
        expected = self._golden(None)
        for order in range(orders):
            where = f"in order {order + 1} of {orders} that its waits allow"
            try:
                memory = self._golden(order)
            except GoldenError as error:
                raise Mismatch(f"{where} the program never ends: {error}") from None
            difference = self._difference(expected, lambda first, size, m=memory: m[first : first + size])
            if difference:
                raise Mismatch(
                    "the result depends on the order of execution: "
                    f"{difference.format('in the order of the program', where)}\n{self._cause()}"
                )

    def compare_golden(self, read):
        """:class:`Mismatch` if the memory that ``read(address, size)`` gives after the program differs from
        the golden model's in what the program has written."""
        found = lambda first, size: np.frombuffer(read(first, size), np.uint8)
        difference = self._difference(self._golden(None), found)
        if difference:
            raise Mismatch(f"{difference.format('on the golden model', 'on the RTL')}\n{self._cause()}")

    def _difference(self, expected, found):
        """A text with places for where the ``expected`` memory and what ``found(first, size)`` gives come
        from; None if they agree in what the program writes."""
        for first, end in self.written:
            memory = found(first, end - first)
            differ = np.flatnonzero(expected[first:end] != memory)
            if len(differ):
                at = max(first, first + int(differ[0]) & ~3)
                one = expected[at : min(end, at + SHOWN)].tobytes().hex(" ")
                two = memory[at - first : at - first + SHOWN].tobytes().hex(" ")
                return f"0x{at:x} holds {one} {{}}, and {two} {{}}"
        return None

    def _cause(self):
        waits = self.missing_waits()
        more = [f"and {len(waits) - SHOWN} more"] if len(waits) > SHOWN else []
        lines = [f"missing wait: {line}" for line in waits[:SHOWN]] + more
        return "\n".join(
            f"  {line}" for line in lines or ["every command waits for those that it depends on"]
        )

    def _golden(self, shuffle):
        memory = np.zeros(self.size, np.uint8)
        for at, data in self.loads:
            memory[at : at + len(data)] = np.frombuffer(data, np.uint8)
        GoldenChip(self.config, memory).run(self.code, shuffle=shuffle)
        return memory
