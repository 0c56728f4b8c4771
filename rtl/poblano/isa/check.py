"""What makes a command valid, in software: what the hardware's checker checks, with messages.

The codes come in the order of :data:`ORDER`: the first rule that fails decides.
"""

from .commands import Command, CommandError, ErrorCode, Opcode
from .header import COMMAND_BYTES
from .regions import PageLimits

__all__ = ["ORDER", "check"]

ORDER = (
    ErrorCode.OPCODE,
    ErrorCode.UNIT,
    ErrorCode.FIELD,
    ErrorCode.ALIGNMENT,
    ErrorCode.LOCAL_RANGE,
    ErrorCode.MEMORY_RANGE,
    ErrorCode.HOME,
    ErrorCode.OVERLAP,
)
"""The error codes of commands that are refused, in the order in which their rules are applied."""


def _fail(code, message):
    raise CommandError(code, message)


def _check_unit(opcode, unit, config):
    topology = config.topology
    if unit >= len(topology.units):
        _fail(ErrorCode.UNIT, f"unit {unit} does not exist; there are {len(topology.units)}")
    if unit not in topology.units_of(opcode.kind):
        _fail(ErrorCode.UNIT, f"unit {unit} ({topology.name(unit)}) does not execute {opcode.name}")


def _check_ranges(definition, o, config, memory_bytes, limits):
    for region in definition.local:
        end, size = region.span(o, config).end, region.memory.size(config)
        if region.used(o, config) and end > size:
            _fail(ErrorCode.LOCAL_RANGE, f"{region.name} ends at {end}; the memory ends at {size}")
    if definition.memory:
        end = definition.memory.span(o).end
        (span, size), *pages = definition.memory.within(o, config, memory_bytes, limits)
        where = "memory bytes" if not pages or span.base == o.mem_addr else "the page's bytes"
        if span.end > size:
            _fail(
                ErrorCode.MEMORY_RANGE,
                f"{where} 0x{span.base:x} to 0x{span.end:x} pass the end at 0x{size:x}",
            )
        for numbers, count in pages:
            if numbers.end <= count:
                continue
            if not config.memory.paging.inside(o.mem_addr):
                _fail(
                    ErrorCode.MEMORY_RANGE,
                    f"memory bytes 0x{o.mem_addr:x} to 0x{end:x} are not all in the first 0x{count:x} bytes "
                    "of a home",
                )
            else:
                _fail(
                    ErrorCode.MEMORY_RANGE,
                    f"pages {numbers.base} to {numbers.end - 1} are named of slot "
                    f"{config.memory.paging.slot(o.mem_addr)}, which has {count}",
                )
        home = definition.home_span(o, config)
        if home and home.end > config.memory.home_bytes:
            _fail(
                ErrorCode.HOME,
                f"memory bytes 0x{o.mem_addr:x} to 0x{end:x} are not all in the home of the unit's tile",
            )


def _check_overlaps(definition, o, config):
    regions = definition.local
    for region in regions:
        span = region.span(o, config)
        if region.apart and region.used(o, config) and span.crowded:
            _fail(
                ErrorCode.OVERLAP,
                f"rows of {region.name}, of {span.extent}, overlap: {region.name}_stride is {span.stride}",
            )
    for pair in definition.pairs:
        first, second = regions[pair.first], regions[pair.second]
        if not (first.used(o, config) and second.used(o, config)):
            continue
        one, two = first.span(o, config).range, second.span(o, config).range
        if one.meets(two) and not (pair.in_place and one.same(two)):
            if not pair.own or definition.writes_own(o, config):
                _fail(
                    ErrorCode.OVERLAP,
                    f"{first.name}, {one.base} to {one.end}, and {second.name}, {two.base} to {two.end}, "
                    "overlap",
                )


def _limits(o, config, page_bytes, page_counts, home_bytes):
    """The :class:`~.regions.PageLimits` of a command's operands, None without page tables."""
    if config.memory.paging is None or not hasattr(o, "mem_addr"):
        return None
    slot = config.memory.paging.slot(o.mem_addr)
    return PageLimits(page_bytes, page_counts[slot] if slot < len(page_counts) else 0, home_bytes)


def check(data, config, memory_bytes, *, page_bytes=0, page_counts=(), home_bytes=None):
    """The decoded command of ``data`` (64 bytes) if ``config``'s chip with ``memory_bytes`` of memory
    executes it; memory that the port can't address does not count.

    A chip with page tables has pages of ``page_bytes``, and in each slot's table so many as ``page_counts``
    says; the slots behind have none. With several homes too, ``home_bytes`` of each (None: all) are not of
    pages.

    Raises :class:`CommandError` with the code of the first rule that fails.
    """
    assert len(data) == COMMAND_BYTES
    try:
        opcode = Opcode(data[0])
    except ValueError:
        _fail(ErrorCode.OPCODE, f"unknown opcode 0x{data[0]:02x}")
    if not opcode.definition.known(config):
        _fail(ErrorCode.OPCODE, f"this chip does not know {opcode.name}: it has no {opcode.definition.part}")
    _check_unit(opcode, data[1], config)
    command = Command.decode(data)
    for i, (unit, _) in enumerate(command.waits):
        if unit >= len(config.topology.units):
            _fail(ErrorCode.FIELD, f"wait {i} names unit {unit}")
    o = command.values
    for rule in opcode.definition.checks:
        if rule.broken(o, config):
            _fail(rule.code, rule.message(o, config))
    beside_pages = config.memory.home_bytes if home_bytes is None else home_bytes
    limits = _limits(o, config, page_bytes, page_counts, beside_pages)
    _check_ranges(opcode.definition, o, config, memory_bytes, limits)
    _check_overlaps(opcode.definition, o, config)
    return command
