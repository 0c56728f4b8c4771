"""The backend for a chip whose memory is smaller than the image of the program."""

from dataclasses import replace

import numpy as np

from poblano.isa.check import check
from poblano.isa.commands import COMMAND_BYTES, CommandError
from poblano.isa.registers import RING_ALIGNMENT, SMALLEST_RING

from ...sim.simulation import EVENT
from ..backend import check_range
from ..errors import ChipError, OverlayError
from ..ring import Ring, Stopped, command_rows
from .cache import OverlayCache
from .split import split

__all__ = ["OverlayBackend"]

LARGEST_RING = 256
LARGEST_PAGE = 4096
SMALLEST_PAGE = 256


class OverlayBackend:
    """Runs programs of a memory of ``memory_bytes`` on a :class:`Device` with less: a
    :class:`~poblano_host.runtime.backend.Backend`.

    The device's memory holds a short ring of its own and, in the rest, pages of the image. A page stays
    until its place is needed for one that is used sooner; the program is taken to be repeated, so that part
    of what does not fit stays as well. What commands store stays on the device until it is read, or its
    place is needed.

    Parameters
    ----------
    config : ChipConfig of the device's chip
    memory_bytes, ring : of the image; the ring in it is not used
    device : Device
    page_bytes : a power of two; by default 4 KiB, or less in a memory that has fewer than eight such

    Members
    -------
    memory : the image, read only, with all that has been stored
    ring : the chip's :class:`Ring`
    cache : the :class:`OverlayCache`, which counts pages and bytes
    look_ahead : pages that commands in progress may use before more are brought; the fewer, the more of the
        others stay
    pieces : commands that the last run issued
    """

    def __init__(self, config, memory_bytes, ring, device, *, page_bytes=None, report=None):
        if config.memory.kv_bytes:
            raise OverlayError("a chip with a KV buffer has no overlays: its caches would not stay there")
        if config.memory.paging is not None:
            raise OverlayError("a chip with page tables has no overlays: its pages stay in memory")
        if config.memory.homes > 1:
            raise OverlayError(
                f"a chip of {config.memory.homes} homes has no overlays: pages would not stay at home"
            )
        self.config, self.device = config, device
        ring_size, page_bytes, places = _layout(config, device.memory_bytes, page_bytes)
        self._image = np.zeros(memory_bytes, np.uint8)
        self.cache = OverlayCache(device, self._image, page_bytes, places)
        self.look_ahead = max(1, len(places) // 16)
        self.pieces = []
        self.ring = Ring(config, device, 0, ring_size)

    # The image

    @property
    def memory(self):
        self.cache.flush()
        view = self._image.view()
        view.flags.writeable = False
        return view

    def write(self, address, data):
        data = np.frombuffer(data, np.uint8)
        check_range(address, len(data), len(self._image))
        self.cache.flush(address, len(data))
        self._image[address : address + len(data)] = data
        self.cache.changed(address, len(data))

    def read(self, address, size):
        check_range(address, size, len(self._image))
        self.cache.flush(address, size)
        return self._image[address : address + size].tobytes()

    def close(self):
        self.device.close()

    def clear_local(self):
        self.ring.clear_local()

    def clear(self, first, end):
        self.write(first, bytes(end - first))

    # Runs

    def run(self, commands, *, progress=None):
        rows = command_rows(commands)
        decoded, refused = self._decode(rows)
        self.pieces = split(decoded, self.config, self.cache.page_bytes)
        self.ring.start()
        try:
            self._issue_all(progress)
            result = self.ring.finish()
        except Stopped as stop:
            self.cache.abandon(stop.completed)
            index = self.pieces[stop.index].index
            raise ChipError(stop.code, index, stop.unit, rows[index].tobytes()) from None
        if progress is not None:
            progress(len(self.pieces), len(self.pieces), 0)
        if refused is not None:
            command = rows[len(decoded)].tobytes()
            raise ChipError(refused.code, len(decoded), command[1], command)
        # The events are those of the pieces.
        return replace(result, commands=len(decoded), events=np.zeros(0, EVENT))

    def _decode(self, rows):
        """The commands before the first that the chip would refuse, and why it would."""
        decoded = []
        for row in rows:
            try:
                decoded.append(check(row.tobytes(), self.config, len(self._image)))
            except CommandError as error:
                return decoded, error
        return decoded, None

    def _issue_all(self, progress):
        """Bring each piece's page and give the piece to the chip, half a ring of them at a time."""
        self._completed, self._pending = [0] * self.config.units, []
        for at, (piece, next_use) in enumerate(zip(self.pieces, self._next_uses())):
            command = piece.command
            if piece.page is not None:
                frame = self._frame(piece)
                frame.uses[command.unit], frame.next = piece.count, next_use
                if piece.writes:
                    self.cache.mark(frame, piece.writes)
                place = frame.address + command.operands["mem_addr"]
                command = replace(command, operands=command.operands | dict(mem_addr=place))
            self._pending.append(command.encode())
            if len(self._pending) == self.ring.size // 2:
                self._issue()
            if progress is not None and at % 64 == 0:
                progress(at, len(self.pieces), 0)
        self._issue()

    def _issue(self):
        """Give the pending pieces to the chip."""
        self.ring.issue(command_rows(b"".join(self._pending)))
        self._pending = []

    def _next_uses(self):
        """For each piece the place of the next that uses its page, in the program or its repetition;
        others' pages come last."""
        after, count = {}, len(self.pieces)
        for at in reversed(range(count)):
            if self.pieces[at].page is not None:
                after[self.pieces[at].page] = count + at
        for page, frame in self.cache.resident.items():
            frame.next = after[page] - count if page in after else 2 * count
            frame.fresh, frame.uses = None, {}
        nexts = [0] * count
        for at in reversed(range(count)):
            page = self.pieces[at].page
            if page is not None:
                nexts[at], after[page] = after[page], at
        return nexts

    def _frame(self, piece):
        """The place of the piece's page, which is brought if it is not there."""
        cache = self.cache
        if piece.page in cache.resident:
            cache.hits += 1
            return cache.resident[piece.page]
        if self._in_use() >= self.look_ahead:
            self._issue()
            self.ring.until(self._has_place)
        frame = cache.victim(self._completed)
        whole = piece.writes == ((0, cache.page_bytes),)
        cache.place(frame, piece.page, (piece.command.unit, piece.count) if whole else None)
        return frame

    def _in_use(self):
        return sum(not frame.done(self._completed) for frame in self.cache.frames)

    def _has_place(self):
        """Learn what the units that touch memory have completed; whether so few pages are in use that a
        place is free."""
        uses = [use for frame in self.cache.frames for use in frame.uses.items()]
        for unit in {unit for unit, count in uses if count > self._completed[unit]}:
            self._completed[unit] = self.ring.read("COMPLETED", unit)
        return self._in_use() < self.look_ahead


def _layout(config, memory_bytes, page_bytes):
    """The commands of the ring, the bytes of a page (a given number, or the default) and the places of pages
    in a memory that begins with the ring."""
    ring_size = SMALLEST_RING
    while ring_size < LARGEST_RING and 16 * 2 * COMMAND_BYTES * ring_size <= memory_bytes:
        ring_size *= 2
    start = max(RING_ALIGNMENT, COMMAND_BYTES * ring_size)
    if page_bytes is None:
        page_bytes = LARGEST_PAGE
        while page_bytes > SMALLEST_PAGE and 8 * page_bytes > memory_bytes - start:
            page_bytes //= 2
    if page_bytes % config.stream_bytes or page_bytes & page_bytes - 1:
        raise OverlayError(
            f"page_bytes must be a power of two of at least {config.stream_bytes}, not {page_bytes}"
        )
    start = -(-start // page_bytes) * page_bytes
    places = range(start, memory_bytes - page_bytes + 1, page_bytes)
    if not places:
        raise OverlayError(
            f"a memory of {memory_bytes} bytes has no room for a ring of {ring_size} commands and a page of "
            f"{page_bytes} bytes"
        )
    return ring_size, page_bytes, places
