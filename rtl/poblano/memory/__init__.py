"""Local memories of a tile, and the units that move data between them and memory."""
