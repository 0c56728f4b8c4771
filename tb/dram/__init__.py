"""The bench of a DRAM controller, with a model of the DRAM in Verilog."""
