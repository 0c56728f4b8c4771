"""Which pages of the image are in the chip's memory, and where."""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Frame", "OverlayCache"]

WORD = 4
"""Devices read and write whole words of so many bytes."""
GAP = 32
"""Unchanged bytes that are rather read back with the changed ones around them than left out."""


@dataclass(eq=False)
class Frame:
    """A place of a page in the chip's memory.

    ``dirty`` marks the bytes that commands write; ``fresh`` (unit, count) is the command that writes all of
    a page that was not brought; ``uses`` has, by unit, the number of its last command that uses the page;
    ``next`` is when it is used again.
    """

    address: int
    page: int | None = None
    dirty: np.ndarray | None = None
    fresh: tuple | None = None
    uses: dict = field(default_factory=dict)
    next: int = 0

    def done(self, completed):
        """Whether all its commands are among those that the units have completed."""
        return all(completed[unit] >= count for unit, count in self.uses.items())


class OverlayCache:
    """Pages of ``image`` (uint8) in frames of the chip's memory.

    ``device`` reads and writes the chip's memory; ``addresses`` are the frames'. The image is stale where a
    page is dirty until :meth:`flush`.

    Members: ``loaded`` and ``hits`` count pages that had to be brought and that were there; ``bytes_up``
    and ``bytes_down`` what went to the chip's memory and came back.
    """

    def __init__(self, device, image, page_bytes, addresses):
        self.device, self.image, self.page_bytes = device, image, page_bytes
        self.frames = [Frame(address) for address in addresses]
        self.resident = {}
        self.loaded = self.hits = self.bytes_up = self.bytes_down = 0

    def victim(self, completed):
        """The frame that is not in use and whose page is needed last; None if all are in use."""
        return max(
            (frame for frame in self.frames if frame.done(completed)),
            key=lambda frame: (frame.page is None, frame.next),
            default=None,
        )

    def place(self, frame, page, fresh=None):
        """Put ``page`` in ``frame``, whose commands have completed; ``fresh``: the command that is going to
        write all of it."""
        self._empty(frame)
        frame.page, frame.fresh, self.resident[page] = page, fresh, frame
        self.loaded += 1
        if fresh is None:
            start = page * self.page_bytes
            self._upload(frame.address, self.image[start : start + self.page_bytes].tobytes())

    def mark(self, frame, ranges):
        """Bytes ``ranges`` of the frame's page are written by the chip."""
        if frame.dirty is None:
            frame.dirty = np.zeros(self.page_bytes, bool)
        for start, end in ranges:
            frame.dirty[start:end] = True

    def changed(self, address, size):
        """The host has written bytes of the image, after :meth:`flush` of them."""
        for frame, start, end in self._overlapping(address, size):
            at, start, end = frame.page * self.page_bytes, start // WORD * WORD, -(-end // WORD) * WORD
            self._upload(frame.address + start, self.image[at + start : at + end].tobytes())

    def flush(self, address=0, size=None):
        """Bring what the chip has written of these bytes into the image; all commands have completed."""
        for frame, _, _ in self._overlapping(address, len(self.image) if size is None else size):
            self._fetch(frame)

    def abandon(self, completed):
        """After a failed run: drop all pages. What the completed commands have written comes into the
        image."""
        for frame in self.frames:
            if frame.fresh is not None and completed[frame.fresh[0]] < frame.fresh[1]:
                frame.dirty = None
            self._empty(frame)

    def _overlapping(self, address, size):
        """(frame, start, end): the resident pages' parts of these bytes."""
        if size <= 0:
            return
        first, last = address // self.page_bytes, (address + size - 1) // self.page_bytes
        pages = range(first, last + 1) if last - first < len(self.resident) else list(self.resident)
        for page in pages:
            if page in self.resident:
                start, end = address - page * self.page_bytes, address + size - page * self.page_bytes
                if start < self.page_bytes and end > 0:
                    yield self.resident[page], max(start, 0), min(end, self.page_bytes)

    def _empty(self, frame):
        if frame.page is not None:
            self._fetch(frame)
            del self.resident[frame.page]
        frame.page, frame.fresh, frame.uses = None, None, {}

    def _fetch(self, frame):
        if frame.dirty is None:
            return
        places = np.flatnonzero(frame.dirty)
        if len(places):
            for run in np.split(places, np.flatnonzero(np.diff(places) > GAP) + 1):
                start, end = int(run[0]) // WORD * WORD, (int(run[-1]) // WORD + 1) * WORD
                data = self.device.read_memory(frame.address + start, end - start)
                target = self.image[frame.page * self.page_bytes + start :][: end - start]
                target[:] = np.frombuffer(data, np.uint8)[: len(target)]
                self.bytes_down += end - start
        frame.dirty = None

    def _upload(self, address, data):
        data += bytes(-len(data) % WORD)  # at the image's end
        self.device.write_memory(address, data)
        self.bytes_up += len(data)
