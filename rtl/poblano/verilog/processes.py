"""Verilog whose processes run in every simulator, without a register that makes them start.

``always @*`` runs when something that it reads changes. So yosys lets its processes read a register that
is there only to change at the start of a simulation: without it a process of signals that stay as they are
never runs. Here a register's next value moves into the process of its clock, and other processes become
assignments.
"""

from collections import Counter, defaultdict, deque
import re
from typing import NamedTuple

__all__ = ["START", "without_start"]

START = "simulation_start"
"""The register that makes processes run at the start of a simulation."""
_START_LINE = f"    if ({START}) begin end\n"
_PROCESS = re.compile(
    r"^  always @\* begin\n.*?^  end\n|^  always @\*\n    [^\n]+\n", re.MULTILINE | re.DOTALL
)
_ASSIGNMENT = re.compile(r"^ +(\{[^=]*\}|[\w\[\]:]+) = (.*);$", re.MULTILINE)
_DECLARATION = r"(?:signed )?(?:\[\d+:0\] )?"
_WIDTH = 110
"""Columns of a line, if it can be broken."""


class _Other(Exception):
    """A process is not of the form that is expected here."""


class _Choice(NamedTuple):
    condition: str
    true: "str | _Choice"
    false: "str | _Choice"


def without_start(text):
    """The ``text`` of a module with the same registers and outputs, in which no process waits for a change.

    A register and its next value, which nothing else reads, become one process; another process becomes
    assignments of nested conditions. A process of another form stays as it is, with what makes it start.
    """
    processes = defaultdict(list)
    for match in _PROCESS.finditer(text):
        for target in set(_roots(match[0])):
            processes[target].append(match[0])
    declared = r"^  (?:input|output|wire|reg) (?:signed )?(?:\[(\d+):0\] )?(\w+)(?: = .*)?;$"
    widths = {name: int(high or 0) + 1 for high, name in re.findall(declared, text, re.MULTILINE)}
    uses = Counter(re.findall(r"\b[A-Za-z_]\w*", text))
    for target, own in processes.items():
        flop = re.search(rf"^  always @\(posedge (\w+)\)\n    (\w+) <= {target};\n", text, re.MULTILINE)
        written = _roots("".join(own)).count(target)
        if flop and len(own) == 1 and uses[target] == written + 2:
            text = text.replace(own[0], "").replace(flop[0], _register(flop[1], flop[2], target, own[0]))
            text = re.sub(rf"^  reg {_DECLARATION}{target};\n", "", text, count=1, flags=re.MULTILINE)
        else:
            text = _assigned(text, target, own, widths)
    return text if _START_LINE in text else re.sub(rf"^  reg {START} = 0;\n", "", text, flags=re.MULTILINE)


def _roots(process):
    """The signals that the assignments of a process write, one for each time."""
    return [name for left, _ in _ASSIGNMENT.findall(process) for name in re.findall(r"\b[A-Za-z_]\w*", left)]


def _register(clock, register, target, process):
    """The process of ``register``, whose next value is the ``target`` of ``process``."""
    body = process.split("\n", 1)[1].replace(_START_LINE, "")
    body = re.sub(
        _ASSIGNMENT,
        lambda match: match[0].replace(" = ", " <= ", 1).replace(target, register, match[1].count(target)),
        body,
    )
    body = body.removeprefix(f"    {register} <= {register};\n")
    return f"  always @(posedge {clock}) begin\n{body}"


def _assigned(text, target, processes, widths):
    """``text`` with assignments to ``target`` for ``processes``, if all of them can be."""
    try:
        assignments = [_Process(process, target, widths).assignments() for process in processes]
    except _Other:
        return text
    for process, assignment in zip(processes, assignments):
        text = text.replace(process, assignment, 1)
    declaration = rf"^  reg ({_DECLARATION}{target};\n)"
    if re.search(rf"^  output {_DECLARATION}{target};\n", text, re.MULTILINE):
        return re.sub(declaration, "", text, count=1, flags=re.MULTILINE)
    return re.sub(declaration, r"  wire \1", text, count=1, flags=re.MULTILINE)


