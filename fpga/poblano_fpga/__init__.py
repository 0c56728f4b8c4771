"""Poblano on FPGA boards: tops, builds, netlist simulation and the board's end of the host software."""
