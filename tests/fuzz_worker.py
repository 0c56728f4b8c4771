"""A process that gives damaged files to what reads them, with bounds on time and memory; see
``tests/test_fuzz.py``.

``python -m tests.fuzz_worker FOLDER FIRST END`` makes the cases FIRST to END - 1 out of the valid files in
FOLDER. It prints a case's number before it begins, and a line for each that does not end as it should. A
case is a number: the same number is the same file.
"""

import contextlib
import io
import json
from pathlib import Path
import resource
import shutil
import sys
import warnings

import numpy as np

from poblano.config import preset
from poblano_cli import main as cli
from poblano_cli.failures import REFUSED
from poblano_host.compiler import CompiledModel, CompileError
from poblano_host.models import load_model, quantise_model
from poblano_host.models.gguf import export_gguf
from poblano_host.models.tokenizer import Tokenizer
from tests.fuzz_mutations import damaged_bytes, damaged_gguf, damaged_json, damaged_text
from tests.gguf_blocks import KINDS
from tests.models_files import save_directory, tiny_tokenizer
from tests.models_tiny import tiny_model
from tests.test_models_gguf_types import write

__all__ = ["write_seeds"]

SECONDS, BYTES = 10, 1 << 30
"""What one case may use of the processor's time, and of memory beyond what the process has at its start."""
INDEX = "model.safetensors.index.json"
BESIDE = {
    "tokenizer_config.json": {
        "add_bos_token": False,
        "bos_token": "<|endoftext|>",
        "eos_token": {"content": "<|im_end|>"},
        "chat_template": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
    },
    "generation_config.json": {"eos_token_id": [397, 399], "temperature": 0.5},
}
"""Files that may lie beside a model's own."""
PROGRAM = """\
dma LOAD mem_addr=0x1000 mem_stride=64 rows=2 lines=2 dst=0 dst_stride=2 tiles=1 ; first
tile0.vector VECTOR a=16 rows=1 blocks=2 limit=65535 imm1=0.125 tiles=0b1 wait dma>=1
tile0.stream STREAM mem_addr=4096 row_bytes=640 rows=1
tile0.matmul MATMUL a=0 a_stride=4 rows=2 k_blocks=4 groups=1 tiles=1 wait tile0.vector>=1, tile0.stream>=1
"""


OPTIONS = {
    "--format": ("", "q8_0", "q4_0", "q4_1", "q5_k", "mxint8", "mxfp4_e2m1", "Q8_0", "\x00"),
    "--activations": ("", "int8", "int4", "mxfp8_e4m3", "mxfp4_e2m1", "None", "q8_0"),
    "--formats": (
        "",
        ",",
        "int8",
        "int4",
        "int8,int4,mxfp4_e2m1",
        "int8,int8",
        "mxfp8_e5m2",
        "int8,",
        "x" * 999,
    ),
    "--preset": ("", "nano", "desk", "quad", "tile64", "DESK", "../desk", "desk\n"),
    "--tiles": ("-1", "0", "1", "3", "32", "33", "1000000000", str(1 << 64), "x", "1.5", ""),
    "--bandwidth": ("", "0", "-1", "1/0", "x", "5/2", "16", "1e-9", "nan", "inf", "1/3/5", "0x10"),
    "--latency": ("-1", "0", "1", "100", str(1 << 31), str(1 << 70), "x", "1e3"),
    "-o": ("", ".", "/", "/proc/x", "/dev/null", "/dev/full", "\x00"),
    "--json": ("", ".", "/dev/full", "none/x.json"),
    "--report": ("x.pdf", "", ".png"),
    "--trace": ("x.json", ""),
}


def write_seeds(folder):
    """The valid files that are damaged."""
    tokenizer = tiny_tokenizer()
    own = Tokenizer(tokenizer, "qwen2")
    small = dict(dim=32, heads=1, kv_heads=1, ffn_dim=32, layers=1, vocab=400, context=32, tokenizer=own)
    export_gguf(tiny_model(**small), folder / "llama.gguf")
    export_gguf(tiny_model(family="qwen2", **small), folder / "qwen2.gguf")
    wide = tiny_model(**small | dict(dim=256, heads=8, ffn_dim=256))
    for kind in KINDS[3:]:
        write(folder / f"{kind.name}.gguf", wide, kind)
    (folder / "plain.gguf").unlink()
    for name, several in (("one", False), ("several", True)):
        save_directory(tiny_model(**small), tokenizer, folder / name)
        if several:
            file = folder / name / "model.safetensors"
            names = [n for n in json.loads(_header(file.read_bytes())) if n != "__metadata__"]
            file = file.rename(file.with_name("a.safetensors"))
            index = {"weight_map": dict.fromkeys(names, file.name)}
            (folder / name / INDEX).write_text(json.dumps(index))
        for beside, content in BESIDE.items():
            (folder / name / beside).write_text(json.dumps(content))
    generator = np.random.default_rng(0)
    np.save(folder / "a.npy", generator.normal(size=(3, 40)))
    np.save(folder / "b.npy", generator.normal(size=(40, 4)).astype(np.float32))
    np.save(folder / "i.npy", generator.integers(-9, 9, (40, 4)))
    (folder / "program.txt").write_text(PROGRAM)
    status, _, error = command("asm", folder / "program.txt", "-o", folder / "program.bin")
    assert status == 0, error


