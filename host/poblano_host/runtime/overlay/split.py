"""Cuts the commands of a program so that each touches one page of memory, and puts them in an order that
can't get stuck.

The order keeps that of each unit. A STREAM's pieces come right behind the MATMUL that takes them, cut where
it ends: so whatever has been issued completes, but for the last MATMUL's weights, and a page is soon free
for others.
"""

from collections import deque
from dataclasses import dataclass, replace

from poblano.isa.commands import COUNT_BITS, Command, Opcode
from poblano.isa.regions import Access
from poblano.isa.topology import UnitKind
from poblano.isa.weight_stream import Element, ScaleFormat, step_bytes

from ..errors import OverlayError

__all__ = ["Piece", "split"]


@dataclass(frozen=True)
class Piece:
    """A command of the split program, and what it does to memory.

    ``command`` has its waits renumbered and, where it touches memory, the address within ``page`` (None: it
    does not). ``index`` is the original command's; ``count`` numbers the unit's commands from 1. ``writes``
    lists the (start, end) of the page's bytes that are written.
    """

    command: Command
    index: int
    count: int
    page: int | None = None
    writes: tuple = ()


@dataclass(frozen=True)
class _Segment:
    """Bytes ``at`` to ``at + size`` of memory, in one page: of row ``row``, from its byte ``start`` on."""

    row: int
    start: int
    at: int
    size: int


def _span(command):
    """The :class:`~poblano.isa.regions.Span` of memory of a command that has one."""
    return command.opcode.definition.memory.span(command.values)


def _segments(command, page_bytes):
    base, stride, rows, size = _span(command)
    for row in range(rows):
        start = 0
        while start < size:
            at = base + row * stride + start
            length = min(size - start, page_bytes - at % page_bytes)
            yield _Segment(row, start, at, length)
            start += length


def _runs(segments, whole, page_bytes):
    """Lists of segments that one command can do: ``whole`` rows, evenly spaced in one page; others alone."""
    run = []
    for segment in segments:
        fits = (
            run
            and segment.size == run[0].size == whole
            and segment.at // page_bytes == run[0].at // page_bytes
            and (len(run) == 1 or segment.at - run[-1].at == run[1].at - run[0].at)
            and segment.at >= run[-1].at
        )
        if run and not fits:
            yield run
            run = []
        run.append(segment)
    if run:
        yield run


