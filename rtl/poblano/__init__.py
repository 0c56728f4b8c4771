"""The hardware of Poblano: the chip, its configuration, and the Verilog that is made of it."""
