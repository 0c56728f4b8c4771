"""What is wrong with a document: spelling, links, fences, and commands that could not be typed.

Nothing is run that a document shows. ``poblano`` and the scripts are asked for their parsers, make for what
it would run. In the text a word in capitals stands for a value, and what a command requires may be left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from importlib.util import find_spec
from pathlib import Path
import re
import shlex
import subprocess
import sys

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.document_commands import Complaint, Shown, check_command
from tests.story import ROOT

__all__ = ["anchors", "complaints", "documents", "misspelt"]

NOT_A_LANGUAGE = {"": "no language", **dict.fromkeys(("bash", "shell", "console", "zsh"), "sh is the word")}
"""Of fences: commands must not hide from the tests under another word."""
FOLDERS = "docs|examples|formal|fpga|host|rtl|scripts|tb|tests"
FILE = re.compile(rf"(?:{FOLDERS})/[\w./+-]*\w/?")
"""A path of the repository, as inline code."""


@dataclass(frozen=True)
class Document:
    """A parsed document, its path from the root."""

    path: str
    tokens: tuple[Token, ...]

    @classmethod
    def read(cls, path: str, root: Path = ROOT) -> Document:
        return cls(path, tuple(MarkdownIt().enable("table").parse((root / path).read_text())))

    def inline(self, kind: str) -> Iterator[tuple[int, Token]]:
        """The tokens of a kind within paragraphs, with their paragraph's line."""
        for token in self.tokens:
            for child in token.children or ():
                if child.type == kind:
                    yield (token.map or [0])[0] + 1, child


def documents() -> list[str]:
    """All Markdown of the repository, as paths from the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted({name for name in names.splitlines() if (ROOT / name).is_file()})


def misspelt(*arguments: str | Path) -> str:
    """What codespell finds, with the settings of pyproject.toml."""
    program = [sys.executable, "-m", "codespell_lib", *map(str, arguments)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 65), done.stderr
    return done.stdout


def complaints(path: str, root: Path = ROOT) -> list[str]:
    """All that is wrong with the links, fences and commands of one document, each with its line."""
    document = Document.read(path, root)
    found = [*_links(document, root), *_fences(document), *_files(document), *_inline_commands(document)]
    return [f"{path}:{line}: {text}" for line, text in found]


def anchors(path: str, root: Path = ROOT) -> set[str]:
    """What a link into a document can name: its headings by GitHub's rule, and ids of its HTML."""
    document, found = Document.read(path, root), set()
    for before, token in zip(document.tokens, document.tokens[1:]):
        if before.type == "heading_open":
            text = "".join(
                child.content for child in token.children or () if child.type in ("text", "code_inline")
            )
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            new = (f"{slug}-{n}" if n else slug for n in range(len(found) + 1))
            found.add(next(name for name in new if name not in found))
    html = [token for token in document.tokens if token.type == "html_block"]
    html += [token for _, token in document.inline("html_inline")]
    return found.union(*(re.findall(r'(?:id|name)="([^"]+)"', token.content) for token in html))


def _links(document: Document, root: Path) -> Iterator[tuple[int, str]]:
    targets = [(line, str(token.attrGet("href"))) for line, token in document.inline("link_open")]
    targets += [(line, str(token.attrGet("src"))) for line, token in document.inline("image")]
    for line, token in [
        *(((token.map or [0])[0] + 1, token) for token in document.tokens if token.type == "html_block"),
        *document.inline("html_inline"),
    ]:
        targets += [(line, unescape(t)) for t in re.findall(r'(?:href|src)="([^"]+)"', token.content)]
    for line, target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (root / document.path).parent / name if name else root / document.path
        if not file.exists():
            yield line, f"the link {target!r} leads nowhere"
        elif anchor and anchor not in anchors(str(file.resolve().relative_to(root.resolve())), root):
            yield line, f"the link {target!r}: {file.name} has no such heading"


def _fences(document: Document) -> Iterator[tuple[int, str]]:
    for token in document.tokens:
        line = (token.map or [0])[0] + 1
        if token.type == "code_block":
            yield line, "an indented block; a fence says its language"
        if token.type != "fence":
            continue
        if wrong := NOT_A_LANGUAGE.get(token.info.strip()):
            yield line, f"a fence of {token.info.strip()!r}: {wrong}"
        if token.info.strip() == "python":
            yield from ((line + n, text) for n, text in _python(token.content))
        if token.info.strip() == "sh":
            for n, command in shell_lines(token.content):
                yield from _checked(line + n, Shown(command, in_text=False))


def shell_lines(text: str) -> Iterator[tuple[int, str]]:
    """The commands of a block, each with the number of its line from 1: a line that ends in a backslash, or
    within quotes, goes on."""
    whole, first = "", 1
    for n, line in enumerate(text.splitlines(), 1):
        first = first if whole else n
        whole += line
        if whole.endswith("\\"):
            whole = whole[:-1] + " "
        elif in_quotes(whole):
            whole += "\n"
        else:
            yield first, whole
            whole = ""
    if whole:
        yield first, whole


def in_quotes(text: str) -> bool:
    """Whether a quotation is open at the end."""
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return True
    return False


def _python(text: str) -> Iterator[tuple[int, str]]:
    """A program has to compile, and what it imports has to be there."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        yield error.lineno or 1, f"no Python: {error.msg}"
        return
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
        for name in names:
            if not _module_exists(name):
                yield node.lineno, f"there is no module {name}"


def _module_exists(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _files(document: Document) -> Iterator[tuple[int, str]]:
    """Paths of the repository in the text."""
    for line, token in document.inline("code_inline"):
        script = token.content.startswith("scripts/")  # a command
        if FILE.fullmatch(token.content) and not script and not (ROOT / token.content).exists():
            yield line, f"there is no {token.content}"


def _inline_commands(document: Document) -> Iterator[tuple[int, str]]:
    for line, token in document.inline("code_inline"):
        yield from _checked(line, Shown(token.content, in_text=True))


def _checked(line: int, shown: Shown) -> Iterator[tuple[int, str]]:
    try:
        check_command(shown)
    except Complaint as complaint:
        yield line, f"`{shown.text.strip()}`: {complaint}"
