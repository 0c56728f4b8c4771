"""The commands that the documents show, typed as a reader types them.

In the documents a block that begins with ```sh holds commands for the repository's root, ```python holds a
program, and any other word (```text, ```diff, ```verilog) holds what is only to be read. A story under tests/
follows the blocks of a section.
"""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys

from markdown_it import MarkdownIt

__all__ = ["ROOT", "Block", "Clone", "blocks"]

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Block:
    """One fenced block of a document: its language, its text, and where it stands."""

    document: str
    heading: str
    line: int
    language: str
    text: str


def blocks(document: str, heading: str | None = None, language: str | None = None) -> list[Block]:
    """The fenced blocks of a document (a path from the root), of one section and language if named."""
    found, section, in_heading = [], "", False
    for token in MarkdownIt().parse((ROOT / document).read_text()):
        in_heading = token.type == "heading_open" or (in_heading and token.type != "heading_close")
        if in_heading and token.type == "inline":
            section = token.content
        if token.type == "fence":
            assert token.map is not None
            found.append(Block(document, section, token.map[0] + 1, token.info.strip(), token.content))
    chosen = [b for b in found if heading in (None, b.heading) and language in (None, b.language)]
    assert chosen, f"{document} has no block of {language or 'any language'} under {heading!r}"
    return chosen


class Clone:
    """A copy of the repository's files in a folder, with the virtual environment of the tests."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        for program in Path(sys.executable).parent.iterdir():
            (programs / program.name).symlink_to(program)
        for name in ("pyvenv.cfg", "lib"):  # by which its python finds the packages
            (folder / ".venv" / name).symlink_to(Path(sys.prefix) / name)
        for mark in (".run", ".test"):  # what make takes for an environment that is set up
            (folder / ".venv" / mark).touch()

    def sh(self, command: str, *, fails: bool = False, seconds: int = 900) -> str:
        """Runs a command in the root; what it printed. It has to succeed, or to fail if the story says so."""
        paths = os.pathsep.join(str(self.root / name) for name in ("rtl", "host", "fpga", "scripts", "."))
        programs = os.pathsep.join([str(self.root / ".venv" / "bin"), os.environ["PATH"]])
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COCOTB_"))}
        environment |= {"PATH": programs, "PYTHONPATH": paths, "COLUMNS": "120"}
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", command],
            cwd=self.root, env=environment, text=True, timeout=seconds,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, f"{command}\nexit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def follow(self, document: str, heading: str) -> str:
        """Runs every ```sh block of a section; what they printed."""
        return "".join(self.sh(block.text) for block in blocks(document, heading, "sh"))

    def change(self, file: str, old: str, new: str) -> None:
        """Replaces a text that stands once in a file, as someone with an editor would."""
        text = (self.root / file).read_text()
        assert text.count(old) == 1, f"{file} has {text.count(old)} times {old!r}"
        (self.root / file).write_text(text.replace(old, new))

    def python(self, block: Block) -> str:
        """Runs a ```python block as a program; what it printed."""
        program = self.root / re.sub(r"\W+", "_", f"{block.document}_{block.line}.py")
        program.write_text(block.text)
        return self.sh(f"python {program.name}")
