"""Commands of mixtures of experts: routing, rows by a list, and what depends on an expert."""

from dataclasses import replace

from ...config import BLOCK, LINE_WORDS
from ...experts_config import MOST_EXPERTS, MOST_GROUPS, MOST_USED
from ..definition import Definition, Rule
from ..errors import ErrorCode
from ..expressions import ceil_div
from ..fields import Field, Number, TileMask
from ..header import LOCAL_BITS
from ..regions import Access, LocalRegion, Memory, Place
from ..topology import MOST_TILES, UnitKind
from ..vector_ops import Select, Sink
from .vector import QUANTISING, VECTOR, reads

__all__ = ["ENTRY_WORDS", "EXPERT", "GATHER", "PASSED", "ROUTE", "SCATTER"]

ENTRY_WORDS = 2
"""Words of a list's entry: the number of a row, then a weight."""
SOME = Number(least=1)
PART = "experts"


def _at_most(name, limit, text):
    """A rule about a field and what the configuration allows."""
    return Rule(
        ErrorCode.FIELD,
        lambda o, c: getattr(o, name) > limit(c),
        lambda o, c: f"{name} {getattr(o, name)} are more than this chip's {limit(c)}",
        text,
    )


def _groups(broken, message, text):
    """A rule about the groups of experts, where there are some."""
    its = lambda o, c: (o.group_count != 0) & broken(o, c)
    return Rule(ErrorCode.FIELD, its, message, f"with groups, {text}")


GROUPS = (
    _groups(
        lambda o, c: o.group_count * o.group_size != o.experts,
        lambda o, c: f"{o.group_count} groups of {o.group_size} are not {o.experts}",
        "experts are those of all groups",
    ),
    _groups(
        lambda o, c: o.group_size < 2,
        lambda o, c: f"group_size {o.group_size} is less than 2",
        "group_size is at least 2",
    ),
    _groups(
        lambda o, c: (o.group_used == 0) | (o.group_used > o.group_count),
        lambda o, c: f"group_used {o.group_used} of {o.group_count} groups",
        "group_used is at least 1 and at most group_count",
    ),
    _groups(
        lambda o, c: o.used > o.group_used * o.group_size,
        lambda o, c: f"used {o.used} of {o.group_used} groups of {o.group_size} experts",
        "used are at most the experts of group_used groups",
    ),
    _groups(
        lambda o, c: o.group_used > c.experts.used,
        lambda o, c: f"group_used {o.group_used} is more than this chip's {c.experts.used}",
        "group_used is at most the chip's `experts.used`",
    ),
)


