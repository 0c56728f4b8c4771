"""Arrays in files."""

import io
from pathlib import Path
import warnings

import numpy as np

from poblano.config import ConfigError
from poblano_host.cache import keep

__all__ = ["load_array", "save_array"]


def load_array(path):
    """The array of numbers in a .npy file; ConfigError for another file."""
    with open(path, "rb") as file:
        if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
            raise ConfigError(f"{path}: not a .npy file: it does not begin as one")
    try:
        with warnings.catch_warnings(action="ignore"):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a damaged header is evaluated: it raises whatever Python does
        raise ConfigError(f"{path}: not a .npy file: {_first_line(error)}") from None
    if array.dtype.kind not in "fiu":
        raise ConfigError(f"{path}: not a real array in a .npy file")
    return np.array(array)


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0]


def save_array(path, array):
    """Write an array to a .npy file."""
    data = io.BytesIO()
    np.save(data, array)
    keep(Path(path), data.getvalue())
