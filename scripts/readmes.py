"""Writes the README.md of every folder of ``rtl/poblano`` and ``tb``: ``python scripts/readmes.py``.

Each has a table of the folder's public classes and functions (of a module that lists none, the module):
what they are, from the first sentence of the docstring; their latency, from the class' ``LATENCY`` or from
the sentence "Latency: .." of the docstring; the test files that use them, themselves or by way of a bench,
or else what uses them; the proofs that use them and mutate their source.
"""

import ast
import importlib
import inspect
import re
import sys

from uses import BASES, ROOT, Uses, modules

sys.path[:0] = [str(ROOT), *map(str, BASES.values())]

COMMAND = "python scripts/readmes.py"
TABLE = ("Name", "Description", "Latency", "Tests", "Proofs")
NONE = "none"
MISSING = "not stated"
"""In a cell whose docstring is missing, or states no latency."""
SHOWN = 3
"""Most names in a cell."""


def sentence(text):
    """The first sentence of ``text`` (reStructuredText) in Markdown, for a table's cell."""
    text = re.sub(r"\s+", " ", text.strip().split("\n\n")[0])
    text = re.split(r"(?<=[^.]\.) (?=[A-Z`:])", text)[0].removesuffix(".")
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`").replace("|", "\\|")


def latency(docstring, kind):
    """The cell of what has ``docstring``; ``kind`` is a component's class, else None."""
    said = re.search(r"\bLatency: (.*?)(?:\n\s*\n|\Z)", docstring, re.DOTALL)
    if said:
        return sentence(said[1])
    constant = getattr(kind, "LATENCY", None)
    if isinstance(constant, int):
        return f"{constant} cycle{'s' * (constant != 1)}"
    if re.search(r"\bcombinational\b(?!\s+loop)", docstring, re.IGNORECASE):
        return "combinational"
    return NONE if kind is None else MISSING


def component(module, name):
    """The class ``name`` of the hardware module ``module`` if it is a component, else None."""
    from amaranth.lib import wiring

    found = getattr(importlib.import_module(module), name)
    return found if inspect.isclass(found) and issubclass(found, wiring.Component) else None


class Tables:
    """The tables of all folders."""

    def __init__(self):
        self.modules = modules()
        self.uses = Uses(self.modules)
        place = lambda name: name.partition(".")[0]
        helpers = lambda name: place(name) in ("tb", "tests")
        files = [name for name in self.modules if place(name) == "tests" and ".test_" in name]
        self._tests = {name: self.uses.reach((name, None), helpers) for name in files}
        self._proofs = {
            module.path.stem: self._proven(module)
            for module in self.modules.values()
            if place(module.name) == "formal" and "PROPERTIES" in module.definitions
        }

    def _proven(self, proof):
        """What the module ``proof`` proves: all that it uses in the sources that it mutates, which strings
        name."""
        strings = {node.value for node in ast.walk(proof.tree) if isinstance(node, ast.Constant)}
        mutated = lambda name: name in strings
        return {used for used in self.uses.reach((proof.name, None), mutated) if mutated(used[0])}

    def folders(self):
        """The packages that have a README.md."""
        return [
            module
            for module in self.modules.values()
            if module.path.name == "__init__.py" and module.name.split(".")[0] in ("poblano", "tb")
        ]

    def document(self, package):
        """The text of ``package``'s README.md."""
        below = [m for m in self.folders() if m.name.rpartition(".")[0] == package.name]
        parts = [f"# {package.name}", self._description(package) + "."]
        if below:
            names = [m.path.parent.name for m in below]
            rows = [(f"[`{n}/`]({n}/README.md)", self._description(m)) for n, m in zip(names, below)]
            parts.append(_markdown(("Folder", "Description"), rows))
        rows = [
            row
            for module in self.modules.values()
            if module.package == package.name and module is not package
            for row in self._rows(module)
        ]
        if rows:
            parts.append(_markdown(TABLE, rows))
        parts.append(f"This file is written by `{COMMAND}`.")
        return "\n\n".join(parts) + "\n"

    def _description(self, module):
        return sentence(_docstring(module.tree))

    def _rows(self, module):
        public = [
            name
            for name in module.public
            if isinstance(module.definitions.get(name), (ast.ClassDef, ast.FunctionDef))
        ]
        for name in public:
            docstring = _docstring(module.definitions[name])
            hardware = module.name.startswith("poblano.")
            cell = latency(docstring, component(module.name, name)) if hardware else NONE
            yield (
                f"`{name}` (`{module.path.name}`)",
                sentence(docstring),
                cell,
                self._tests_of(module.name, name),
                NONE if cell == NONE else self._proofs_of((module.name, name)),
            )
        if not public:
            tests = self._tests_of(module.name, None)
            yield f"`{module.path.name}`", self._description(module), NONE, tests, NONE

    def _direct(self, definition):
        """Test files that use ``definition`` (also by way of a bench), the nearest by name first."""
        module, name = definition
        found = [
            test
            for test, used in self._tests.items()
            if definition in used or name is None and any(m == module for m, _ in used)
        ]
        words = module.split(".")[1:]
        return sorted(found, key=lambda test: (-sum(word in test for word in words), test))

    def _tests_of(self, module, name):
        definitions, seen = {(module, name)}, set()
        while definitions:
            if tests := {d: found for d in definitions if (found := self._direct(d))}:
                if (module, name) in tests:
                    return _names([self._path(test) for test in tests[module, name]])
                return "through " + _names(sorted({user for _, user in tests if user}))
            seen |= definitions
            definitions = {user for d in definitions for user in self.uses.users(d) if user[1]} - seen
        return NONE

    def _path(self, module):
        return str(self.modules[module].path.relative_to(ROOT))

    def _proofs_of(self, definition):
        return _names([proof for proof, used in self._proofs.items() if definition in used]) or NONE


def _docstring(node):
    return ast.get_docstring(node) or MISSING


def _names(names):
    shown = ", ".join(f"`{name}`" for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown


def _markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def stale():
    """The text of each README.md that has another one, or is missing, by path."""
    tables = Tables()
    texts = {package.path.with_name("README.md"): tables.document(package) for package in tables.folders()}
    return {path: text for path, text in texts.items() if not path.exists() or path.read_text() != text}


if __name__ == "__main__":
    for path, text in stale().items():
        path.write_text(text)
        print(path.relative_to(ROOT))
