"""What stands on top of a failed test: its block, the rule that it checks and what broke it.

The block is the first sentence of the test file's docstring, the rule that of the test's docstring or else
the test's name.
"""

import inspect
import re

from _pytest._code.code import ExceptionChainRepr, ReprEntry

from tb.common.failure import BenchFailure

__all__ = ["explain"]

WIDTH, LINES = 160, 4
"""Of what broke it so much is shown; all of it stands below."""


def _sentence(text):
    """The first sentence of a docstring, on one line."""
    return re.split(r"(?<=\.) (?=[A-Z])", " ".join((text or "").split()))[0]


def _words(item):
    """The test's name, in words, with its parameters."""
    return item.name.removeprefix("test_").replace("_", " ")


def summary(item, error):
    """The lines about a failed test ``item``; a bench says more itself."""
    rule = _sentence(inspect.getdoc(getattr(item, "function", None)))
    block = _sentence(getattr(item, "module", None) and item.module.__doc__)
    lines = [f"block   {block} ({item.location[0]})", f"rule    {rule or _words(item)}"]
    if not isinstance(error, BenchFailure):
        told = (str(error) or type(error).__name__).splitlines()[:LINES]
        lines += [("broken  " if n == 0 else " " * 8) + line[:WIDTH] for n, line in enumerate(told)]
    return lines


def explain(item, error, report):
    """Puts the summary on top of the report of a test that failed by the exception ``error``."""
    if isinstance(report.longrepr, ExceptionChainRepr):
        lines = [f"E   {line}" for line in summary(item, error)]
        traceback = report.longrepr.chain[0][0]
        traceback.reprentries.insert(0, ReprEntry(lines, None, None, None, traceback.style))
