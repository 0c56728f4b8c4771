"""The whole chip on an FPGA board: behind the UART bridge, with a memory, the board's SDRAM or the FPGA's own."""
