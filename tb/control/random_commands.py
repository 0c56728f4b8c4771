"""Random commands: valid ones, often at the very end of a memory, and such with a small change."""

from poblano.config import BLOCK, LINE_BYTES, LINE_WORDS
from poblano.formats.element import Element
from poblano.isa.check import MAX_BLOCKS
from poblano.isa.commands import FIELDS, NO_UNIT, WAITS, Command, Opcode, unit_index

__all__ = ["mutated", "valid_command"]


def _pick(rng, most):
    """A number of at most ``most``: the ends, small ones and any."""
    return min(most, rng.choice((0, most, rng.randrange(most + 1), rng.randrange(min(most, 8) + 1))))


def _region(rng, size, rows, extent, unit=1, most=0xFFFF):
    """Base and stride, multiples of ``unit``, of ``rows`` rows of ``extent`` that fit into ``size``."""
    room = max(0, size - extent)
    stride = _pick(rng, min(most, room // (rows - 1)) if rows > 1 else most) // unit * unit
    base = _pick(rng, room - stride * (rows - 1)) // unit * unit
    return base, stride


def _tiles(rng, config):
    return 1 + _pick(rng, (1 << config.tiles) - 2)


def _memory(rng, memory_bytes, rows, row_bytes, unit):
    addr, stride = _region(rng, memory_bytes, rows, row_bytes, unit, most=(1 << 32) - 1)
    return dict(mem_addr=addr, mem_stride=stride)


def _operands(rng, opcode, config, memory_bytes):
    tile, array = config.tile, config.tile.array
    arithmetic = array.arithmetic
    beat, word = config.memory.data_bytes, config.stream_bytes
    row_lines = max(LINE_WORDS, tile.lanes) // LINE_WORDS
    rows = 1 + _pick(rng, rng.choice((0, 7, 0xFFFE)))
    o = {}

    def local(name, size, extent, unit=1, rows=rows):
        o[name], o[f"{name}_stride"] = _region(rng, size, rows, extent, unit)

    if opcode in (Opcode.LOAD, Opcode.STORE):
        lines = 1 + _pick(rng, min(tile.vmem_lines, memory_bytes // LINE_BYTES, 0xFFFF) - 1)
        local("dst" if opcode is Opcode.LOAD else "src", tile.vmem_lines, lines)
        o |= dict(rows=rows, lines=lines, **_memory(rng, memory_bytes, rows, LINE_BYTES * lines, beat))
        if rows == 1:
            o["mem_stride"] = rng.getrandbits(32)
        o |= (
            dict(tiles=_tiles(rng, config))
            if opcode is Opcode.LOAD
            else dict(tile=_pick(rng, config.tiles - 1))
        )
    elif opcode in (Opcode.STORE_BLOCK, Opcode.STORE_SCALE):
        length = rng.choice((2, 4, 8, 16, 32)) if opcode is Opcode.STORE_BLOCK else 4
        local("src", tile.amem_blocks, 1)
        o |= dict(
            rows=rows, tile=_pick(rng, config.tiles - 1), **_memory(rng, memory_bytes, rows, length, length)
        )
        if opcode is Opcode.STORE_BLOCK:
            o |= dict(length=length, offset=length * rng.randrange(32 // length))
    elif opcode is Opcode.STREAM:
        row_bytes = word * (1 + _pick(rng, min(memory_bytes, (1 << 32) - 1) // word - 1))
        o |= dict(rows=rows, row_bytes=row_bytes, **_memory(rng, memory_bytes, rows, row_bytes, word))
    elif opcode is Opcode.MATMUL:
        rows = 1 + _pick(rng, tile.tokens - 1)
        k_blocks = array.segments * (1 + _pick(rng, min(tile.amem_blocks, 0xFFFF) // array.segments - 1))
        most = min(tile.vmem_lines * LINE_WORDS // array.cols, 0xFFFF)
        groups = 1 + _pick(rng, most - 1)
        local("a", tile.amem_blocks, k_blocks, array.segments, rows)
        local("dst", tile.vmem_lines, -(-groups * array.cols // LINE_WORDS), row_lines, rows)
        element = rng.choice(arithmetic.weights)
        scale = rng.randrange(4 if element in arithmetic.mx_weights else 3)
        o |= dict(
            rows=rows,
            k_blocks=k_blocks,
            groups=groups,
            tiles=_tiles(rng, config),
            scale=scale,
            element=element,
            activation=rng.choice(arithmetic.activations),
            transpose=rng.randrange(2) if element.bits == 8 else 0,
            minimum=rng.randrange(2) if scale == 1 and element in (Element.S4, Element.U4) else 0,
        )
    elif opcode is Opcode.VECTOR:
        rows = min(rows, LINE_WORDS * tile.vmem_lines)
        lines = BLOCK // LINE_WORDS
        blocks = 1 + _pick(rng, min(MAX_BLOCKS, tile.vmem_lines // lines, tile.amem_blocks) - 1)
        sink = rng.randrange(3)
        scalars = -(-rows // LINE_WORDS)
        for name in ("a", "b"):
            local(name, tile.vmem_lines, blocks * lines, row_lines, rows)
        local(
            "dst",
            *((tile.amem_blocks, blocks) if sink == 2 else (tile.vmem_lines, blocks * lines, row_lines)),
            rows=rows,
        )
        if sink == 2:
            o["activation"] = rng.choice(arithmetic.activations)
        o |= dict(
            rows=rows,
            blocks=blocks,
            sink=sink,
            reduce=rng.choice((0, 1, 2, 4) if sink == 2 else range(5)),
            share=rng.choice((1, 1, 2, 255, rng.randrange(1, 256))),
            sfu=rng.randrange(6),
            op1=rng.randrange(7),
            op2=rng.randrange(7),
            sel1=rng.randrange(3),
            sel2=rng.randrange(3),
            swap=rng.randrange(2),
            fill=rng.randrange(2),
            first=rng.randrange(2),
            c=_region(rng, tile.vmem_lines, 1, scalars)[0],
            r=_region(rng, tile.vmem_lines, 1, scalars)[0],
            limit=rng.choice((0xFFFF, rng.getrandbits(16))),
            limit_step=_pick(rng, 0xFFFF),
            imm1=rng.uniform(-10, 10),
            imm2=rng.choice((0.0, -0.0, float("inf"), 1.5)),
            index=rng.getrandbits(32),
            tiles=_tiles(rng, config),
        )
    return o


def valid_command(rng, config, memory_bytes, opcode=None):
    """A command that ``config``'s chip with ``memory_bytes`` of memory takes."""
    opcode = rng.choice(list(Opcode)) if opcode is None else opcode
    tile = rng.randrange(config.tiles)
    unit = rng.randrange(config.units) if opcode.kind is None else unit_index(opcode.kind, tile)
    waits = tuple(
        (rng.randrange(config.units), rng.getrandbits(24)) if rng.random() < 0.7 else (NO_UNIT, 0)
        for _ in range(rng.randrange(WAITS + 1))
    )
    return Command(opcode, unit, _operands(rng, opcode, config, memory_bytes), waits)


def mutated(rng, data):
    """``data`` with one change: a bit, a field, or a number next to the one that was there."""
    bits = int.from_bytes(data, "little")
    kind = rng.randrange(6)
    if kind == 0:
        bits ^= 1 << rng.randrange(8 * len(data))
    elif kind == 1:
        at = 8 * rng.choice((0, 0, 1, 1, 4, 8, 12, 16))
        bits = (
            bits & ~(0xFF << at)
            | rng.choice((0, 1, 2, 3, 0x10, 0x20, 0x30, NO_UNIT, rng.getrandbits(8))) << at
        )
    else:
        try:
            fields = FIELDS[Opcode(bits & 0xFF)]
        except ValueError:
            fields = ()
        if fields:
            f = rng.choice(fields)
            old = (bits & f.mask) >> f.offset
            new = rng.choice(
                (
                    0,
                    1,
                    (1 << f.width) - 1,
                    rng.getrandbits(f.width),
                    old + 1,
                    old - 1,
                    old + 8,
                    old + 32,
                    2 * old,
                    old ^ 1 << rng.randrange(f.width),
                )
            )
            bits = bits & ~f.mask | (new << f.offset) & f.mask
    return bits.to_bytes(len(data), "little")
