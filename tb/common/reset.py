"""The reset of a tile's unit in a cocotb bench."""

from cocotb.triggers import RisingEdge

__all__ = ["reset_unit"]


async def reset_unit(dut, *, tile, valids, ports, sinks, clear):
    """Reset ``dut`` for three cycles with quiet inputs: ``valids`` signals low, no answer and no ``ready``
    of the read ``ports`` and the ``sinks`` (name: signals by name). ``clear`` forgets what the bench
    expected."""
    dut.rst.value = 1
    dut.tile.value = tile
    dut.unit__flush.value = 0
    for valid in valids:
        valid.value = 0
    for port in ports.values():
        port["valid"].value = 0
        port["req__ready"].value = 0
    for sink in sinks.values():
        sink["ready"].value = 0
    for _ in range(3):
        await RisingEdge(dut.clk)
    clear()
    dut.rst.value = 0
    await RisingEdge(dut.clk)