class _Splitter:
    def __init__(self, commands, config, page_bytes):
        self.config, self.page_bytes = config, page_bytes
        self.name = config.topology.name
        self.commands = commands
        self.pieces = []
        self.counts = [0] * config.units  # pieces
        self.reached = [
            [0] for _ in range(config.units)
        ]  # pieces of a unit when so many of its commands are whole
        self.stream_units = config.topology.units_of(UnitKind.STREAM)
        self.streams = {unit: deque() for unit in self.stream_units}  # [index, command, its segments]
        self.ahead = dict.fromkeys(self.stream_units, 0)  # bytes issued that no issued matmul takes
        for index, command in enumerate(commands):
            if command.unit in self.streams:
                parts = deque(_segments(command, page_bytes)) if command.opcode is Opcode.STREAM else None
                self.streams[command.unit].append([index, command, parts])

    def split(self):
        for index, command in enumerate(self.commands):
            if command.unit in self.streams:
                continue
            if command.opcode.definition.memory:
                self._rows(index, command, list(_segments(command, self.page_bytes)))
            else:
                self._append(index, command)
            self._ends(command.unit)
            if command.opcode is Opcode.MATMUL:
                self._feed(index, command)
        for unit in self.stream_units:
            while self.streams[unit]:
                self._stream(unit)
            self._check_ahead(unit, len(self.commands))
        return self.pieces

    def _append(self, index, command, page=None, writes=()):
        self.counts[command.unit] += 1
        self.pieces.append(
            Piece(
                replace(command, waits=self._waits(index, command)),
                index,
                self.counts[command.unit],
                page,
                writes,
            )
        )

    def _ends(self, unit):
        self.reached[unit].append(self.counts[unit])

    def _waits(self, index, command):
        waits = []
        for unit, count in command.waits:
            if (-count) % (1 << COUNT_BITS) < 1 << COUNT_BITS - 1:
                continue  # it holds from the start
            while count >= len(self.reached[unit]) and self.streams.get(unit):
                if unit == command.unit:
                    break
                self._stream(unit)
                self._check_ahead(unit, index)
            if count >= len(self.reached[unit]):
                raise OverlayError(
                    f"command {index} ({self.name(command.unit)}) waits for command {count} of "
                    f"{self.name(unit)}, which does not come before it: it can't be run by overlays"
                )
            waits.append((unit, self.reached[unit][count]))
        return tuple(waits)

    def _check_ahead(self, unit, index):
        if self.ahead[unit] > self.config.tile.fifo_bytes:
            raise OverlayError(
                f"{self.name(unit)}: {self.ahead[unit]} bytes must be in the weight FIFO of "
                f"{self.config.tile.fifo_bytes} "
                f"before command {index}: the program hangs"
            )

    def _feed(self, index, command):
        """The weights of a MATMUL."""
        o, topology = command.operands, self.config.topology
        unit = topology.unit(UnitKind.STREAM, topology.tile_of(command.unit))
        step = step_bytes(
            self.config, element=Element(o["element"]), scale=ScaleFormat(o["scale"]), minimum=o["minimum"]
        )
        lacking = o["groups"] * (o["k_blocks"] // self.config.tile.array.segments) * step - self.ahead[unit]
        self.ahead[unit] = max(0, -lacking)
        while lacking > 0:
            if not self.streams[unit]:
                raise OverlayError(
                    f"command {index} ({self.name(command.unit)}) lacks {lacking} bytes of weights: the "
                    "program hangs"
                )
            lacking -= self._stream(unit, lacking)

    def _stream(self, unit, most=None):
        """Issue the first command of a stream unit, at most ``most`` bytes of it; how many."""
        index, command, parts = first = self.streams[unit][0]
        if parts is None:
            self.streams[unit].popleft()
            self._append(index, command)
            self._ends(unit)
            return 0
        taken, size = [], 0
        while parts and (most is None or size < most):
            part = parts.popleft()
            if most is not None and size + part.size > most:
                kept = most - size
                parts.appendleft(_Segment(part.row, part.start + kept, part.at + kept, part.size - kept))
                part = replace(part, size=kept)
            taken.append(part)
            size += part.size
        self._rows(index, command, taken)
        first[1] = replace(command, waits=())
        if not parts:
            self.streams[unit].popleft()
            self._ends(unit)
        if most is None:
            self.ahead[unit] += size
        return size

    def _rows(self, index, command, segments):
        """Append commands that do the segments of a command: of whole rows, or of a part of one."""
        region, local = command.opcode.definition.memory, command.opcode.definition.local
        for run in _runs(segments, _span(command).extent, self.page_bytes):
            o, first = dict(command.operands), run[0]
            stride = run[1].at - first.at if len(run) > 1 else 0
            o |= dict(mem_addr=first.at % self.page_bytes, mem_stride=stride, rows=len(run))
            if first.start % region.scale or first.size % region.scale:
                raise OverlayError(
                    f"command {index} ({command.opcode.name}) has a line that crosses a page of "
                    f"{self.page_bytes} bytes, at 0x{first.at:x}: memory addresses must be multiples of "
                    f"{region.scale}"
                )
            for part in local:
                o[part.name] += first.row * o[f"{part.name}_stride"] + first.start // region.scale
            if region.count:
                o[region.count] = first.size // region.scale
            writes: tuple = ()
            if region.access is Access.WRITE:
                writes = tuple((s.at % self.page_bytes, s.at % self.page_bytes + s.size) for s in run)
            self._append(index, replace(command, operands=o), first.at // self.page_bytes, writes)
            command = replace(command, waits=())


def split(commands, config, page_bytes):
    """The :class:`Piece` s of ``commands`` (a list of :class:`Command`, all valid), each within a page of
    ``page_bytes``.

    Run one after the other, with the pages of memory wherever they are, they have the effect of the
    commands. Raises :class:`OverlayError` for a program that hangs, or whose commands wait for later ones.
    """
    return _Splitter(commands, config, page_bytes).split()
