"""The whole chip on an FPGA board: behind the UART bridge, with an SDRAM or block RAM as its memory."""
