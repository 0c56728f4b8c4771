"""A module's RTLIL under names that do not matter: equal modules of different designs are one text."""

from dataclasses import dataclass, replace
import re

from poblano.clock_gate import CLOCK_GATE

__all__ = ["PART", "Part", "children"]

PART = "part"
"""The module's name; those that it places are called so with a number."""


def children(text):
    """The modules that a module of RTLIL places, in their order."""
    return list(dict.fromkeys(re.findall(r"^  cell \\(\S+) ", text, re.MULTILINE)))


def _black_box(text):
    """The module of ``text`` as a black box: its ports."""
    (name,) = re.findall(r"^module (\S+)$", text, re.MULTILINE)
    wires = re.findall(r"^  wire .*\b(?:input|output|inout) \d+ .*$", text, re.MULTILINE)
    return "\n".join(["attribute \\blackbox 1", f"module {name}", *wires, "end", ""])


@dataclass(frozen=True)
class Part:
    """The module ``name`` with black boxes of those that it places: ``text``, and ``neutral``, with other
    names; ``children``: what those are called in the design, by their names in ``neutral``."""

    name: str
    text: str
    neutral: str
    children: dict

    @staticmethod
    def of(name, rtl):
        """Of the modules ``rtl``, RTLIL by name."""
        placed = [child for child in children(rtl[name]) if child != CLOCK_GATE]
        text = "".join(_black_box(rtl[child]) for child in placed) + rtl[name]
        called = {name: PART, **{child: f"{PART}{n}" for n, child in enumerate(placed)}}
        neutral = re.sub(
            r"^(module|  cell) \\(\S+)",
            lambda found: f"{found[1]} \\{called.get(found[2], found[2])}",
            text,
            flags=re.MULTILINE,
        )
        return Part(name, text, neutral, {called[child]: child for child in placed})

    def named(self, module):
        """The :class:`~.netlist.Module` made from ``neutral``, by the design's names."""
        instances = [replace(i, kind=self.children.get(i.kind, i.kind)) for i in module.instances]
        return replace(module, name=self.name, instances=instances, rtl=self.text)
