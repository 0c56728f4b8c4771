"""A wrong block: a module of the RTL with one piece of its code replaced."""

import ast
import copy
from dataclasses import dataclass
import importlib.util

__all__ = ["Mutation", "MutationError"]


class MutationError(Exception):
    """A mutation does not fit the source text any more."""


@dataclass(frozen=True)
class Mutation:
    """A wrong block: ``module`` with the one occurrence of ``old`` in its syntax tree replaced by ``new``.

    ``old`` and ``new`` are expressions, or statements, or the first lines of compound statements whose
    bodies stay (``with m.If(a):``). Comments and layout of the module do not matter.
    """

    name: str
    module: str
    old: str
    new: str

    def apply(self, text):
        """The mutated syntax tree; :class:`MutationError` unless ``old`` stands in ``text`` exactly once."""
        (old, header), (new, new_header) = self._fragment(self.old), self._fragment(self.new)
        if header != new_header or isinstance(old, ast.stmt) != isinstance(new, ast.stmt):
            raise MutationError(f"mutation {self.name!r}: {self.old!r} and {self.new!r} are not of a kind")
        replace = _Replace(old, new, header)
        tree = ast.fix_missing_locations(replace.visit(ast.parse(text)))
        if replace.count != 1 or replace.wanted == _shape(new, header):
            raise MutationError(
                f"mutation {self.name!r} does not fit {self.module}: {self.old!r} occurs {replace.count} "
                "times, not once"
            )
        return tree

    def _fragment(self, text):
        """The syntax tree of ``text``, and whether it is a compound statement without its body."""
        header = text.endswith(":")
        try:
            (statement,) = ast.parse(text + " pass" if header else text).body
        except SyntaxError:
            raise MutationError(f"mutation {self.name!r}: {text!r} is no expression or statement") from None
        return (statement.value if isinstance(statement, ast.Expr) else statement), header

    def check(self):
        """Raises :class:`MutationError` if the mutation does not fit the module's source file."""
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.origin:
            raise MutationError(f"mutation {self.name!r}: there is no module {self.module}")
        with open(spec.origin, encoding="utf-8") as file:
            self.apply(file.read())


def _shape(node, header):
    """What is compared of a node: everything but places, and of a header the body."""
    if header:
        node = copy.copy(node)
        node.body, node.orelse = [], []
    return ast.dump(node)


class _Replace(ast.NodeTransformer):
    """Puts ``new`` in the place of each node that looks as ``old``, and counts them."""

    def __init__(self, old, new, header):
        self.kind, self.wanted, self.new, self.header = type(old), _shape(old, header), new, header
        self.count = 0

    def visit(self, node):
        if type(node) is self.kind and _shape(node, self.header) == self.wanted:
            self.count += 1
            new = copy.deepcopy(self.new)
            if self.header:
                new.body = node.body
                if hasattr(node, "orelse"):
                    new.orelse = node.orelse
            return ast.copy_location(new, node)
        return self.generic_visit(node)
