"""Programs that people write: orders of execution, programs that never end, the command's own errors."""

import json

import numpy as np
import pytest

from examples import inputs
from tests.test_cli import fails

NANO = "--preset", "nano"
EXAMPLES = inputs.Path(inputs.__file__).parent
PROGRAMS = {
    "hello": ([], "0x2000:32", np.frombuffer(b"Hell" * 8, "<f4")),
    "vector_add": (["0x1000=vector_a.npy", "0x1100=vector_b.npy"], "0x2000:256", "vector_sum"),
    "matmul": (["0x1000=matrix_a.npy", "0x2000=weights.npy"], "0x3000:128", "product"),
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    inputs.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(name):
    loads, dump, _ = PROGRAMS[name]
    return [*NANO, *(part for load in loads for part in ("--load", load)), "--dump", f"{dump}=out.npy"]


@pytest.mark.parametrize("backend", ["golden", "sim"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_examples(poblano, files, name, backend):
    status, out, error = poblano("exec", EXAMPLES / f"{name}.asm", *options(name), "--backend", backend)
    expected = PROGRAMS[name][2]
    expected = np.load(f"{expected}.npy").ravel() if isinstance(expected, str) else expected
    assert status == 0 and "missing wait" not in error
    assert np.load("out.npy").tobytes() == expected.tobytes()
    assert ("20 other orders" in out) == (backend == "golden") and ("cycles" in out) == (backend == "sim")


def test_forgotten_waits(poblano, files):
    """Whichever wait of the examples is left out, it is named, and golden's orders differ."""
    for name in ("vector_add", "matmul"):
        lines = (EXAMPLES / f"{name}.asm").read_text().splitlines()
        waiting = [n for n, line in enumerate(lines) if " wait " in line and not line.startswith(";")]
        assert len(waiting) >= 2
        for n in waiting:
            line, _, wait = lines[n].partition(" wait ")
            (files / "p.asm").write_text("\n".join([*lines[:n], line, *lines[n + 1 :]]))
            status, _, error = poblano("exec", "p.asm", *options(name), "--backend", "golden")
            assert status == 1 and "the result depends on the order of execution: 0x" in error
            assert f"missing wait: line {n + 1} (" in error
            assert f"this would be: wait {wait.partition(' ;')[0]}" in error
            assert f"missing wait: line {n + 1} (" in poblano("asm", "p.asm", *NANO, "-o", "p.bin")[2]


@pytest.mark.parametrize("backend", ["golden", "sim"])
def test_never_ends(poblano, files, backend):
    adds = (EXAMPLES / "vector_add.asm").read_text()
    product = (EXAMPLES / "matmul.asm").read_text()
    for text, message in (
        (
            adds.replace("wait dma>=2", "wait dma>=4"),
            "tile0.vector stands at line 13 (tile0.vector VECTOR), which waits for dma>=4 (dma has 3 "
            "commands, no more)\n  dma stands at line 16 (dma STORE), which waits for tile0.vector>=1 "
            "(tile0.vector has 1 command, completed 0)\n",
        ),
        (
            product.replace("row_bytes=256", "row_bytes=128"),
            "tile0.matmul stands at line 21 (tile0.matmul MATMUL), which waits for 256 bytes of weights; "
            "tile0.stream's commands bring 128\n",
        ),
        (
            "tile0.stream STREAM mem_addr=0 rows=1 row_bytes=1536\n",
            "tile0.stream stands at line 1 (tile0.stream STREAM), which waits for room in the weight FIFO; "
            "tile0.matmul's commands take 1536 bytes less than are brought\n",
        ),
    ):
        (files / "p.asm").write_text(text)
        status, _, error = poblano("exec", "p.asm", *NANO, "--backend", backend)
        assert status == 3 and f"poblano: the program never ends: {message}" in error


@pytest.mark.parametrize("backend", ["golden", pytest.param("sim", marks=pytest.mark.slow)])
def test_lengths(poblano, files, backend):
    """Weights that do not end where their product does, and weights that nothing takes."""
    product = (EXAMPLES / "matmul.asm").read_text()
    for text, message in (
        (
            product.replace("row_bytes=256", "row_bytes=264"),
            "chip error LENGTH (weight stream and matrix product differ in length) at command 3 (tile0.",
        ),
        (
            product + "tile0.stream STREAM mem_addr=0 rows=1 row_bytes=64\n",
            "the program leaves 64 bytes of weights: tile0.stream's commands bring more than tile0.matmul's",
        ),
    ):
        (files / "p.asm").write_text(text)
        status, _, error = poblano("exec", "p.asm", *NANO, "--backend", backend)
        assert status == 3 and f"poblano: {message}" in error, error


def test_dumps(poblano, files):
    (files / "p.asm").write_text("dma STORE_WORD mem_addr=0 mem_stride=4 rows=5 value=0xc0a00000\n")
    run = lambda *more: poblano("exec", "p.asm", *NANO, "--backend", "golden", *more)
    lines = run("--dump", "0:20", "--dump", "0:4:u8", "--dump", "0x10:4:i32")[1].splitlines()[1:5]
    assert [line.split() for line in lines] == [
        ["0x00000000", *["0000a0c0"] * 4, *["-5.0"] * 4],
        ["0x00000010", "0000a0c0", "-5.0"],
        ["0x00000000", "0000a0c0", "0", "0", "160", "192"],
        ["0x00000010", "0000a0c0", str(0xC0A00000 - (1 << 32))],
    ]
    assert run("--dump", "4:8=x.bin")[0] == 0 and (files / "x.bin").read_bytes() == b"\0\0\xa0\xc0" * 2
    fails(
        run("--dump", "4"), "--dump is ADDR:N, ADDR:N:TYPE or either with =FILE, as 0x1000:64:f32, not '4'$"
    )
    fails(run("--dump", "4:6"), "--dump: 6 bytes are no whole number of f32, of 4 bytes each$")
    fails(run("--dump", "4:4:f16"), "--dump: unknown type 'f16'; there are f32, i32, i8, u8$")
    fails(run("--dump", "-4:4"), "--dump: the address '-4' is not a number, as 4096 or 0x1000$")
    fails(run("--load", "4"), "--load is ADDR=FILE, as 0x1000=a.npy, not '4'$")
    fails(run("--load", "a=b"), "--load: the address 'a' is not a number")
    fails(run("--load", "0=none.npy"), "none.npy: No such file or directory$")
    fails(
        run("--load", f"{1 << 32}=x.bin"), r"the program needs 429\d+ bytes of memory, its commands included"
    )
    fails(run("--trace", "t.json"), "the golden model has no cycles: --trace and --check need --backend sim$")
    fails(
        poblano("exec", "p.asm", *NANO, "--backend", "chip"), "unknown backend 'chip'; there are sim, golden$"
    )
    (files / "p.asm").write_text("\ndma STORE_WORD mem_addr=2 rows=1\n")
    fails(run(), r"p.asm: line 2: nano refuses it \(ALIGNMENT\): mem_addr 2 is not a multiple of 4$")
    fails(poblano("asm", "p.asm", *NANO, "-o", "p.bin"), r"p.asm: line 2: nano refuses it")
    assert poblano("asm", "p.asm", "-o", "p.bin")[0] == 0


def test_check(poblano, files, monkeypatch):
    """The RTL beside the golden model: the same, or what differs."""
    run = lambda name: poblano("exec", EXAMPLES / f"{name}.asm", *options("vector_add"), "--check")
    status, out, _ = run("vector_add")
    assert status == 0 and "bit-exact: the golden model agrees" in out
    status, _, error = run("forgotten_wait")
    assert status == 1 and error.startswith(
        "poblano: 0x2000 holds 00 00 00 3f 00 00 c0 3f on the golden model, and 00 00 00 00 00 00 80 3f on "
        "the RTL\n  missing wait: line 7 (tile0.vector VECTOR) reads lines 0 to 7"
    )


def test_trace(poblano, files):
    program = EXAMPLES / "hello.asm"
    status, _, error = poblano("exec", program, *NANO, "--trace", "t.json")
    assert status == 0 and "wrote t.json" in error and "a microsecond is a cycle" in error
    names = [event["name"] for event in json.loads((files / "t.json").read_text())["traceEvents"]]
    assert {"hello.asm", "hello", "LOAD", "STORE"} <= set(names)


def test_help(poblano):
    """What `asm --help` prints: the form of a line, an example, every opcode."""
    out = poblano("asm", "--help")[1]
    assert "unit OPCODE operand=value .. wait unit>=count, .. ; label" in out
    assert "wait tile0.vector>=1 ; 32 numbers, doubled" in out and "dma STORE_WORD mem_addr=N" in out
