"""The register map of a chip as SystemRDL, a C header and HTML."""

from pathlib import Path

from poblano.isa.systemrdl import systemrdl

__all__ = ["write_register_files"]


def write_register_files(config, folder):
    """Write ``poblano_registers.rdl``, ``poblano_registers.h`` and ``html/index.html`` into ``folder``,
    which exists."""
    # Imported here because it takes a second, and no other command needs it.
    from peakrdl_cheader.exporter import CHeaderExporter
    from peakrdl_html import HTMLExporter
    from systemrdl import RDLCompiler

    folder = Path(folder)
    source = folder / "poblano_registers.rdl"
    source.write_text(systemrdl(config))
    compiler = RDLCompiler()
    compiler.compile_file(str(source))
    root = compiler.elaborate()
    CHeaderExporter().export(root.top, str(folder / "poblano_registers.h"))
    HTMLExporter().export(root, str(folder / "html"))
