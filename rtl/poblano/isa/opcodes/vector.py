"""Commands of the vector unit."""

from ...config import BLOCK, LINE_WORDS
from ..definition import Definition, Rule
from ..errors import ErrorCode
from ..expressions import ceil_div, choose, none_of
from ..fields import Choice, Field, Number, Real, TileMask
from ..regions import Access, LocalRegion, Memory, Place
from ..topology import UnitKind
from ..vector_ops import NO_LIMIT, AluOp, Fill, Reduce, Select, SfuOp, Sink
from ..weight_stream import Activation

__all__ = ["MAX_BLOCKS", "VECTOR"]

MAX_BLOCKS = 2047
"""Blocks in a row, so that element numbers stay below the limit that means none."""


def _reads(o, what):
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


RULES = (
    Rule(
        ErrorCode.FIELD,
        lambda o, c: (o.sink == Sink.QUANTISE) & (o.reduce == Reduce.ARGMAX),
        lambda o, c: "quantise and argmax can't be combined",
        "sink QUANTISE and reduce ARGMAX are not combined",
    ),
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

VECTOR = Definition(
    "VECTOR",
    0x30,
    UnitKind.VECTOR,
    "Element-wise operations, reductions and quantising of rows of vector memory.",
    (
        Field("sfu", 0, 16, 3, "special function between the two operations", Choice(SfuOp)),
        Field("op1", 0, 19, 3, "first operation on (a, y1)", Choice(AluOp)),
        Field("op2", 0, 22, 3, "second operation on (special function's result, y2)", Choice(AluOp)),
        Field("swap", 0, 25, 1, "1: exchange elements 2i and 2i+1 of a"),
        Field("reduce", 0, 26, 2, "reduction of each row, or argmax over the command", Choice(Reduce)),
        Field("sink", 0, 28, 2, "none, vector memory, or quantised to activation memory", Choice(Sink)),
        Field("fill", 0, 30, 1, "what replaces a from the row's limit on", Choice(Fill)),
        Field("first", 0, 31, 1, "argmax: 1 starts afresh, 0 goes on from the command before"),
        Field("a", 2, 32, 16, "line of operand a"),
        Field("a_stride", 2, 48, 16, "lines from a row to the next"),
        Field("b", 3, 0, 16, "line of operand b"),
        Field("b_stride", 3, 16, 16, "lines from a row to the next"),
        Field("dst", 3, 32, 16, "line (sink VMEM) or block (sink QUANTISE) of the result"),
        Field("dst_stride", 3, 48, 16, "lines or blocks from a row to the next"),
        Field("rows", 4, 0, 16, "rows", Number(least=1)),
        Field("blocks", 4, 16, 16, "blocks of 32 elements in a row", Number(least=1, most=MAX_BLOCKS)),
        Field("c", 4, 32, 16, "line where the row scalars start: word r is row r's"),
        Field("r", 4, 48, 16, "line where reduction results start: word r is row r's (argmax: value, index)"),
        Field("limit", 5, 0, 16, f"first filled element of row 0; {NO_LIMIT}: none"),
        Field("limit_step", 5, 16, 16, "what the limit grows by from a row to the next"),
        Field("imm1", 5, 32, 32, "immediate of the first operation", Real()),
        Field("imm2", 6, 0, 32, "immediate of the second operation", Real()),
        Field("tiles", 6, 32, 32, "the tiles that get the result (sinks and reductions)", TileMask()),
        Field("sel1", 7, 0, 2, "y1: operand b, row scalar c or imm1", Choice(Select)),
        Field("sel2", 7, 2, 2, "y2: operand b, row scalar c or imm2", Choice(Select)),
        Field("activation", 7, 4, 3, "sink QUANTISE: format of the blocks", Choice(Activation)),
        Field("index", 7, 32, 32, "argmax: index of the first element"),
    ),
    (
        _rows_of_elements("dst", Place.TILES, Access.WRITE, used=lambda o, c: o.sink == Sink.VMEM),
        LocalRegion(
            "dst",
            Memory.ACTIVATION,
            Place.TILES,
            Access.WRITE,
            extent=lambda o, c: o.blocks,
            used=lambda o, c: o.sink == Sink.QUANTISE,
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
            used=lambda o, c: _reads(o, Select.ROW),
        ),
        _rows_of_elements("b", Place.OWN, Access.READ, used=lambda o, c: _reads(o, Select.B)),
    ),
    rules=RULES,
)
