"""Commands that move data between memory and the tiles."""

from ...config import LINE_BYTES
from ..definition import Definition, Rule
from ..errors import ErrorCode
from ..expressions import none_of, off
from ..fields import Address, Field, Number, TileMask, TileNumber
from ..header import LOCAL_BITS
from ..regions import Access, LocalRegion, Memory, MemoryRegion, Place
from ..topology import MOST_TILES, UnitKind

__all__ = ["LOAD", "STORE", "STORE_BLOCK", "STORE_SCALE", "STORE_WORD", "STREAM"]

SOME = Number(least=1)
LENGTHS = (2, 4, 8, 16, 32)

MEMORY = (
    Field("mem_addr", 3, 0, 40, "byte address in memory", Address()),
    Field("mem_stride", 4, 0, 32, "bytes from a row to the next in memory"),
)
ROWS = Field("rows", 4, 32, 16, "rows", SOME)


def _local(name, what, unit):
    """The fields of a region of a local memory."""
    return (
        Field(name, 5, 0, LOCAL_BITS, what),
        Field(f"{name}_stride", 5, LOCAL_BITS, LOCAL_BITS, f"{unit} from a row to the next"),
    )


LINES = Field("lines", 5, 2 * LOCAL_BITS, LOCAL_BITS, f"lines ({LINE_BYTES} bytes) in a row", SOME)
TILE = Field("tile", 2, 32, 8, "tile that is read", TileNumber())
BEAT = lambda o, c: c.memory.data_bytes
BEAT_LINES = lambda o, c: c.memory.beat_lines

LOAD = Definition(
    0x01,
    UnitKind.DMA,
    "Rows of memory into the vector memory of one or more tiles.",
    (
        *MEMORY,
        *_local("dst", "line in vector memory", "lines"),
        ROWS,
        LINES,
        Field("tiles", 2, 32, MOST_TILES, "the tiles that are written", TileMask()),
    ),
    (
        LocalRegion(
            "dst", Memory.VECTOR, Place.TILES, Access.WRITE, extent=lambda o, c: o.lines, unit=BEAT_LINES
        ),
    ),
    MemoryRegion(Access.READ, BEAT, LINE_BYTES, "lines"),
)

STORE = Definition(
    0x02,
    UnitKind.DMA,
    "Rows of a tile's vector memory into memory.",
    (*MEMORY, *_local("src", "line in vector memory", "lines"), ROWS, LINES, TILE),
    (
        LocalRegion(
            "src", Memory.VECTOR, Place.TILE, Access.READ, extent=lambda o, c: o.lines, unit=BEAT_LINES
        ),
    ),
    MemoryRegion(Access.WRITE, BEAT, LINE_BYTES, "lines"),
)

BLOCKS = (LocalRegion("src", Memory.ACTIVATION, Place.TILE, Access.READ, extent=lambda o, c: 1),)

STORE_BLOCK = Definition(
    0x03,
    UnitKind.DMA,
    "Bytes of blocks of a tile's activation memory into memory, a row from each block.",
    (
        *MEMORY,
        *_local("src", "block in activation memory", "blocks"),
        ROWS,
        Field("offset", 4, 48, 8, "first byte of the block that is stored"),
        Field("length", 4, 56, 8, "bytes that are stored of a block"),
        TILE,
    ),
    BLOCKS,
    MemoryRegion(Access.WRITE, lambda o, c: o.length, 1, "length"),
    (
        Rule(
            ErrorCode.FIELD,
            lambda o, c: none_of(o.length, LENGTHS),
            lambda o, c: f"length {o.length} is not 2, 4, 8, 16 or 32",
            "length is 2, 4, 8, 16 or 32",
        ),
        Rule(
            ErrorCode.FIELD,
            lambda o, c: off(o.offset, o.length) | (o.offset + o.length > LINE_BYTES),
            lambda o, c: f"offset {o.offset} is not a multiple of length {o.length} inside the block",
            "offset is a multiple of length, and offset + length is at most 32",
        ),
    ),
)

STORE_SCALE = Definition(
    0x04,
    UnitKind.DMA,
    "FP32 scales of blocks of a tile's activation memory into memory, a row from each block.",
    (*MEMORY, *_local("src", "block in activation memory, whose FP32 scale is stored", "blocks"), ROWS, TILE),
    BLOCKS,
    MemoryRegion(Access.WRITE, lambda o, c: 4, 4),
)

STORE_WORD = Definition(
    0x05,
    UnitKind.DMA,
    "A word into memory, the same in each row: a flag for others, or cleared memory.",
    (*MEMORY, Field("value", 5, 0, 32, "the word"), ROWS),
    memory=MemoryRegion(Access.WRITE, lambda o, c: 4, 4),
)

STREAM = Definition(
    0x10,
    UnitKind.STREAM,
    "Rows of memory into the tile's weight FIFO.",
    (*MEMORY, Field("row_bytes", 5, 0, 32, "bytes in a row", SOME), ROWS),
    memory=MemoryRegion(Access.READ, lambda o, c: c.stream_bytes, 1, "row_bytes", at_home=True),
)
