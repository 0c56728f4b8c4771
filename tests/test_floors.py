"""Imports run downward only: the floors of the sources, and every import of every file, lazy ones too."""

import ast
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {"rtl": "rtl", "host": "host", "fpga": "fpga", "formal": "", "tb": "", "scripts": "", "tests": ""}
"""Folders with Python files, and the folder that their modules' names begin in."""

FLOORS = (
    ("poblano.clock_gate", "poblano.config_error"),
    ("poblano.verilog",),
    ("poblano.formats", "poblano.ecc"),
    ("poblano.stream",),
    ("poblano.axi",),  # knows nothing of a chip
    ("poblano.dram",),  # nor does this
    ("poblano.isa.header", "poblano.isa.topology"),  # sizes of commands bound those of a chip
    ("poblano.local_config",),
    ("poblano.array_config", "poblano.experts_config"),
    ("poblano.memory_config", "poblano.config_file"),
    ("poblano.config",),
    ("poblano.isa",),
    ("poblano.interfaces",),
    ("poblano.memory",),
    ("poblano.moe",),
    ("poblano.compute", "poblano.vector"),
    ("poblano.control", "poblano.bus"),
    ("poblano.tile",),
    ("poblano.chip",),
    ("poblano.bridge",),
    ("poblano.engine", "poblano.board"),
    ("poblano_host.cache", "poblano_host.assembler", "poblano_host.models"),
    ("poblano_host.compiler", "poblano_host.golden"),
    ("poblano_host.sim", "poblano_host.serial", "poblano_estimate"),
    ("poblano_host.runtime",),
    ("poblano_host.faults", "poblano_host.serve"),
    ("poblano_host.accuracy", "poblano_host.training"),
    ("poblano_fpga", "poblano_flows"),
    ("poblano_market",),
    ("poblano_explore",),
    ("poblano_cli",),
    ("formal", "tb"),
    ("scripts",),
    ("tests",),
)
"""From the ground up. A module imports from its own package and from lower floors; packages of one floor do
not know each other."""

SOFTWARE = ("poblano_host.models", "poblano_host.compiler", "poblano_host.golden")
"""What knows of the hardware only its command set, configuration and formats, and the numpy references."""
KNOWN_TO_SOFTWARE = ("poblano.config", "poblano.formats", "poblano.isa")


def place(module):
    """The package of the table that a module belongs to, and its floor; (None, None) for others' modules."""
    for floor, packages in enumerate(FLOORS):
        for package in packages:
            if f"{module}.".startswith(f"{package}."):
                return package, floor
    return None, None


def module_name(path):
    folder = path.relative_to(ROOT).parts[0]
    parts = path.relative_to(ROOT / SOURCES[folder]).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(text, module, is_package):
    """(line, module's name) of all that a file imports; a name that is imported counts as a module."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".") + ["__init__"] * is_package
                base = ".".join(parts[: -node.level] + base.split(".") * bool(base))
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
    return found


def problems(text, path, module):
    """A line for each import of a file that does not run downward."""
    own, floor = place(module)
    if own is None and "." in module:
        return [f"{path}: {module} is on no floor"]
    lines = []
    for line, imported in imports(text, module, path.name == "__init__.py"):
        package, below = place(imported)
        if package is not None and package != own and (floor is None or below >= floor):
            lines.append(f"{path}:{line}: {module} (floor {floor}) imports {imported} (floor {below})")
        if own in SOFTWARE and package is not None and package.startswith("poblano."):
            reference = any(part.endswith("reference") for part in imported.split("."))
            if not package.startswith(KNOWN_TO_SOFTWARE) and not reference:
                lines.append(f"{path}:{line}: {module} imports {imported}, which is hardware")
    return lines


def test_imports_run_downward():
    found = []
    for folder in SOURCES:
        files = sorted((ROOT / folder).rglob("*.py"))
        assert files
        for path in files:
            found += problems(path.read_text(), path.relative_to(ROOT), module_name(path))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "module, text, message",
    [
        ("poblano_host.runtime.ring", "from .result import x\nimport poblano.isa.commands, numpy", None),
        ("poblano_host.runtime.ring", "from poblano_host import models", None),
        ("poblano_host.models.gguf", "from ..compiler import x", "imports poblano_host.compiler.x"),
        ("poblano.memory.sram", "def f():\n    from .. import chip", ":2: .* imports poblano.chip"),
        ("poblano.memory", "from ..chip import Chip", "imports poblano.chip.Chip"),
        ("poblano.vector.unit", "import poblano.compute.pe", "imports poblano.compute.pe"),
        ("poblano_host.sim.build", "from tb.common import runner", "imports tb.common.runner"),
        ("poblano_host.compiler.model", "from poblano.compute.pe import PE", "which is hardware"),
        ("poblano_host.compiler.model", "from poblano.compute.reference import pack", None),
        ("poblano.new.thing", "", "poblano.new.thing is on no floor"),
    ],
)
def test_finds(module, text, message):
    """The test itself: what it lets pass and what it finds."""
    is_package = module.count(".") == 1 and module != "poblano_host.sim.build"
    path = Path("__init__.py") if is_package else Path("x.py")
    found = problems(text, path, module)
    if message is None:
        assert not found
    else:
        assert len(found) == 1
        assert re.search(message, found[0])
