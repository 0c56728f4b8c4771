"""The registers of chips with check bits: how often words were corrected or failed, by place. One table for
the hardware, the host and ``docs/registers.md``."""

from dataclasses import dataclass

from .topology import MOST_TILES

__all__ = [
    "CHIP_PLACES",
    "COUNT_BITS",
    "DRAM_REGISTERS",
    "ECC_BASE",
    "HOME_BASE",
    "HOME_PLACES",
    "CHIP_BASE",
    "STRIDE",
    "Place",
    "TILE_PLACES",
    "dram_registers",
    "ecc_places",
]

COUNT_BITS = 16
"""Of a place's register the low bits are the words corrected, the others the words that failed; both stay at
their greatest number."""

TILE_PLACES = {
    "vector_memory": "vector memory",
    "activation_memory": "activation memory",
    "weights": "the weight FIFO, between the stream unit and the matmul unit",
    "matmul": "block sums, accumulator and queues of the matmul unit, and its scales",
    "vector": "the quantiser's queue in the vector unit, and what sorts rows by experts",
}
HOME_PLACES = {
    "dram": "DRAM, of a home with a DRAM controller",
    "kv_buffer": "the KV buffer, of a home with one",
    "controller": "queues of the DRAM controller, of a home with one",
}
CHIP_PLACES = {
    "dma": "queues of the DMA engine",
    "fetch": "the fetched commands' queue",
    "pages": "page tables, of a chip with them",
    "experts": "the experts that have rows, of a chip that routes experts",
}
DRAM_REGISTERS = {
    "SCRUBS": "bursts that the scrubber wrote again, or all 1 if they were more",
    "ADDRESS_LO": "address in the home of the last DRAM burst that failed, or else that was corrected",
    "ADDRESS_HI": "its bits from 32 on",
}
"""Of each home with a DRAM controller, besides its place's."""

STRIDE = 4 * 6
"""From the first register of a tile or a home to the next one's."""
ECC_BASE = 0x800
HOME_BASE = ECC_BASE + MOST_TILES * STRIDE
CHIP_BASE = HOME_BASE + MOST_TILES * STRIDE


@dataclass(frozen=True)
class Place:
    """Where words have check bits: of a ``tile`` or a ``home`` or, with neither, of the chip; ``address`` of
    its register."""

    kind: str
    tile: int | None = None
    home: int | None = None

    @property
    def name(self):
        """``tile0.vector_memory``, ``home0.dram``, ``fetch`` ..."""
        for part in ("tile", "home"):
            if (number := getattr(self, part)) is not None:
                return f"{part}{number}.{self.kind}"
        return self.kind

    @property
    def address(self):
        if self.tile is not None:
            return ECC_BASE + STRIDE * self.tile + 4 * list(TILE_PLACES).index(self.kind)
        if self.home is not None:
            return HOME_BASE + STRIDE * self.home + 4 * list(HOME_PLACES).index(self.kind)
        return CHIP_BASE + 4 * list(CHIP_PLACES).index(self.kind)


def ecc_places(config):
    """The :class:`Place` of all words with check bits of a chip; none without ``config.ecc``."""
    if not config.ecc:
        return ()
    memory = config.memory
    there = {
        "dram": memory.dram is not None,
        "kv_buffer": memory.kv_bytes,
        "controller": memory.dram is not None,
    }
    kinds = [kind for kind in HOME_PLACES if there[kind]]
    return (
        *(Place(kind, tile=tile) for tile in range(config.tiles) for kind in TILE_PLACES),
        *(Place(kind, home=home) for home in range(memory.homes) for kind in kinds),
        *(Place(kind) for kind in ("dma", *["pages"] * (memory.paging is not None))),
        *(Place(kind) for kind in (*["experts"] * (config.experts is not None), "fetch")),
    )


def dram_registers(home):
    """The addresses of the :data:`DRAM_REGISTERS` of a home, by name."""
    first = HOME_BASE + STRIDE * home + 4 * len(HOME_PLACES)
    return {name: first + 4 * n for n, name in enumerate(DRAM_REGISTERS)}
