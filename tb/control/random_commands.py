"""Random commands: valid ones, often at the very end of a memory, and such with a small change.

Like the golden chip, and with its reading of the documents, they are made without the definitions that the
hardware's checks derive from.
"""

from poblano.formats.element import Element
from poblano.isa.errors import CommandError, ErrorCode
from poblano.isa.topology import UnitKind
from poblano_host.golden.commands import FORMS, NAMES, NO_WAIT, DecodedCommand
from poblano_host.golden.pages import PageTables
from poblano_host.golden.rules import check

__all__ = [
    "HOME_BYTES",
    "PAGE_BYTES",
    "mutated",
    "opcode_names",
    "page_counts",
    "page_limits",
    "page_tables",
    "valid_command",
]

BLOCK, LINE_BYTES, LINE_WORDS = 32, 32, 8
MAX_BLOCKS = 2047
PAGE_BYTES = 12288
"""Of a page of chips with page tables."""
HOME_BYTES = 24576
"""Of a home, of several, that are not of pages."""


def opcode_names(config):
    """The opcodes that a chip knows."""
    return [name for name, form in FORMS.items() if config.experts is not None or not form.experts]


def page_counts(config):
    """How many pages each slot of a chip with page tables has: one as many as there can be, one none."""
    paging = config.memory.paging
    return [] if paging is None else [paging.pages, 3, 0, 1][: paging.slots]


def page_limits(config):
    """What :func:`page_tables` has, for the checks that the hardware's derive from."""
    return dict(page_bytes=PAGE_BYTES, page_counts=page_counts(config), home_bytes=HOME_BYTES)


def page_tables(config, memory_bytes):
    """The golden chip's page tables of so many pages."""
    tables = PageTables(config, memory_bytes)
    tables.page_bytes, tables.home_bytes = PAGE_BYTES, HOME_BYTES
    for slot, count in enumerate(page_counts(config)):
        tables.set(slot, [0] * count)
    return tables


def _pick(rng, most):
    """A number of at most ``most``: the ends, small ones and any."""
    return min(most, rng.choice((0, most, rng.randrange(most + 1), rng.randrange(min(most, 8) + 1))))


