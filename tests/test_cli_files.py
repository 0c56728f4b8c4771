"""Files that commands read and write: damaged ones are refused in one line, and none is left in part."""

import json
from pathlib import Path
import resource

import numpy as np
import pytest

from poblano_host.cache import keep
from poblano_host.sim import build
from poblano_host.sim.build import is_whole
from tests.test_cli import fails


@pytest.fixture
def arrays(tmp_path):
    paths = [tmp_path / f"{name}.npy" for name in "ab"]
    for path, shape in zip(paths, ((5, 40), (40, 7))):
        np.save(path, np.ones(shape))
    return paths


def npy(header, data=b""):
    return b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header.encode() + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        b"PK\x05\x06" + bytes(18),
        b"\x93NUMPY",
        b"\x93NUMPY\x09\0" + bytes(20),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (5, 40)"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (5, 40), }"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 40), }"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-5, 40), }", bytes(1600)),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': 'x', }", bytes(1600)),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (5, 40), }", bytes(1600)),
        npy("{'descr': [('a', 3)], 'fortran_order': False, 'shape': (5, 40), }", bytes(1600)),
        npy("(" * 3000),
        npy("[" * 100 + "1" + "]" * 100),
        npy("\0" * 50),
        npy("'" + "\\" * 51),
    ],
)
def test_damaged_npy(poblano, arrays, content):
    arrays[0].write_bytes(content)
    fails(poblano("matmul", *arrays, "--golden"), "a.npy: not a (real array in a )?.npy file")


def test_operands(poblano, arrays, tmp_path):
    np.save(arrays[0], np.full((5, 40), np.nan))
    fails(poblano("matmul", *arrays, "--golden"), "A has NaN; a matrix product needs finite numbers$")
    np.save(arrays[0], np.full((5, 40), 1e25))
    np.save(arrays[1], np.full((40, 7), 1e25))
    fails(poblano("matmul", *arrays, "--golden"), "the product has elements that FP32 does not hold$")


def test_integers(poblano, arrays, tmp_path):
    generator = np.random.default_rng(5)
    a, b = generator.integers(-1000, 1000, (5, 40)), generator.integers(-9, 9, (40, 7)).astype(np.int8)
    np.save(arrays[0], a)
    np.save(arrays[1], b)
    figures, output = tmp_path / "figures.json", tmp_path / "c.npy"
    status, out, _ = poblano("matmul", *arrays, "--golden", "-o", output, "--json", figures)
    assert status == 0 and "(5, 40) times (40, 7) in integers on desk" in out
    assert np.load(output).dtype == np.int64
    np.testing.assert_array_equal(np.load(output), a @ b.astype(int))
    assert json.loads(figures.read_text())["format"] == "integers"
    assert poblano("matmul", *arrays, "--golden", "-o", output, "--format", "q8_0")[0] == 0
    assert np.load(output).dtype == np.float32


def test_quantised_weights_are_told(poblano, tmp_path):
    """What became of the file's matrices is printed, and stands among the figures."""
    figures = tmp_path / "figures.json"
    run = ("run", "--backend", "golden", "--tokens", 1, "--json", figures)
    status, out, _ = poblano(*run)
    assert status == 0 and "29 matrices of F16 are quantised to q8_0" in out.splitlines()
    expected = dict(stored="F16", held="q8_0", rule="quantised", count=29)
    assert json.loads(figures.read_text())["weights"] == [expected]
    status, out, _ = poblano(*run, "--weights", "q4_1")
    assert status == 0 and "29 matrices of F16 are quantised to q4_1" in out.splitlines()


def test_too_little_memory(poblano, arrays, monkeypatch):
    def refuse(*arguments, **options):
        raise MemoryError("Unable to allocate 3 GiB")

    monkeypatch.setattr("poblano_cli.matmul.open_backend", refuse)
    fails(poblano("matmul", *arrays, "--golden"), "not enough memory: Unable to allocate 3 GiB$")


def test_a_folder_for_a_file(poblano, arrays, tmp_path):
    """It is refused before there is a product."""
    output = tmp_path / "c.npy"
    for option in ("--json", "--trace"):
        fails(poblano("matmul", *arrays, "-o", output, option, tmp_path), "it is a folder, not a file$")
    assert not output.exists()


def test_full_disk(poblano, arrays, tmp_path):
    """Nothing is left of a file that can't be written whole, and what was there stays."""
    output = tmp_path / "c.npy"
    output.write_bytes(b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
    try:
        result = poblano("matmul", *arrays, "--golden", "-o", output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    fails(result, "c.npy: File too large$")
    assert output.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "b.npy", "c.npy"]


def test_keep(tmp_path):
    """Links stay links, and what is no file is written as it is."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    keep(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_bytes() == b"content"
    keep(tmp_path / "folder" / "file", b"x")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]
    keep(Path("/dev/null"), b"x")
    assert Path("/dev/null").is_char_device()


def test_a_library_that_was_cut(tmp_path, monkeypatch):
    """It is built again; loading it would be a bus error."""
    monkeypatch.setenv("POBLANO_CACHE", str(tmp_path))
    source = {"x.cpp": 'extern "C" int three() { return 3; }\n'}
    library = build.build_program("three", source)
    whole = library.read_bytes()
    assert is_whole(library) and not is_whole(tmp_path / "none.so")
    for size in (0, 3, 64, len(whole) // 2, len(whole) - 1):
        library.write_bytes(whole[:size])
        assert not is_whole(library)
    assert build.build_program("three", source) == library and is_whole(library)
