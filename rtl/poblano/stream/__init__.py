"""Parts that streams are made of: FIFOs, arbiters, delays, loops."""
