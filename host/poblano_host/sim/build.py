"""Verilog and a driver in C++, compiled by Verilator and g++ into a shared library, kept in the cache."""

import fcntl
import os
from pathlib import Path
import struct
import subprocess
import tempfile

from ..cache import cache_folder, digest, keep
from .errors import SimulationError
from .verilator import verilator_command, verilator_root

__all__ = ["build_library", "build_program", "is_whole"]

FLAGS = [
    "--cc",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--noassert",
    "--no-timing",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
    "-Wno-SPECIFYIGN",
    "--output-split",
    "20000",
]
CXXFLAGS = ["-fPIC", "-fno-plt", "-fno-semantic-interposition", "-std=gnu++17", "-fno-strict-aliasing"]
LINK = ["-shared", "-Wl,-Bsymbolic"]  # functions of the library call each other directly
HEADER = struct.Struct("<40xQ10xHH2x")
"""Of an ELF file of 64 bits: where its table of sections is, bytes of an entry, and entries."""
FAST, SLOW = "-O2", "-O0"
"""Optimisation of what runs every cycle, and of what runs once, at the start."""
UNIT = 1_000_000
"""Bytes of C++ that are compiled together."""


def is_whole(library):
    """Whether there is a shared library that has not been cut, of which the end would be a bus error: an ELF
    file whose table of sections, its last part, is in it."""
    try:
        with open(library, "rb") as file:
            head = file.read(HEADER.size)
            size = file.seek(0, os.SEEK_END)
    except FileNotFoundError:
        return False
    if len(head) < HEADER.size or head[:4] != b"\x7fELF":
        return False
    sections, entry, count = HEADER.unpack(head)
    return size >= sections + entry * count


def build_library(verilog, top, sources, *, no_inline=(), visible=(), blocks=(), report=lambda text: None):
    """The path of the shared library of the module ``top`` of ``verilog`` and of ``sources`` (texts of C++ by
    their files' names); built once for each content.

    Verilator keeps the modules ``no_inline`` as functions, and registers and memories of ``visible``, pairs
    of a module's name and theirs, with their names in the model. It compiles each of the modules ``blocks``
    once, whatever the number of its instances, as a model of its own that the others exchange ports with: a
    large chip then takes minutes, not hours, but runs slower. Processes that want the same library build
    it once. SimulationError says what failed; ``report`` is called with a line for each slow step.
    """
    lines = [f'no_inline -module "{name}"' for name in no_inline]
    lines += [f'public_flat_rd -module "{module}" -var "{name}"' for module, name in visible]
    lines += [f'hier_block -module "{name}"' for name in blocks]
    settings = "`verilator_config\n" + "".join(f"{line}\n" for line in lines)
    key = digest(verilog, *sources.values(), settings, *FLAGS, *CXXFLAGS, *LINK, FAST, SLOW, str(UNIT))
    library = cache_folder() / f"{top}-{key}.so"
    if is_whole(library):
        return library
    library.parent.mkdir(parents=True, exist_ok=True)
    with open(library.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_whole(library):
            keep(library, _built(verilog, top, sources, settings, blocks, report))
    return library


def build_program(name, sources):
    """As :func:`build_library`, of the C++ ``sources`` alone."""
    flags = [FAST, *LINK, *CXXFLAGS]
    library = cache_folder() / f"{name}-{digest(*sources.values(), *flags)}.so"
    if not is_whole(library):
        with tempfile.TemporaryDirectory(prefix="poblano-") as temporary:
            folder = Path(temporary)
            for source, text in sources.items():
                (folder / source).write_text(text)
            units = [source for source in sources if source.endswith(".cpp")]
            _run(["g++", *flags, *units, "-o", "library.so"], folder, "g++")
            keep(library, (folder / "library.so").read_bytes())
    return library


def _built(verilog, top, sources, settings, blocks, report):
    """The content of the library."""
    root, verilator = verilator_root(), verilator_command()
    with tempfile.TemporaryDirectory(prefix="poblano-") as temporary:
        folder = Path(temporary)
        (folder / "design.v").write_text(verilog)
        (folder / "settings.vlt").write_text(settings)
        report("compiling the design with Verilator")
        inputs = ["settings.vlt", "design.v"]
        flags = [*FLAGS, *["--hierarchical"] * bool(blocks), "--top-module", top, "--Mdir", "obj"]
        _run([*verilator, *flags, *inputs], folder, "Verilator")
        report("compiling the model with g++")
        objects = folder / "obj"
        for name, text in sources.items():
            (objects / name).write_text(text)
        (objects / "library.mk").write_text(_makefile(objects, blocks, root))
        _run(["make", "-j", str(os.cpu_count() or 1), "-f", "library.mk"], objects, "g++")
        return (objects / "library.so").read_bytes()


def _run(command, folder, what):
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if result.returncode:
        raise SimulationError(f"{what} failed:\n" + (result.stdout + result.stderr)[-3000:])


def _makefile(objects, blocks, root):
    """Rules for ``library.so``, of the sources in ``objects`` and in the folder of each of the ``blocks``.

    The headers of each of Verilator's sources take longer to compile than most sources themselves, so some
    are compiled together, up to :data:`UNIT` bytes. Verilator's library is compiled once, by its
    ``objcache``.
    """
    support, units = root / "include", []
    others = [support / "verilated.cpp", support / "verilated_threads.cpp"]
    for folder in (objects, *(objects / f"V{name}" for name in blocks)):
        generated = set(folder.glob("V*.cpp"))
        slow = {source for source in generated if source.stem.endswith("Slow")}
        others += sorted(set(folder.glob("*.cpp")) - generated)
        for sources, level in ((generated - slow, FAST), (slow, SLOW)):
            for number, together in enumerate(_groups(sources)):
                unit = folder / f"unit-{folder.name}{level}-{number}.cpp"
                unit.write_text("".join(f'#include "{source.name}"\n' for source in together))
                units.append((unit, level))
    units += [(source, FAST) for source in others]
    macros = ["-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TRACE=0"]
    flags = " ".join([*CXXFLAGS, *macros, "-I.", f"-I{support}", f"-I{support / 'vltstd'}"])
    names = " ".join(f"{source.stem}.o" for source, _ in units)
    rules = [f"library.so: {names}\n\tg++ {' '.join(LINK)} -o $@ $^ -lpthread -latomic"]
    for source, level in units:
        command = f"{root / 'bin' / 'objcache'} g++ {level} {flags} -c -o $@ $<"
        rules.append(f"{source.stem}.o: {source}\n\t{command}")
    return "\n".join(rules) + "\n"


def _groups(sources):
    """Lists of the sources, in the order of their names, of at most :data:`UNIT` bytes each, or of one."""
    groups: list[list[Path]] = []
    room = 0
    for source in sorted(sources):
        size = source.stat().st_size
        if size > room:
            groups.append([])
            room = UNIT
        groups[-1].append(source)
        room -= size
    return groups
