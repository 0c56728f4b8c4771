"""The whole chip on an FPGA board: behind the UART bridge, with a memory of the FPGA's own."""
