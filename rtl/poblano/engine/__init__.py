"""An array with memories and a small control, for FPGAs that are too small for a chip."""
