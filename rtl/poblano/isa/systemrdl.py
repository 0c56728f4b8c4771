"""The register map of a chip as SystemRDL, from the table of registers."""

from .ecc_registers import COUNT_BITS, DRAM_REGISTERS, dram_registers, ecc_places
from .registers import COUNTER_BASE, COUNTER_STRIDE, COUNTERS, registers_of, resets

__all__ = ["ADDRMAP", "systemrdl"]

ADDRMAP = "poblano_registers"
"""Name of the address map."""

ACCESS = {"ro": "sw = r; hw = w;", "rw": "sw = rw; hw = r;", "w1c": "sw = rw; onwrite = woclr; hw = w;"}


def _text(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _register(name, doc, access, fields, place, reset=0, indent="    "):
    """``fields``: name, meaning, lowest bit, width."""
    lines = ["reg {", f"    desc = {_text(doc)};"]
    for field, meaning, lsb, width in fields:
        description = f" desc = {_text(meaning)};" if meaning else ""
        value = reset >> lsb & (1 << width) - 1
        lines.append(
            f"    field {{{description} {ACCESS[access]} }} {field}[{lsb + width - 1}:{lsb}] = "
            f"{width}'h{value:x};"
        )
    return "".join(f"{indent}{line}\n" for line in [*lines, f"}} {name} @ 0x{place:x};"])


def _ecc(config):
    """The registers of places with check bits."""
    text = ""
    for place in ecc_places(config):
        name = f"ECC_{place.name}".replace(".", "_").upper()
        fields = [("CORRECTED", "", 0, COUNT_BITS), ("FAILED", "", COUNT_BITS, 32 - COUNT_BITS)]
        text += _register(name, "words with check bits", "ro", fields, place.address)
        if place.kind == "dram":
            for part, address in dram_registers(place.home).items():
                doc = DRAM_REGISTERS[part]
                text += _register(f"{name}_{part}", doc, "ro", [("VALUE", "", 0, 32)], address)
    return text


def systemrdl(config):
    """SystemRDL 2.0 of the registers of a chip; the counters of its units are the array ``unit``."""
    values = resets(config)
    text = (
        f"// The registers of Poblano {config.name}, see docs/registers.md.\n"
        f"addrmap {ADDRMAP} {{\n"
        f"    name = {_text('Poblano ' + config.name)};\n"
        "    default regwidth = 32;\n    default accesswidth = 32;\n\n"
    )
    for register in registers_of(config).values():
        fields = [(f.name.upper(), f.doc, f.lsb, f.width) for f in register.fields] or [
            ("VALUE", "", 0, register.width)
        ]
        text += _register(
            register.name,
            register.doc,
            register.access,
            fields,
            register.address,
            values.get(register.name, 0),
        )
    text += _ecc(config)
    units = ", ".join(f"{n} {config.topology.name(n)}" for n in range(config.units))
    text += f"\n    regfile {{\n        desc = {_text(f'Counters of a unit: {units}.')};\n"
    for offset, (name, doc) in enumerate(COUNTERS.items()):
        text += _register(name, doc, "ro", [("VALUE", "", 0, 32)], 4 * offset, indent="        ")
    return text + f"    }} unit[{config.units}] @ 0x{COUNTER_BASE:x} += 0x{COUNTER_STRIDE:x};\n}};\n"
