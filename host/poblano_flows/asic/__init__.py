"""From Verilog to standard cells: synthesis, timing, power, and whether the netlist is the RTL."""
