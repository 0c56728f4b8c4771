"""What a failed bench says: the test, the rule that was broken, where, and how to see it again."""

from pathlib import Path
import re
import xml.etree.ElementTree as ElementTree

__all__ = ["BenchFailure", "failed_tests", "read_results", "tail"]

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 4
"""Of a traceback so many places are shown, the last ones."""
LINES = 16
"""Of a message so many lines are shown."""


class BenchFailure(AssertionError):
    """Tests of a bench failed, or did not run."""


def read_results(path):
    """``(names of the tests that ran, [(name, message, traceback)] of those that failed)``; None, [] if the
    simulator left no results."""
    if not path.is_file():
        return None, []
    names, failed = [], []
    for case in ElementTree.parse(path).iter("testcase"):
        names.append(case.get("name", "?"))
        for kind in ("failure", "error"):
            if (found := case.find(kind)) is not None:
                message = f"{found.get('type', '')}: {found.get('message', '')}"
                failed.append((names[-1], message, found.text or ""))
    return names, failed


def failed_tests(failed, rules):
    """The text about tests that failed: for each its rule (``rules``: by the tests' names), what broke it
    and where; of all but the first only the name and the first line."""
    name, message, traceback = failed[0]
    lines = [f"test    {name}"]
    if rules.get(name):
        lines.append(f"rule    {rules[name]}")
    lines += _indented("broken  ", _plain(message))
    for place, code in _frames(traceback):
        lines += [f"at      {place}", f"          {code}"]
    for name, message, _ in failed[1:]:
        first = _plain(message).splitlines()[0]
        lines.append(f"also    {name}: {first[:90]}")
    return "\n".join(lines)


def _plain(message):
    """A message without the name of what asserted it."""
    return re.sub(r"^(AssertionError|StuckError): ", "", message)


def _indented(title, text):
    lines = text.strip().splitlines() or ["an assertion without a message"]
    more = [f"... {len(lines) - LINES} lines more in the log"] * (len(lines) > LINES)
    return [(title if n == 0 else " " * len(title)) + line for n, line in enumerate(lines[:LINES] + more)]


def _frames(traceback):
    """(place, code) of the last places of ``traceback`` that are the project's."""
    found = re.findall(r'^\s*File "([^"]+)", line (\d+), in (\S+)\n\s*(.*)$', traceback, re.MULTILINE)
    places = []
    for file, line, function, code in found:
        path = next((f"tb/{part}" for part in file.split("/tb/")[1:]), None) or file
        if "site-packages" not in file:
            places.append((f"{path.removeprefix(f'{ROOT}/')}:{line}, in {function}", code))
    return places[-FRAMES:]


def tail(path, lines=12):
    """The last lines of a log."""
    text = path.read_text(errors="replace") if path.is_file() else ""
    return "\n".join(text.splitlines()[-lines:])
