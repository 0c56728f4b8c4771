"""The copy of Verilator that is used: its own sources are compiled once."""

import subprocess

from poblano_host.sim.verilator import verilator_root


def test_objects_are_made_once(tmp_path):
    """By another command, by another compiler and of another's source they are made anew; an error is the
    compiler's, and leaves nothing."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "include").mkdir()
    cache, compiler = tmp_path / "bin" / "objcache", tmp_path / "compiler"
    cache.write_bytes((verilator_root() / "bin" / "objcache").read_bytes())
    library, own = tmp_path / "include" / "library.cpp", tmp_path / "own.cpp"
    library.touch()
    own.touch()

    def use(version):
        compiler.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo {version} && exit\n'
            'echo run >>calls\n[ "$1" = -bad ] && exit 3\necho "$1" >"$4"\n'
        )

    def compiled(option, source):
        """Exit code, the object, and how often the compiler has run."""
        command = ["sh", cache, "./compiler", option, "-c", "-o", "x.o", source]
        (tmp_path / "x.o").unlink(missing_ok=True)
        code = subprocess.run(command, cwd=tmp_path).returncode
        made = (tmp_path / "x.o").read_text().strip() if not code else None
        return code, made, (tmp_path / "calls").read_text().count("run")

    use(1)
    compiler.chmod(0o755)
    assert compiled("-bad", library) == (3, None, 1) and not (tmp_path / "objects").exists()
    assert compiled("-O1", library) == compiled("-O1", library) == (0, "-O1", 2)
    assert compiled("-O2", library) == (0, "-O2", 3) and compiled("-O1", library) == (0, "-O1", 3)
    use(2)
    assert compiled("-O1", library) == (0, "-O1", 4)
    assert compiled("-O1", own) == (0, "-O1", 5) and compiled("-O1", own) == (0, "-O1", 6)
