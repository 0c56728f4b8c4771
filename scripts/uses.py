"""Which definition of the project's Python uses which, read from the sources without importing them."""

import ast
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Module", "Uses", "modules"]

ROOT = Path(__file__).resolve().parents[1]
BASES = {"rtl": ROOT / "rtl", "host": ROOT / "host", "fpga": ROOT / "fpga"}
PLACES = ("rtl", "host", "fpga", "tb", "tests", "formal")


@dataclass(frozen=True)
class Module:
    """A source file. ``name`` is what it is imported as, ``public`` what its ``__all__`` lists."""

    name: str
    path: Path
    tree: ast.Module
    definitions: dict = field(default_factory=dict)
    """The statement of each name at the top level."""
    imports: dict = field(default_factory=dict)
    """What each imported name is: (module, name in it), or (module, None) if it is a module itself."""

    @property
    def public(self):
        listed = self.definitions.get("__all__")
        return list(ast.literal_eval(listed.value)) if listed is not None else []

    @property
    def package(self):
        """The name of its folder."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


def modules():
    """Every :class:`Module` of the project by name."""
    found = {}
    for place in PLACES:
        base = BASES.get(place, ROOT)
        for path in sorted((ROOT / place).rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = Module(name, path, ast.parse(path.read_text()))
    for module in found.values():
        _read(module, found)
    return found


def _read(module, known):
    for statement in module.tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            module.definitions[statement.name] = statement
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for node in (node for target in targets for node in ast.walk(target)):
                if isinstance(node, ast.Name):
                    module.definitions[node.id] = statement
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom):
            above = module.package.split(".")[: len(module.package.split(".")) + 1 - node.level]
            source = ".".join([*(above if node.level else ()), *([node.module] if node.module else ())])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                module.imports[alias.asname or alias.name] = (
                    (inner, None) if inner in known else (source, alias.name)
                )
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    module.imports[alias.asname] = (alias.name, None)


class Uses:
    """What uses what. A definition is (module, name); (module, None) is all of a module."""

    def __init__(self, known):
        self.known = known
        self._direct = {}
        for module in known.values():
            for name, statement in module.definitions.items():
                self._direct[module.name, name] = set(self._of(module, statement))
            self._direct[module.name, None] = set(self._of(module, module.tree))

    def resolve(self, module, name):
        """Where ``name`` of ``module`` is defined, if it is only imported there."""
        while module in self.known and name is not None and name not in self.known[module].definitions:
            if name not in self.known[module].imports:
                break
            module, name = self.known[module].imports[name]
        return module, name

    def _of(self, module, tree):
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                if node.id in module.definitions:
                    yield module.name, node.id
                elif node.id in module.imports:
                    yield self.resolve(*module.imports[node.id])
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                source, name = module.imports.get(node.value.id, (None, ""))
                if name is None:
                    yield self.resolve(source, node.attr)
            elif isinstance(node, ast.Constant) and node.value in self.known:
                yield node.value, None  # a bench's module, which cocotb imports by name

    def of(self, definition):
        """The definitions that ``definition`` uses itself."""
        return self._direct.get(definition, set())

    def reach(self, definition, through):
        """All that ``definition`` uses, also by way of definitions in modules for which ``through`` holds."""
        seen, todo = set(), [definition]
        while todo:
            for used in self.of(todo.pop()) - seen:
                seen.add(used)
                if through(used[0]):
                    todo.append(used)
        return seen

    def users(self, definition):
        """The definitions that use ``definition`` themselves."""
        return {user for user, used in self._direct.items() if definition in used and user != definition}
