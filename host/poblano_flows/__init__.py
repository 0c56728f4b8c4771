"""From the hardware to files for others: Verilog, standard cells, area."""