def _scores(name):
    """Rows of a word for each expert, in whole blocks."""
    return LocalRegion(
        name,
        Memory.VECTOR,
        Place.OWN,
        Access.READ,
        extent=lambda o, c: ceil_div(o.experts, BLOCK) * (BLOCK // LINE_WORDS),
        unit=lambda o, c: c.tile.row_lines,
    )


ROUTE = Definition(
    0x32,
    UnitKind.VECTOR,
    "The experts of each row, its weights of them, and a list of the rows of each expert.",
    (
        Field("experts", 2, 0, 16, "experts: words of a row that take part", Number(1, MOST_EXPERTS)),
        Field("used", 2, 16, 4, "experts of a row", Number(1, MOST_USED)),
        Field("tiles", 2, 32, MOST_TILES, "the tiles that get the results", TileMask()),
        Field("a", 3, 0, LOCAL_BITS, "line of the values that experts are selected by"),
        Field("b", 3, LOCAL_BITS, LOCAL_BITS, "line of the weights of all experts"),
        Field("dst", 3, 2 * LOCAL_BITS, LOCAL_BITS, "line of the weights of a row's experts"),
        Field("a_stride", 4, 0, LOCAL_BITS, "lines from a row to the next"),
        Field("b_stride", 4, LOCAL_BITS, LOCAL_BITS, "lines from a row to the next"),
        Field("dst_stride", 4, 2 * LOCAL_BITS, LOCAL_BITS, "lines from a row to the next"),
        Field("list", 5, 0, LOCAL_BITS, "line of the first list"),
        Field("quiet", 5, LOCAL_BITS, 1, "1: EXPERT commands go on with what the ROUTE before has found"),
        Field("c", 5, 2 * LOCAL_BITS, LOCAL_BITS, "line of the word that says what window a row is in"),
        Field("rows", 6, 0, 16, "rows", SOME),
        Field(
            "group_count",
            6,
            16,
            4,
            "0: the experts have no groups; else the number of groups",
            Number(0, MOST_GROUPS),
        ),
        Field("group_used", 6, 20, 4, "groups of a row"),
        Field("group_size", 6, 24, 8, "experts of a group"),
        Field(
            "capacity", 6, 32, 16, "0: experts have room for all rows; else rows of a window that one gets"
        ),
        Field("c_stride", 7, 0, LOCAL_BITS, "lines from a row to the next"),
    ),
    (
        LocalRegion("dst", Memory.VECTOR, Place.TILES, Access.WRITE, extent=lambda o, c: 1, apart=True),
        LocalRegion(
            "list",
            Memory.VECTOR,
            Place.TILES,
            Access.WRITE,
            extent=lambda o, c: o.rows * o.used,
            strided=False,
        ),
        _scores("a"),
        _scores("b"),
        LocalRegion(
            "c",
            Memory.VECTOR,
            Place.OWN,
            Access.READ,
            extent=lambda o, c: c.tile.row_lines,
            used=lambda o, c: o.capacity != 0,
            unit=lambda o, c: c.tile.row_lines,
        ),
    ),
    rules=(
        _at_most("experts", lambda c: c.experts.experts, "experts are at most the chip's `experts.experts`"),
        _at_most("used", lambda c: c.experts.used, "used are at most the chip's `experts.used`"),
        _at_most("rows", lambda c: c.experts.rows, "rows are at most the chip's `experts.rows`"),
        _at_most("capacity", lambda c: c.experts.rows, "capacity is at most the chip's `experts.rows`"),
        Rule(
            ErrorCode.FIELD,
            lambda o, c: o.used > o.experts,
            lambda o, c: f"used {o.used} of {o.experts} experts",
            "used are at most experts",
        ),
        *GROUPS,
    ),
    part=PART,
)

LISTED = (
    *("sfu", "op1", "op2", "swap", "sink", "fill", "sel1", "sel2", "activation", "tiles"),
    *("a", "b", "dst", "a_stride", "b_stride", "dst_stride"),
)
"""Fields that are those of a VECTOR command."""
SAME = {field.name: field for field in VECTOR.fields}
DOCS = {"tiles": "the tiles that get the result", "dst_stride": "lines or blocks from a row to the next"}
LISTED_FIELDS = (
    *(replace(SAME[name], doc=DOCS.get(name, SAME[name].doc)) for name in LISTED),
    Field("c", 5, 0, LOCAL_BITS, "line of the list; the weight of entry r is the row scalar of row r"),
    Field("numbers", 5, 2 * LOCAL_BITS, 16, "what the numbers of rows in the list are below", SOME),
    *(SAME[name] for name in ("rows", "blocks")),
    Field(
        "limit",
        6,
        28,
        16,
        SAME["limit"].doc.replace("the first rows", "each row"),
        default=SAME["limit"].default,
    ),
    *(SAME[name] for name in ("imm1", "imm2")),
)


def _elements(name, place, access, listed, **options):
    """Rows of elements: as many as the list's numbers can name, or as the list has."""
    return LocalRegion(
        name,
        Memory.VECTOR,
        place,
        access,
        extent=lambda o, c: o.blocks * (BLOCK // LINE_WORDS),
        rows=lambda o, c: o.numbers if listed else o.rows,
        unit=lambda o, c: c.tile.row_lines,
        **options,
    )


def _by_list(number, purpose, *listed):
    """VECTOR with rows by a list, of the operands ``listed``."""
    return Definition(
        number,
        UnitKind.VECTOR,
        purpose,
        LISTED_FIELDS,
        (
            _elements(
                "dst",
                Place.TILES,
                Access.WRITE,
                "dst" in listed,
                used=lambda o, c: o.sink == Sink.VMEM,
                apart=True,
                in_place=("b",),
            ),
            _elements("a", Place.OWN, Access.READ, "a" in listed),
            LocalRegion(
                "c",
                Memory.VECTOR,
                Place.OWN,
                Access.READ,
                extent=lambda o, c: ceil_div(ENTRY_WORDS * o.rows, LINE_WORDS),
                strided=False,
            ),
            _elements("b", Place.OWN, Access.READ, "b" in listed, used=lambda o, c: reads(o, Select.B)),
            LocalRegion(
                "dst",
                Memory.ACTIVATION,
                Place.TILES,
                Access.WRITE,
                extent=lambda o, c: o.blocks,
                rows=lambda o, c: o.numbers if "dst" in listed else o.rows,
                used=lambda o, c: o.sink == Sink.QUANTISE,
                apart=True,
            ),
        ),
        rules=QUANTISING,
        part=PART,
    )


GATHER = _by_list(0x33, "VECTOR with the rows of a that a list names, one after the other.", "a")
SCATTER = _by_list(
    0x34, "VECTOR with the rows of b and of the result that a list names, one after the other.", "b", "dst"
)

PASSED = {kind: f"passed_{kind.value}" for kind in UnitKind}
"""For each kind of unit the field of an EXPERT command that says how many of a unit's commands are passed."""

EXPERT = Definition(
    0x40,
    None,
    "The commands that follow are those of an expert, or are passed over where there is none.",
    (
        Field("slot", 2, 0, 8, "which of the experts that have rows, in ascending order"),
        Field("stride", 2, 32, 32, "bytes from an expert's memory to the next one's"),
        Field("commands", 3, 0, 16, "commands that follow which are the expert's"),
        Field("skip", 3, 16, 16, "commands that follow which are passed over without an expert"),
        *(
            Field(name, 7, 16 * n, 16, f"of these, how many are {kind.value} commands of a unit")
            for n, (kind, name) in enumerate(PASSED.items())
        ),
    ),
    rules=(
        Rule(
            ErrorCode.FIELD,
            lambda o, c: o.commands > o.skip,
            lambda o, c: f"of {o.commands} commands only {o.skip} are passed over",
            "commands are at most skip",
        ),
    ),
    part=PART,
)
