"""Commands of the matmul unit."""

from ...config import LINE_WORDS
from ..definition import Definition, Rule
from ..errors import ErrorCode
from ..expressions import ceil_div, choose, least, none_of, ones, some
from ..fields import Choice, Field, Number, TileMask
from ..header import LOCAL_BITS
from ..regions import Access, LocalRegion, Memory, Place
from ..topology import MOST_TILES, UnitKind
from ..weight_stream import Activation, Element, ScaleFormat

__all__ = ["MATMUL"]

SOME = Number(least=1)
INTEGERS_OF_4_BITS = (Element.S4, Element.U4)
ELEMENTS_OF_A_BYTE = tuple(element for element in Element if element.bits == 8)


def _names(formats):
    return ", ".join(form.name for form in formats)


def _arithmetic(c):
    return c.tile.array.arithmetic


def _too_many(o, c):
    """Whether groups are more than a power of two, and rows too many for the next one."""
    depth = c.tile.tokens
    return [(o.groups > 1 << n) & (o.rows > depth >> n + 1) for n in range(depth.bit_length())]


RULES = (
    Rule(
        ErrorCode.FIELD,
        lambda o, c: o.rows > c.tile.tokens,
        lambda o, c: f"rows {o.rows} are more than the accumulator's {c.tile.tokens}",
        "rows are at most the accumulator's depth",
    ),
    Rule(
        ErrorCode.FIELD,
        lambda o, c: (o.interleaved == 1) & some(_too_many(o, c)),
        lambda o, c: (
            f"{o.rows} rows of {o.groups} groups in turn are more than the accumulator's {c.tile.tokens}"
        ),
        "if interleaved, rows times groups, these rounded up to a power of two, are at most the "
        "accumulator's depth",
    ),
    Rule(
        ErrorCode.FIELD,
        lambda o, c: (o.spread != 0) & (ones(o.tiles, c.tiles) * o.spread < o.rows),
        lambda o, c: f"{ones(o.tiles, c.tiles)} tiles with {o.spread} rows each are less than {o.rows} rows",
        "unless spread is 0, the tiles of `tiles` times spread are at least rows",
    ),
    Rule(
        ErrorCode.FIELD,
        lambda o, c: none_of(o.element, _arithmetic(c).weights),
        lambda o, c: (
            f"this array has no {Element(o.element).name} weights; it has {_names(_arithmetic(c).weights)}"
        ),
        "the array has the element",
    ),
    Rule(
        ErrorCode.FIELD,
        lambda o, c: (o.scale == ScaleFormat.E8M0) & none_of(o.element, _arithmetic(c).mx_weights),
        lambda o, c: f"this array has no {Element(o.element).name} weights with E8M0 scales",
        "with scale E8M0 the element is that of an MX format of the array",
    ),
    Rule(
        ErrorCode.FIELD,
        lambda o, c: (
            (o.minimum == 1) & ((o.scale != ScaleFormat.F16) | none_of(o.element, INTEGERS_OF_4_BITS))
        ),
        lambda o, c: "a minimum needs F16 scales and 4-bit integers",
        "a minimum needs F16 scales and elements S4 or U4",
    ),
    Rule(
        ErrorCode.FIELD,
        lambda o, c: (o.transpose == 1) & none_of(o.element, ELEMENTS_OF_A_BYTE),
        lambda o, c: "a transposed stream holds elements of a byte",
        "transpose needs an element of a byte: all but S4, U4 and E2M1",
    ),
    Rule(
        ErrorCode.FIELD,
        lambda o, c: none_of(o.activation, _arithmetic(c).activations),
        lambda o, c: (
            f"this array has no activation format {int(o.activation)}; it has "
            f"{_names(_arithmetic(c).activations)}"
        ),
        "the array has the activation format",
    ),
)

MATMUL = Definition(
    0x20,
    UnitKind.MATMUL,
    "Activations times the weights from the FIFO, into the vector memory of one or more tiles.",
    (
        Field("element", 2, 0, 3, "element of the weights", Choice(Element)),
        Field("scale", 2, 3, 2, "scale of the weights' blocks", Choice(ScaleFormat)),
        Field("minimum", 2, 5, 1, "1: an F16 block minimum follows the scales"),
        Field("transpose", 2, 6, 1, "1: the stream holds columns (positions of K), not rows"),
        Field("activation", 2, 7, 3, "format of the activations", Choice(Activation)),
        Field(
            "interleaved",
            2,
            10,
            1,
            "1: each step along K has all groups' weights in turn; 0: a group follows the other",
        ),
        Field("tiles", 2, 32, MOST_TILES, "the tiles whose vector memory is written", TileMask()),
        Field("a", 3, 0, LOCAL_BITS, "first block of the activations in activation memory"),
        Field("dst", 3, LOCAL_BITS, LOCAL_BITS, "line of the first result in vector memory"),
        Field("a_stride", 4, 0, LOCAL_BITS, "blocks from an activation row to the next"),
        Field("dst_stride", 4, LOCAL_BITS, LOCAL_BITS, "lines from a result row to the next"),
        Field("rows", 5, 0, 16, "activation rows", SOME),
        Field("k_blocks", 5, 16, 16, "blocks of 32 along K", SOME),
        Field("groups", 5, 32, 16, "groups of array columns along N", SOME),
        Field("spread", 5, 48, 16, "0: every tile gets all rows; else the rows that each tile gets in turn"),
    ),
    (
        LocalRegion(
            "a",
            Memory.ACTIVATION,
            Place.OWN,
            Access.READ,
            extent=lambda o, c: o.k_blocks,
            unit=lambda o, c: c.tile.array.segments,
        ),
        LocalRegion(
            "dst",
            Memory.VECTOR,
            Place.TILES,
            Access.WRITE,
            extent=lambda o, c: ceil_div(o.groups * c.tile.array.cols, LINE_WORDS),
            rows=lambda o, c: choose(o.spread == 0, o.rows, least(o.rows, o.spread)),
            unit=lambda o, c: c.tile.row_lines,
            apart=True,
        ),
    ),
    rules=RULES,
)