def _region(rng, size, rows, extent, unit=1, most=(1 << 20) - 1, apart=False):
    """Base and stride, multiples of ``unit``, of ``rows`` rows of ``extent`` that fit into ``size``; rows
    that are ``apart`` do not overlap."""
    room = max(0, size - extent)
    least = -(-extent // unit) * unit if apart and rows > 1 else 0
    stride = _pick(rng, (min(most, room // (rows - 1)) if rows > 1 else most) - least) // unit * unit + least
    base = _pick(rng, room - stride * (rows - 1)) // unit * unit
    return base, stride


def _tiles(rng, config):
    return 1 + _pick(rng, (1 << config.tiles) - 2)


def _memory(rng, memory_bytes, rows, row_bytes, unit):
    addr, stride = _region(rng, memory_bytes, rows, row_bytes, unit, most=(1 << 32) - 1)
    return dict(mem_addr=addr, mem_stride=stride if rows > 1 else rng.getrandbits(32))


def _home(config, tile):
    """A tile's home, and the bytes of it that are not of pages; all of memory if that is the only one."""
    memory = config.memory
    if memory.homes == 1:
        return 0, 2**memory.addr_width
    size = memory.home_bytes if memory.paging is None else HOME_BYTES
    return tile // (config.tiles // memory.homes), size


class _Operands:
    """Random operands of an opcode's commands for a unit of ``tile``, valid but for the overlap of
    regions."""

    def __init__(self, rng, config, memory_bytes, tile):
        self.rng, self.config = rng, config
        memory = config.memory
        most = 2**memory.addr_width if memory.homes == 1 else memory.homes * memory.home_bytes
        self.memory_bytes = min(memory_bytes, most)
        self.home, self.home_bytes = _home(config, tile)
        self.reach = self.memory_bytes
        if memory.paging is not None:
            self.reach = min(self.home_bytes, self.memory_bytes)
        self.tile, self.array = config.tile, config.tile.array
        self.row_lines = max(LINE_WORDS, self.tile.lanes) // LINE_WORDS
        self.rows = 1 + _pick(rng, rng.choice((0, 7, 0xFFFE)))

    def of(self, name):
        return getattr(self, name.lower())() if FORMS[name].fields else {}

    def local(self, name, size, extent, unit=1, **options):
        base, stride = _region(self.rng, size, self.rows, extent, unit, **options)
        return {name: base, f"{name}_stride": stride}

    def memory(self, row_bytes, unit, home=None):
        """Rows of page tables or not; with several homes in this one, by default of page tables in any, else
        in the first."""
        if self.config.memory.paging is not None and row_bytes <= PAGE_BYTES and self.rng.random() < 0.5:
            return self.paged(row_bytes, unit, home) | dict(rows=self.rows)
        start, size = 0, self.reach
        if home is not None:
            start = home * self.config.memory.home_bytes
            size = min(self.memory_bytes - start, self.home_bytes)
        operands = _memory(self.rng, size, self.rows, row_bytes, unit) | dict(rows=self.rows)
        return operands | dict(mem_addr=start + operands["mem_addr"])

    def paged(self, row_bytes, unit, home):
        """Rows in the window of page tables: of one page, or one of each page; in any home or in this one."""
        rng, paging = self.rng, self.config.memory.paging
        slot, count = rng.choice([(n, count) for n, count in enumerate(page_counts(self.config)) if count])
        by_page = self.rows <= count and rng.random() < 0.5
        page = _pick(rng, count - (self.rows if by_page else 1))
        offset, stride = _region(rng, PAGE_BYTES, 1 if by_page else self.rows, row_bytes, unit)
        if by_page:
            stride = paging.stride
        elif self.rows == 1:
            stride = rng.getrandbits(32)
        home = rng.randrange(paging.homes) if home is None else home
        return dict(mem_addr=paging.address(slot, page, offset, home), mem_stride=stride)

    def nop(self):
        return {}

    def _lines(self, local):
        lines = 1 + _pick(self.rng, min(self.tile.vmem_lines, self.reach // LINE_BYTES) - 1)
        beat = self.config.memory.data_bytes
        unit = max(1, beat // LINE_BYTES)
        lines = max(unit, min(lines, (1 << 20) - 1) // unit * unit)
        place = self.local(local, self.tile.vmem_lines, lines, unit)
        return place | dict(lines=lines) | self.memory(LINE_BYTES * lines, beat)

    def load(self):
        return self._lines("dst") | dict(tiles=_tiles(self.rng, self.config))

    def store(self):
        return self._lines("src") | dict(tile=_pick(self.rng, self.config.tiles - 1))

    def store_scale(self, length=4):
        place = self.local("src", self.tile.amem_blocks, 1)
        return place | dict(tile=_pick(self.rng, self.config.tiles - 1)) | self.memory(length, length)

    def store_block(self):
        length = self.rng.choice((2, 4, 8, 16, 32))
        offset = length * self.rng.randrange(32 // length)
        return self.store_scale(length) | dict(length=length, offset=offset)

    def store_word(self):
        return self.memory(4, 4) | dict(value=self.rng.getrandbits(32))

    def stream(self):
        word = self.config.stream_bytes
        size = min(self.memory_bytes - self.home * self.config.memory.home_bytes, self.home_bytes)
        row_bytes = word * (1 + _pick(self.rng, min(size, (1 << 32) - 1) // word - 1))
        home = None if self.config.memory.homes == 1 else self.home
        return self.memory(row_bytes, word, home) | dict(row_bytes=row_bytes)

    def matmul(self):
        rng, tile, array = self.rng, self.tile, self.array
        arithmetic, segments = array.arithmetic, array.segments
        k_blocks = segments * (1 + _pick(rng, min(tile.amem_blocks, 0xFFFF) // segments - 1))
        groups = 1 + _pick(rng, min(tile.vmem_lines * LINE_WORDS // array.cols, 0xFFFF) - 1)
        row = -(-groups * array.cols // LINE_WORDS)
        self.rows = min(1 + _pick(rng, tile.tokens - 1), tile.vmem_lines // row)
        place = self.local("dst", tile.vmem_lines, row, self.row_lines, apart=True)
        tiles, spread = _tiles(rng, self.config), 0
        if rng.random() < 0.5:  # the rows so far are those of a tile
            count = bin(tiles).count("1")
            spread = rng.choice((self.rows, self.rows, 1 + _pick(rng, 0xFFFE)))
            most = count * spread if spread <= self.rows else self.rows
            self.rows = min(tile.tokens, 1 + _pick(rng, most - 1))
        element = rng.choice(arithmetic.weights)
        scale = rng.randrange(4 if element in arithmetic.mx_weights else 3)
        return dict(
            **self.local("a", tile.amem_blocks, k_blocks, segments),
            **place,
            rows=self.rows,
            k_blocks=k_blocks,
            groups=groups,
            spread=spread,
            tiles=tiles,
            scale=scale,
            element=element,
            activation=rng.choice(arithmetic.activations),
            transpose=rng.randrange(2) if element.bits == 8 else 0,
            minimum=rng.randrange(2) if scale == 1 and element in (Element.S4, Element.U4) else 0,
            interleaved=int(self.rows << (groups - 1).bit_length() <= tile.tokens and rng.random() < 0.5),
        )

    def vector(self):
        rng, tile = self.rng, self.tile
        sink = rng.randrange(3)
        lines = BLOCK // LINE_WORDS
        blocks = 1 + _pick(rng, min(MAX_BLOCKS, tile.vmem_lines // lines, tile.amem_blocks) - 1)
        size, row, unit = tile.vmem_lines, blocks * lines, self.row_lines
        target = (tile.amem_blocks, blocks) if sink == 2 else (size, row, unit)
        self.rows = min(self.rows, target[0] // target[1] if sink else LINE_WORDS * size)
        scalars = -(-self.rows // LINE_WORDS)
        share = rng.choice((1, 1, 2, 255, rng.randrange(1, 256)))
        o = self.local("a", size, row, unit)
        o["b"], o["b_stride"] = _region(rng, size, -(-self.rows // share), row, unit)
        o |= self.local("dst", *target, apart=True) if sink else {"dst": rng.getrandbits(20)}
        if sink == 2 and rng.random() < 0.4:
            o |= self.steps(blocks, share)
        if sink == 1 and rng.random() < 0.3:  # in place
            read = rng.choice("ab")
            o |= {read: o["dst"], f"{read}_stride": o["dst_stride"]}
        return o | dict(
            rows=self.rows,
            blocks=blocks,
            sink=sink,
            activation=rng.choice(self.array.arithmetic.activations) if sink == 2 else 0,
            reduce=rng.choice((0, 1, 2, 4) if sink == 2 else range(5)),
            share=share,
            sfu=rng.randrange(6),
            op1=rng.randrange(7),
            op2=rng.randrange(7),
            sel1=rng.randrange(3),
            sel2=rng.randrange(3),
            swap=rng.randrange(2),
            fill=rng.randrange(2),
            first=rng.randrange(2),
            c=_region(rng, size, 1, scalars)[0],
            r=_region(rng, size, 1, scalars)[0],
            limit=rng.choice((0xFFFF, rng.getrandbits(16))),
            limit_step=_pick(rng, 0xFFF),
            imm1=rng.uniform(-10, 10),
            imm2=rng.choice((0.0, -0.0, float("inf"), 1.5)),
            index=rng.getrandbits(24),
            tiles=_tiles(rng, self.config),
        )

    def listed(self, *named):
        """VECTOR without what lists have no room for; the rows of the operands ``named`` are those that the
        list can name."""
        rng, tile = self.rng, self.tile
        o = self.vector()
        for name in ("reduce", "first", "dst_step", "r", "index", "limit_step", "share"):
            o.pop(name, None)
        row, unit = o["blocks"] * BLOCK // LINE_WORDS, self.row_lines
        size = tile.amem_blocks if o["sink"] == 2 else tile.vmem_lines
        extent = o["blocks"] if o["sink"] == 2 else row
        scalars = LINE_WORDS // 2
        o["rows"] = rows = min(o["rows"], tile.vmem_lines * scalars, size // extent)
        o["numbers"] = numbers = 1 + _pick(rng, min(0xFFFF, size // extent) - 1)
        for name in ("a", "b", "dst"):
            self.rows = numbers if name in named else rows
            if name != "dst":
                o |= self.local(name, tile.vmem_lines, row, unit)
            elif o["sink"]:
                o |= self.local(name, size, extent, unit if o["sink"] == 1 else 1, apart=True)
        if o["sink"] == 1 and ("b" in named) == ("dst" in named) and rng.random() < 0.4:
            o |= {"b": o["dst"], "b_stride": o["dst_stride"]}
        return o | dict(c=_region(rng, tile.vmem_lines, 1, -(-rows // scalars))[0])

    def gather(self):
        return self.listed("a")

    def scatter(self):
        return self.listed("b", "dst")

    def route(self):
        rng, tile, most = self.rng, self.tile, self.config.experts
        experts = 1 + _pick(rng, min(most.experts, tile.vmem_lines * LINE_WORDS) - 1)
        row = -(-experts // BLOCK) * BLOCK // LINE_WORDS
        used = 1 + _pick(rng, min(most.used, experts, tile.vmem_lines) - 1)
        self.rows = 1 + _pick(rng, min(most.rows, tile.vmem_lines // row, tile.vmem_lines // used) - 1)
        o = self.local("dst", tile.vmem_lines, 1, apart=True)
        for name in "ab":
            o |= self.local(name, tile.vmem_lines, row, self.row_lines)
        return o | dict(
            list=_region(rng, tile.vmem_lines, 1, self.rows * used)[0],
            experts=experts,
            used=used,
            rows=self.rows,
            tiles=_tiles(rng, self.config),
            quiet=rng.getrandbits(1),
            **self.groups(experts, used),
        )

    def groups(self, experts, used):
        """Random groups of ``experts`` of which a row has ``used``; none for some."""
        rng, most = self.rng, self.config.experts.used
        sizes = [n for n in range(1, 9) if not experts % n and 1 < experts // n < 256]
        if not sizes or rng.random() < 0.3:
            return {}
        groups = rng.choice(sizes)
        least = -(-used // (experts // groups))
        used = least + _pick(rng, min(groups, most) - least)
        return dict(group_count=groups, group_size=experts // groups, group_used=used)

    def expert(self):
        rng = self.rng
        skip = rng.getrandbits(16)
        return dict(
            slot=rng.getrandbits(8),
            stride=rng.getrandbits(32),
            commands=_pick(rng, skip),
            skip=skip,
            **{f"passed_{unit}": rng.getrandbits(16) for unit in ("dma", "stream", "matmul", "vector")},
        )

    def steps(self, blocks, share):
        """A ``dst`` in blocks with a step from a row to the next that shares with it, if there is room."""
        size, shares, inner = self.tile.amem_blocks, -(-self.rows // share), min(self.rows, share) - 1
        most = min(127, (size // shares - blocks) // max(1, inner))
        if blocks > most:
            return {}
        step = self.rng.randint(blocks, most)
        inside = inner * step
        base, pitch = _region(self.rng, size, shares, inside + blocks, apart=True)
        return {"dst": base, "dst_stride": pitch - inside if shares > 1 else pitch, "dst_step": step}


def valid_command(rng, config, memory_bytes, opcode=None):
    """A :class:`~poblano_host.golden.commands.DecodedCommand` that ``config``'s chip with ``memory_bytes``
    of memory, and with :func:`page_tables`, takes; ``opcode`` is a name."""
    opcode = rng.choice(opcode_names(config)) if opcode is None else opcode
    kind = FORMS[opcode].kind
    if kind is None:
        kind = rng.choice(list(UnitKind))
    tile = rng.randrange(config.tiles)
    if _home(config, tile)[0] + config.stream_bytes > memory_bytes:  # nothing of its home exists
        tile = 0
    unit = config.topology.unit(kind, tile)
    waits = tuple(
        (rng.randrange(config.units), rng.getrandbits(20)) if rng.random() < 0.7 else (NO_WAIT, 0)
        for _ in range(rng.randrange(5))
    )
    while True:
        operands = _Operands(rng, config, memory_bytes, tile).of(opcode)
        command = DecodedCommand(opcode, unit, operands, waits)
        try:
            check(command.encode(), config, memory_bytes, page_tables(config, memory_bytes))
            return command
        except CommandError as error:
            if error.code is not ErrorCode.OVERLAP:
                raise


def mutated(rng, data):
    """``data`` with one change: a bit, a field, a number next to the one that was there, or a region moved
    to another."""
    bits = int.from_bytes(data, "little")
    fields = FORMS[NAMES[data[0]]].fields if data[0] in NAMES else {}
    kind = rng.randrange(8)

    def get(name):
        word, high, low = fields[name]
        return bits >> 64 * word + low & (1 << high - low + 1) - 1

    def put(name, value):
        word, high, low = fields[name]
        mask = (1 << high - low + 1) - 1 << 64 * word + low
        return bits & ~mask | (value << 64 * word + low) & mask

    if kind == 0:
        bits ^= 1 << rng.randrange(8 * len(data))
    elif kind == 1:
        at = rng.choice((0, 0, 8, 8, 16, 44, 72, 100))
        number = rng.choice(
            (0, 1, 2, 3, 0x10, 0x20, 0x30, 0x31, 0x32, 0x33, 0x40, NO_WAIT, rng.getrandbits(8))
        )
        bits = bits & ~(0xFF << at) | number << at
    elif fields and (kind < 4 or "a" not in fields):
        name = rng.choice(list(fields))
        width = fields[name][1] - fields[name][2] + 1
        old = get(name)
        changed = (0, 1, (1 << width) - 1, rng.getrandbits(width), old + 1, old - 1, old + 8, old + 32)
        bits = put(name, rng.choice((*changed, 2 * old, old ^ 1 << rng.randrange(width))))
    elif fields:  # overlaps, and what is next to them
        bases = [name for name in ("a", "b", "c", "r", "dst") if name in fields]
        target, source = rng.choice(bases), rng.choice(bases)
        bits = put(target, get(source) + rng.choice((0, 0, 0, 1, -1, 4, -4, 8)))
        if rng.random() < 0.5 and {f"{target}_stride", f"{source}_stride"} <= set(fields):
            bits = put(f"{target}_stride", get(f"{source}_stride") + rng.choice((0, 0, 0, 1, -1, 4)))
    return bits.to_bytes(len(data), "little")
