"""Programs that stay in a device's memory: they are written once, and patched for each run."""

from dataclasses import dataclass

from poblano.bridge.protocol import ENTRY_BYTES, MOST_VALUES
from poblano.isa.commands import COMMAND_BYTES
from poblano.isa.registers import RING_ALIGNMENT, SMALLEST_RING

from .patches import patch_table

__all__ = ["Place", "Residents"]


@dataclass(frozen=True)
class Place:
    """Where a program lies: in a ring of ``size`` commands at ``address``, with its table at ``table``."""

    address: int
    size: int
    table: int


class Residents:
    """Programs in ``size`` bytes from ``address`` on of a device's memory. Where there is no room for one
    more, all make room."""

    def __init__(self, device, address, size):
        self.device, self.address, self.size = device, address, size
        self.clear()

    def clear(self):
        """The region is used for something else."""
        self._places, self._used = {}, 0

    def bring(self, bound):
        """The :class:`Place` of a :class:`~poblano_host.compiler.template.Bound`, where it is ready to run;
        None if it is too large, or has too many kinds of patches, to stay."""
        template = bound.template
        if template not in self._places:
            self._places[template] = self._write(template)
        place = self._places[template]
        if place is not None and len(template.places):
            self.device.patch(place.table, len(template.places), bound.values)
        return place

    def _write(self, template):
        size = SMALLEST_RING
        while size < len(template.words):
            size *= 2
        ring, table = COMMAND_BYTES * size, ENTRY_BYTES * len(template.places)
        needed = -(-(ring + table) // RING_ALIGNMENT) * RING_ALIGNMENT
        if needed > self.size or len(template.kinds[0]) > MOST_VALUES:
            return None
        if self._used + needed > self.size:
            self.clear()
        address = self.address + self._used
        self._used += needed
        place = Place(address, size, address + ring)
        self.device.write_memory(address, template.words)
        self.device.write_memory(place.table, patch_table(template, address))
        return place
