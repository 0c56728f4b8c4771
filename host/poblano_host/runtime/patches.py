"""The tables of a bridge's PATCH, of which a program that stays in memory is patched, and what it does."""

import numpy as np

from poblano.bridge.protocol import ENTRY_BYTES, KIND_BIT, VALUE_BYTES

__all__ = ["apply_patches", "patch_table"]


def patch_table(template, address):
    """The table, uint64 (entries, 2), of a :class:`~poblano_host.compiler.template.Template` whose commands
    lie from ``address`` on."""
    kinds = template.kinds[1].astype(np.uint64) << np.uint64(KIND_BIT)
    addresses = (address + VALUE_BYTES * template.places).astype(np.uint64)
    return np.stack((template.words.ravel()[template.places], addresses | kinds), -1)


def apply_patches(memory, table, count, values):
    """PATCH in ``memory`` (uint8), of the ``count`` entries at ``table`` with ``values`` (uint64).

    ValueError for an entry that a bridge refuses; then nothing is written.
    """
    entries = memory[table : table + ENTRY_BYTES * count].view(np.uint64).reshape(count, 2)
    kinds = entries[:, 1] >> np.uint64(KIND_BIT)
    addresses = entries[:, 1] & np.uint64((1 << KIND_BIT) - 1)
    words = memory[: len(memory) // VALUE_BYTES * VALUE_BYTES].view(np.uint64)
    places = addresses // VALUE_BYTES
    bad = (addresses % VALUE_BYTES != 0) | (places >= len(words)) | (kinds >= len(values))
    if bad.any():
        n = int(np.argmax(bad))
        raise ValueError(
            f"entry {n} of the table at 0x{table:x}: kind {kinds[n]} of {len(values)}, address "
            f"0x{int(addresses[n]):x}"
        )
    words[places] = entries[:, 0] + values[kinds]
