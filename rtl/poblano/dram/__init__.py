"""DRAM: timing sets, geometry, the command interface, and controllers with AXI4 on the chip's side."""
