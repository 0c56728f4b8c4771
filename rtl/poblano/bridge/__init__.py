"""The host's way to a chip on a board: frames over a UART."""
