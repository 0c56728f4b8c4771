"""The bench of the UART bridge."""
