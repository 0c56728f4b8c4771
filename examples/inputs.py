"""Writes the inputs of the programs beside it, and the results that they should give: ``python
examples/inputs.py FOLDER``."""

from pathlib import Path
import sys

import numpy as np

__all__ = ["write"]

COLS = 4
"""Columns of the array that examples/matmul.asm is for."""


def write(folder):
    """Write the files."""
    folder, generator = Path(folder), np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    save = lambda name, array: np.save(folder / f"{name}.npy", array)
    a = np.arange(64, dtype=np.float32)
    b = np.full(64, 0.5, np.float32)
    save("vector_a", a)
    save("vector_b", b)
    save("vector_sum", a + b)
    # Integers from -127 to 127, with a 127 in each row: they are their own INT8 blocks, with scale 1.
    a = generator.integers(-127, 128, (4, 32)).astype(np.float32)
    a[:, 0] = 127
    b = generator.integers(-127, 128, (32, 8)).astype(np.int8)
    save("matrix_a", a)
    # As the stream wants it: a group of columns after the other, in each of them a row after the other.
    save("weights", np.ascontiguousarray(b.reshape(32, -1, COLS).swapaxes(0, 1)))
    save("product", a @ b.astype(np.float32))


if __name__ == "__main__":
    write(sys.argv[1])