class _Process:
    """A process that assigns to one signal.

    It is cut into parts, none of which is assigned to in part; values are dicts by the bits of a part, from
    the first to the last.
    """

    def __init__(self, text, target, widths):
        self.target, self.widths = target, widths
        self.lines = deque(line.strip() for line in text.replace(_START_LINE, "").splitlines()[1:])
        pieces = [self._place(left) for left, _ in _ASSIGNMENT.findall(text)]
        cuts = {bit for places in pieces for low, high in places for bit in (low, high + 1)}
        self.cuts = sorted(cuts)

    def assignments(self):
        """The assignments that do the same."""
        values: dict = {}
        while self.lines and self.lines[0] != "end":
            values = self._statement(values)
        whole = self.widths[self.target]
        return "".join(
            _assignment(self.target if high - low + 1 == whole else _part(self.target, low, high), value)
            for (low, high), value in values.items()
        )

    def _place(self, left):
        """The bits that the left side of an assignment is, from its last part on."""
        found = []
        for part in reversed(left.strip("{} ").split(", ")):
            match = re.fullmatch(rf"{self.target}(?:\[(\d+)(?::(\d+))?\])?", part)
            if match is None:
                raise _Other  # of another signal
            high, low = match.groups()
            last = self.widths[self.target] - 1
            found.append((0, last) if high is None else (int(low or high), int(high)))
        return found

    def _statement(self, values):
        """What is assigned after the statement at the front of the lines, which is taken away."""
        line = self.lines.popleft()
        if match := _ASSIGNMENT.fullmatch(f" {line}"):
            return values | self._assign(match[1], match[2])
        if match := re.fullmatch(r"if \((.*)\) begin", line):
            true = self._block(values)
            end = self.lines.popleft()
            if end == "end":
                false = values
            elif end == "end else begin":
                false = self._block(values)
                self.lines.popleft()
            else:
                self.lines.appendleft(end.removeprefix("end else "))
                false = self._statement(values)
            return _choose(match[1], true, false)
        if match := re.fullmatch(r"casez \((.*)\)", line):
            return self._case(match[1], values)
        if line == "begin":
            values = self._block(values)
            self.lines.popleft()
            return values
        if line == "/* empty */;":
            return values
        raise _Other

    def _assign(self, left, right):
        new, offset = {}, 0
        for low, high in self._place(left):
            inner = [bit for bit in self.cuts if low <= bit <= high + 1]
            for first, after in zip(inner, inner[1:]):
                start = offset + first - low
                new[first, after - 1] = self._slice(right, start, start + after - 1 - first)
            offset += high - low + 1
        return new

    def _slice(self, value, low, high):
        """Bits of a name, a part of one, a number, or several of them together."""
        if value.startswith("{"):
            found = []
            for part in reversed(value.strip("{} ").split(", ")):
                size = self._size(part)
                if low < size and high >= 0:
                    found.append(self._slice(part, max(low, 0), min(high, size - 1)))
                low, high = low - size, high - size
            return found[0] if len(found) == 1 else "{ " + ", ".join(reversed(found)) + " }"
        if (low, high) == (0, self._size(value) - 1):
            return value
        if "'" in value:
            bits = _number(value) >> low & (1 << high - low + 1) - 1
            return f"{high - low + 1}'h{bits:x}"
        match = re.fullmatch(r"(\w+)(?:\[\d+:(\d+)\])?", value)
        if match is None:
            raise _Other
        name, first = match.groups()
        return _part(name, int(first or 0) + low, int(first or 0) + high)

    def _size(self, value):
        if "'" in value:
            return int(value.split("'")[0])
        match = re.fullmatch(r"(\w+)(?:\[(\d+)(?::(\d+))?\])?", value)
        if match is None or match[1] not in self.widths:
            raise _Other
        name, high, low = match.groups()
        return self.widths[name] if high is None else int(high) - int(low or high) + 1

    def _block(self, values):
        while not self.lines[0].startswith("end"):
            values = self._statement(values)
        return values

    def _case(self, subject, values):
        arms, default = [], values
        while (line := self.lines.popleft()) != "endcase":
            patterns, value = line.removesuffix(":").split(", "), self._statement(values)
            if patterns == ["default"]:
                default = value
            else:
                arms.append((patterns, value))
        exclusive = not any("?" in pattern for patterns, _ in arms for pattern in patterns)
        size = arms[0][0][0].split("'")[0] if arms else "0"
        if exclusive and sum(len(patterns) for patterns, _ in arms) == 1 << int(size):
            default = arms.pop()[1]  # there is no other case
        result = default
        for patterns, value in reversed(arms):
            if not (exclusive and value == default):
                condition = " || ".join(_equals(subject, pattern) for pattern in patterns)
                result = _choose(condition, value, result)
        return result


def _part(name, low, high):
    return f"{name}[{low}]" if low == high else f"{name}[{high}:{low}]"


def _number(text):
    match = re.fullmatch(r"\d+'([hdb])([0-9a-f]+)", text)
    if match is None:
        raise _Other
    return int(match[2], {"h": 16, "d": 10, "b": 2}[match[1]])


def _equals(subject, pattern):
    if "?" not in pattern:
        return f"{subject} == {pattern}"
    size, bits = pattern.split("'b")
    mask = re.sub("[01]", "1", bits).replace("?", "0")
    return f"({subject} & {size}'b{mask}) == {size}'b{bits.replace('?', '0')}"


def _choose(condition, true, false):
    if true.keys() != false.keys():
        raise _Other  # a latch
    pairs = {place: (true[place], false[place]) for place in true}
    return {place: a if a == b else _Choice(condition, a, b) for place, (a, b) in pairs.items()}


def _assignment(place, value):
    parts = []
    while isinstance(value, _Choice):
        parts.append(f"{_inside(value.condition)} ? {_inline(value.true)} :")
        value = value.false
    line = f"  assign {place} = {' '.join([*parts, value])};\n"
    if len(line) <= _WIDTH:
        return line
    return f"  assign {place} =\n" + "".join(f"    {part}\n" for part in [*parts, value + ";"])


def _inline(value):
    if not isinstance(value, _Choice):
        return value
    return f"({_inside(value.condition)} ? {_inline(value.true)} : {_inline(value.false)})"


def _inside(condition):
    return condition if re.fullmatch(r"[\w\[\]:]+", condition) else f"({condition})"
