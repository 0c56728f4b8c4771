"""Sizes of functions, files and lines, which keep each readable at a glance."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("rtl", "host", "fpga", "formal", "tb", "scripts", "tests")
FUNCTION, FILE, COLUMNS = 80, 450, 110
"""The most lines of a function (with its decorators, docstring and inner functions) and of a file; the most
columns of a line."""


def functions(text):
    """(name, lines) of each function."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield node.name, node.end_lineno - first + 1


def too_large(text, path):
    """{what: a line about it} of a file's text."""
    found = {}
    lines = text.splitlines()
    if len(lines) > FILE:
        found[path] = f"{path} has {len(lines)} lines, more than {FILE}"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            found[f"{path}:{number}"] = f"{path}:{number} has {len(line)} columns, more than {COLUMNS}"
    for name, length in functions(text):
        if length > FUNCTION:
            found[f"{path}:{name}"] = f"{path}: {name} has {length} lines, more than {FUNCTION}"
    return found


def test_sizes():
    found = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            found |= too_large(path.read_text(), str(path.relative_to(ROOT)))
    assert not found, "\n".join(found.values())


@pytest.mark.parametrize(
    "text, found",
    [
        ("x = 1\n" * FILE + "y" * COLUMNS, ["f.py"]),
        ("x = 1\n" * (FILE - 1) + "y" * COLUMNS, []),
        ("y" * (COLUMNS + 1), ["f.py:1"]),
        ("def f():\n" + "    x = 1\n" * (FUNCTION - 1), []),
        ("@g\ndef f():\n" + "    x = 1\n" * (FUNCTION - 1), ["f.py:f"]),
        ("class C:\n    async def f(self):\n" + "        x = 1\n" * FUNCTION, ["f.py:f"]),
    ],
)
def test_finds(text, found):
    assert list(too_large(text, "f.py")) == found
