"""What a simulation shows of a design's inside: credits and the levels of queues, by where they stand."""

import re

__all__ = ["PROBED", "probes", "visible"]

PROBED = {"credit": "left", "fifo": "level", "buffered_fifo": "level"}
"""Kinds of modules, and the signal of each that a bench can read."""
_PREFIX = "poblano_"


def _kind(module):
    return re.sub(r"_\d+$", "", module.removeprefix(_PREFIX))


def _modules(verilog):
    """The bodies of modules by their names."""
    found = re.finditer(r"^module (\w+)(.*?)^endmodule", verilog, re.MULTILINE | re.DOTALL)
    return {module[1]: module[2] for module in found}


def visible(verilog):
    """A part of a Verilator configuration that makes the probed signals visible, and no others: thousands of
    visible signals take the compiler minutes."""
    names = [name for name in _modules(verilog) if _kind(name) in PROBED and name.startswith(_PREFIX)]
    return "".join(f'public_flat_rd -module "{n}" -var "{PROBED[_kind(n)]}"\n' for n in names)


def probes(verilog, top):
    """``{path: (kind of its owner, signal)}`` of the probed instances below the module ``top``; a path is
    ``stream0.reader.credit``."""
    modules, found = _modules(verilog), {}

    def walk(module, path):
        for inner, name in re.findall(rf"^  ({_PREFIX}\w+) (\w+) \(", modules.get(module, ""), re.MULTILINE):
            place = f"{path}.{name}" if path else name
            if _kind(inner) in PROBED:
                found[place] = (_kind(module), PROBED[_kind(inner)])
            walk(inner, place)

    walk(top, "")
    return found
