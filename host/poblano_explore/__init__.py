"""Search over configurations of the chip for speed, energy and area."""
