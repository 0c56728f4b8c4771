"""The host end of the UART bridge."""