def _header(data):
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


def command(*arguments):
    """The exit code and both outputs of the command line."""
    out, error, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["poblano", *map(str, arguments)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            cli.main()
            status = 0
        except SystemExit as left:
            status = left.code or 0
        finally:
            sys.argv = before
    return status, out.getvalue(), error.getvalue()


def model(path, generator):
    """Load a model and use it, as ``poblano run`` does; what is wrong with how that ended, or None."""
    try:
        loaded = load_model(str(path))
        ids = loaded.tokenizer.encode("And the king said 12 日本")
        text = loaded.tokenizer.stream()
        for id in ids:
            text.push(id)
        loaded.embed(ids[:4] or [0])
        if generator.random() < 0.3:
            CompiledModel(quantise_model(loaded, "q8_0"), preset("desk"), context=32)
    except REFUSED as error:
        unnamed = not isinstance(error, CompileError) and str(path) not in str(error)
        return f"not one line that names the file: {error}" if "\n" in str(error) or unnamed else None
    return None


def commanded(*arguments):
    """As :func:`model`, of a command."""
    status, _, error = command(*arguments)
    lines = error.splitlines()
    if status == 0 or (status == 2 and len(lines) == 1 and lines[0].startswith("poblano: ")):
        return None
    if status == 2 and lines and lines[0].startswith("Usage: ") and lines[-1].startswith("Error: "):
        return None  # an option that is no number, of the library that reads them
    return f"exit code {status}: {error!r}"


def case(number, seeds, folder):
    """Run a case; what is wrong with how it ended, or None."""
    generator = np.random.default_rng(number)
    kind = ("gguf", "gguf", "json", "json", "safetensors", "npy", "asm", "options")[number % 8]
    if kind == "gguf":
        names = sorted(path.name for path in seeds.glob("*.gguf"))
        name = str(generator.choice(names))
        path = folder / name
        path.write_bytes(damaged_gguf(seeds / name, generator))
        return model(path, generator)
    if kind in ("json", "safetensors"):
        name = str(generator.choice(("one", "several")))
        path = folder / name
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(seeds / name, path)
        if kind == "json":
            names = ["config.json", "tokenizer.json", *BESIDE, *[INDEX] * (name == "several")]
            file = path / str(generator.choice(names))
            file.write_bytes(damaged_json(file.read_text(), generator))
        else:
            (file,) = path.glob("*.safetensors")
            data = file.read_bytes()
            if generator.random() < 0.5:
                header = damaged_json(_header(data).decode(), generator)
                data = len(header).to_bytes(8, "little") + header + data[8 + len(_header(data)) :]
            else:
                data = damaged_bytes(data, generator, 3000)
            file.write_bytes(data)
        return model(path, generator)
    if kind == "options":
        chosen = generator.choice(sorted(OPTIONS), generator.integers(1, 5), replace=False)
        options = [part for name in chosen for part in (name, str(generator.choice(OPTIONS[name])))]
        return commanded("matmul", seeds / "a.npy", seeds / "b.npy", "--golden", *options)
    if kind == "npy":
        right = str(generator.choice(("b.npy", "i.npy")))
        path = folder / right
        path.write_bytes(damaged_bytes((seeds / right).read_bytes(), generator, 140))
        return commanded("matmul", seeds / "a.npy", path, "--golden", "-o", folder / "c.npy")
    if generator.random() < 0.7:
        path = folder / "program.txt"
        path.write_bytes(damaged_text((seeds / path.name).read_text(), generator))
        return commanded("asm", path, "-o", folder / "x.bin")
    path = folder / "program.bin"
    path.write_bytes(damaged_bytes((seeds / path.name).read_bytes(), generator, 256))
    return commanded("disasm", path)


def main(seeds, first, end):
    seeds = Path(seeds)
    folder = seeds / f"cases-{first}"
    folder.mkdir(exist_ok=True)
    warnings.simplefilter("error")  # a line more than the one
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    for number in range(int(first), int(end)):
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))
        print(number, flush=True)
        try:
            wrong = case(number, seeds, folder)
        except Exception as error:  # what should have been one line
            wrong = f"{type(error).__name__}: {str(error)[:300]!r}"
        if wrong is not None:
            print("wrong:", number, wrong, flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
