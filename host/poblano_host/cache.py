"""Files that are made once and kept: Verilog, simulators, netlists, reports of tools."""

import hashlib
import os
from pathlib import Path

__all__ = ["cache_folder", "digest", "keep"]


def cache_folder():
    """The folder of what is kept: ``POBLANO_CACHE``, else ``~/.cache/poblano``."""
    return Path(os.environ.get("POBLANO_CACHE") or Path.home() / ".cache" / "poblano")


def digest(*texts):
    """16 hexadecimal digits that stand for ``texts``, for the name of a file that is made from them."""
    state = hashlib.sha256()
    for text in texts:
        state.update(text.encode())
        state.update(b"\0")
    return state.hexdigest()[:16]


def keep(path, content):
    """Write the bytes ``content`` to ``path`` at once: another process, or who comes after a disk was full,
    sees all of the file or none. What is no file, as a pipe, is written as it is."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        error.filename = str(path)
        raise
