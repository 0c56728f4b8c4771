"""Commands of the vector unit."""

from ...config import BLOCK, LINE_WORDS
from ..definition import Definition, Rule
from ..errors import ErrorCode
from ..expressions import ceil_div, choose, least, none_of
from ..fields import Choice, Field, Number, Real, TileMask
from ..header import LOCAL_BITS
from ..regions import Access, LocalRegion, Memory, Place
from ..topology import MOST_TILES, UnitKind
from ..vector_ops import NO_LIMIT, AluOp, Fill, Reduce, Select, SfuOp, Sink
from ..weight_stream import Activation

__all__ = ["CLEAR", "MAX_BLOCKS", "QUANTISING", "VECTOR", "reads"]

MAX_BLOCKS = 2047
"""Blocks in a row, so that element numbers stay below the limit that means none."""


def reads(o, what):
    """Whether an operation other than PASS has ``what`` for its second operand."""
    first = (o.op1 != AluOp.PASS) & (o.sel1 == what)
    return first | (o.op2 != AluOp.PASS) & (o.sel2 == what)


def _rows_of_elements(name, place, access, **options):
    """A region with a row of vector memory for each row of elements."""
    return LocalRegion(
        name,
        Memory.VECTOR,
        place,
        access,
        extent=lambda o, c: o.blocks * (BLOCK // LINE_WORDS),
        unit=lambda o, c: c.tile.row_lines,
        **options,
    )


def _activations(c):
    return c.tile.array.arithmetic.activations


QUANTISING = (
    Rule(
        ErrorCode.FIELD,
        lambda o, c: (o.sink == Sink.QUANTISE) & none_of(o.activation, _activations(c)),
        lambda o, c: (
            f"this array has no activation format {int(o.activation)}; it has "
            f"{', '.join(form.name for form in _activations(c))}"
        ),
        "with sink QUANTISE the array has the activation format",
    ),
    Rule(
        ErrorCode.FIELD,
        lambda o, c: (o.sink != Sink.QUANTISE) & (o.activation != 0),
        lambda o, c: "an activation format without quantise",
        "with another sink activation is 0",
    ),
)
"""What activation formats need."""

RULES = (
    Rule(
        ErrorCode.FIELD,
        lambda o, c: (o.sink == Sink.QUANTISE) & (o.reduce == Reduce.ARGMAX),
        lambda o, c: "quantise and argmax can't be combined",
        "sink QUANTISE and reduce ARGMAX are not combined",
    ),
    *QUANTISING,
    Rule(
        ErrorCode.FIELD,
        lambda o, c: (o.dst_step != 0) & ((o.sink != Sink.QUANTISE) | (o.dst_step < o.blocks)),
        lambda o, c: f"dst_step {o.dst_step} is less than blocks, or without quantise",
        "dst_step is 0, or with sink QUANTISE at least blocks",
    ),
)

VECTOR = Definition(
    0x30,
    UnitKind.VECTOR,
    "Element-wise operations, reductions and quantising of rows of vector memory.",
    (
        Field("sfu", 2, 0, 4, "special function between the two operations", Choice(SfuOp)),
        Field("op1", 2, 4, 3, "first operation on (a, y1)", Choice(AluOp)),
        Field("op2", 2, 7, 3, "second operation on (special function's result, y2)", Choice(AluOp)),
        Field("swap", 2, 10, 1, "1: exchange elements 2i and 2i+1 of a"),
        Field("reduce", 2, 11, 3, "reduction of each row, or argmax over the command", Choice(Reduce)),
        Field("sink", 2, 14, 2, "none, vector memory, or quantised to activation memory", Choice(Sink)),
        Field("fill", 2, 16, 1, "what replaces a from the row's limit on", Choice(Fill)),
        Field("first", 2, 17, 1, "argmax: 1 starts afresh, 0 goes on from the command before"),
        Field("sel1", 2, 18, 2, "y1: operand b, row scalar c or imm1", Choice(Select)),
        Field("sel2", 2, 20, 2, "y2: operand b, row scalar c or imm2", Choice(Select)),
        Field("activation", 2, 22, 3, "sink QUANTISE: format of the blocks", Choice(Activation)),
        Field("dst_step", 2, 25, 7, "0, or blocks of the result from a row to the next that shares with it"),
        Field("tiles", 2, 32, MOST_TILES, "the tiles that get the result (sinks and reductions)", TileMask()),
        Field("a", 3, 0, LOCAL_BITS, "line of operand a"),
        Field("b", 3, LOCAL_BITS, LOCAL_BITS, "line of operand b"),
        Field("dst", 3, 2 * LOCAL_BITS, LOCAL_BITS, "line (sink VMEM) or block (QUANTISE) of the result"),
        Field("a_stride", 4, 0, LOCAL_BITS, "lines from a row to the next"),
        Field("b_stride", 4, LOCAL_BITS, LOCAL_BITS, "lines from a row to the next"),
        Field(
            "dst_stride",
            4,
            2 * LOCAL_BITS,
            LOCAL_BITS,
            "lines or blocks from a row to the next, if dst_step is not 0 only where the next does not share",
        ),
        Field("c", 5, 0, LOCAL_BITS, "line where the row scalars start: word r is row r's"),
        Field(
            "r",
            5,
            LOCAL_BITS,
            LOCAL_BITS,
            "line where reduction results start: word r is row r's (argmax: value, index)",
        ),
        Field("index", 5, 2 * LOCAL_BITS, 24, "argmax: index of the first element"),
        Field("rows", 6, 0, 16, "rows", Number(least=1)),
        Field("blocks", 6, 16, 12, "blocks of 32 elements in a row", Number(least=1, most=MAX_BLOCKS)),
        Field(
            "limit",
            6,
            28,
            16,
            f"first filled element of the first rows; {NO_LIMIT}: none (also if not given)",
            default=NO_LIMIT,
        ),
        Field("limit_step", 6, 44, 12, "what the limit grows by from some rows to the next"),
        Field(
            "share", 6, 56, 8, "rows that share a row of b and a limit (1 if not given)", Number(least=1), 1
        ),
        Field("imm1", 7, 0, 32, "immediate of the first operation", Real()),
        Field("imm2", 7, 32, 32, "immediate of the second operation", Real()),
    ),
    (
        _rows_of_elements(
            "dst",
            Place.TILES,
            Access.WRITE,
            used=lambda o, c: o.sink == Sink.VMEM,
            apart=True,
            in_place=("a", "b"),
        ),
        LocalRegion(
            "r",
            Memory.VECTOR,
            Place.TILES,
            Access.WRITE,
            extent=lambda o, c: choose(o.reduce == Reduce.ARGMAX, 1, ceil_div(o.rows, LINE_WORDS)),
            strided=False,
            used=lambda o, c: o.reduce != Reduce.NONE,
        ),
        _rows_of_elements("a", Place.OWN, Access.READ),
        LocalRegion(
            "c",
            Memory.VECTOR,
            Place.OWN,
            Access.READ,
            extent=lambda o, c: ceil_div(o.rows, LINE_WORDS),
            strided=False,
            used=lambda o, c: reads(o, Select.ROW),
        ),
        _rows_of_elements(
            "b", Place.OWN, Access.READ, used=lambda o, c: reads(o, Select.B), rows=lambda o, c: o.shares
        ),
        LocalRegion(
            "dst",
            Memory.ACTIVATION,
            Place.TILES,
            Access.WRITE,
            extent=lambda o, c: o.blocks + o.inside,
            stride=lambda o, c: o.dst_stride + o.inside,
            rows=lambda o, c: choose(o.dst_step == 0, o.rows, o.shares),
            used=lambda o, c: o.sink == Sink.QUANTISE,
            apart=True,
        ),
    ),
    rules=RULES,
    quotients=(("shares", "rows", "share"),),
    # Blocks of ``dst`` from a row to the last that shares with it.
    terms=(
        ("sharing", 8, lambda o: least(o.rows, o.share) - 1),
        ("inside", 15, lambda o: o.dst_step * o.sharing),
    ),
)

CLEAR = Definition(
    0x31,
    UnitKind.VECTOR,
    "Zeros in all of the tile's vector memory and activation memory.",
    clears=(Memory.VECTOR, Memory.ACTIVATION),
)
