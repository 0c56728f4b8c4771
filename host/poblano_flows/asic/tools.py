"""The standard-cell library and OpenSTA: installed, or out of their Debian packages in the cache."""

from dataclasses import dataclass
import os
from pathlib import Path
import shutil
import subprocess
import tempfile

from poblano.config import ConfigError
from poblano_host.cache import cache_folder

__all__ = ["AsicError", "LIBRARIES", "library_file", "sta_program"]


class AsicError(RuntimeError):
    """The flow can't run here, or one of its tools failed; the message says why."""


@dataclass(frozen=True)
class LibraryPackage:
    """A Liberty file of a Debian package."""

    package: str
    path: str
    title: str


LIBRARIES = {
    "osu018": LibraryPackage(
        "qflow-tech-osu018",
        "usr/share/qflow/tech/osu018/osu018_stdcells.lib",
        "OSU 0.18 um (TSMC 180 nm), qflow-tech-osu018",
    )
}


def library_file(name="osu018"):
    """The path of the Liberty file of the library ``name``."""
    if name not in LIBRARIES:
        raise ConfigError(f"unknown library {name!r}; the libraries are {', '.join(LIBRARIES)}")
    known = LIBRARIES[name]
    return _installed(known.path) or _fetched(known.package, known.path)


def sta_program():
    """The path of OpenSTA's program."""
    found = shutil.which("sta")
    program = Path(found) if found else _installed("usr/bin/sta") or _fetched("opensta", "usr/bin/sta")
    try:
        result = subprocess.run(
            [program, "-version"], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise AsicError(f"OpenSTA does not start: {error}: apt-get install opensta") from None
    if result.returncode:
        raise AsicError(
            "OpenSTA does not start: "
            + (result.stderr.strip().splitlines() or ["?"])[-1]
            + ": apt-get install opensta"
        )
    return program


def _installed(path):
    found = Path("/", path)
    return found if found.exists() else None


def _fetched(package, path):
    """A file of a Debian package that is unpacked, not installed; fetched once."""
    folder = cache_folder() / package
    if (folder / path).exists():
        return folder / path
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise AsicError(
                f"the Debian package {package} is not installed, and can't be fetched without {tool}"
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{package}-") as temporary:
        result = subprocess.run(
            ["apt-get", "-q", "download", package], cwd=temporary, capture_output=True, text=True
        )
        archives = list(Path(temporary).glob("*.deb"))
        if result.returncode or not archives:
            reason = (
                [line for line in result.stderr.splitlines() if line.startswith("E:")] or ["E: nothing came"]
            )[0][3:]
            raise AsicError(
                f"the Debian package {package} is not installed, and can't be fetched ({reason}): apt-get "
                "update && "
                f"apt-get install {package}"
            )
        unpacked = Path(temporary, "unpacked")
        result = subprocess.run(["dpkg-deb", "-x", archives[0], unpacked], capture_output=True, text=True)
        if result.returncode or not (unpacked / path).exists():
            raise AsicError(f"the Debian package {package} has no {path}")
        try:
            os.rename(unpacked, folder)
        except OSError:
            if not (folder / path).exists():  # not another process that was faster
                raise
    return folder / path
