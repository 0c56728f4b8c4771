"""The golden model of the chip."""
