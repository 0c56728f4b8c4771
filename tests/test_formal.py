"""Proofs on the RTL: every property holds, every cover is reached, every mutation of the RTL is caught."""

import ast
from pathlib import Path
import subprocess
import sys

import pytest

from formal.harness import Mutation, MutationError
from formal.runner import FILES, jobs, run_job, table
from formal.trace import Trace

ROOT = Path(__file__).resolve().parents[1]

JOBS = jobs()
"""A property without mutations is another size of one that has some: ``make nightly`` and ``make formal``
prove it."""
MUTATIONS = [job for job in JOBS if job.kind == "mutation"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "job",
    [job if job.prop.mutations else pytest.param(job, marks=pytest.mark.nightly) for job in JOBS],
    ids=str,
)
def test_job(job):
    good, verdict, details, seconds = run_job(job)
    assert good, f"{job}: {verdict}: {details}"


@pytest.mark.parametrize("job", MUTATIONS, ids=str)
def test_mutation_fits(job):
    job.mutation.check()


@pytest.mark.parametrize("file", FILES)
def test_mutations_of_each_file(file):
    assert len([job for job in MUTATIONS if job.file == file]) >= 3


def test_mutation_of_a_line_that_is_gone():
    mutation = Mutation("gone", "poblano.stream.round_robin", "no.such_line(1)", "0")
    with pytest.raises(MutationError, match="'no.such_line\\(1\\)' occurs 0 times, not once"):
        mutation.check()


def test_mutation_that_is_no_code():
    with pytest.raises(MutationError, match="'wide': 'no such line' is no expression or statement"):
        Mutation("wide", "poblano.stream.round_robin", "no such line", "0").check()


def test_mutation_ignores_layout():
    """The same code in another layout, with other parentheses and comments, is found; another code is not."""
    text = (
        "def f(m, a, b):\n    with m.If(a & b):  # both\n"
        "        m.d.sync += b.eq(\n            (a + 1),\n        )\n"
    )
    mutate = lambda old, new: ast.unparse(Mutation("layout", "", old, new).apply(text))
    assert "b.eq(a - 1)" in mutate("b.eq(a + 1)", "b.eq(a - 1)")
    assert "m.If(a | b)" in mutate("with m.If(a & b):", "with m.If(a | b):")
    with pytest.raises(MutationError, match="are not of a kind"):
        mutate("with m.If(a & b):", "a")
    with pytest.raises(MutationError, match="occurs 2 times"):
        Mutation("two", "", "f(1)", "f(2)").apply("f(1)\nf(1)\n")


def test_unknown_property():
    with pytest.raises(ValueError, match="no property or property file 'bus/nothing'"):
        jobs(["bus/nothing"])
    with pytest.raises(ValueError, match="no property or property file 'axi_readr'; axi_reader is near"):
        jobs(["axi_readr"])


def formal(*arguments):
    """Exit code, standard output and standard error of the runner."""
    done = subprocess.run(
        [sys.executable, "-m", "formal.runner", *arguments], capture_output=True, text=True, cwd=ROOT
    )
    return done.returncode, done.stdout, done.stderr


def test_a_wrong_name_is_one_line():
    code, out, err = formal("credt")
    assert code == 2 and not out
    assert err == (
        "formal: there is no property or property file 'credt'; credit is near; --list says what there is "
        "(make formal LIST=1)\n"
    )


def test_table_is_current():
    """The table of the document is what the runner prints."""
    text = (ROOT / "formal" / "README.md").read_text()
    shown = text.partition("--table -->\n")[2].partition("\n<!-- end -->")[0]
    assert shown == table(JOBS), "run: python -m formal.runner --table"


def test_list():
    code, out, _ = formal("--list", "credit")
    assert code == 0
    assert out.splitlines()[-2:] == [
        "credit/total-8-4-2 (pdr; 4 mutations)",
        "    what is left and what is reserved are always the total: no credit is lost or made",
    ]


def test_a_counterexample_is_explained():
    """By the check, its line, a trace and a table of it."""
    job = next(job for job in MUTATIONS if str(job) == "credit/total-8-4-2 mutation made")
    good, verdict, details, _ = run_job(job, explain=True)
    assert good and verdict == "caught"
    _, check, trace, head, *rows = details.splitlines()
    place, _, said = check.partition(": ")
    assert said == 'the check "none lost, none made" fails in cycle 2'
    file, _, line = place.partition(":")
    assert 'self.check("none lost, none made"' in (ROOT / file).read_text().splitlines()[int(line) - 1]
    name = "credit-total-8-4-2-made"
    assert trace == f"trace: build/formal/{name}.txt, and for GTKWave or Surfer {name}.vcd"
    assert (ROOT / f"build/formal/{name}.vcd").is_file()
    table = {name: values for name, *values in map(str.split, rows)}
    assert head.startswith("cycle (0: the reset)")
    assert table["check_none_lost,_none_made"][:3] == ["1", ".", "0"]
    assert table["take"][1] != "0"


def test_trace():
    signals = {"check_one": [1, 1, 0], "check_two": [1, 1, 1], "word": [16, 16, 3], "word.low": [0, 0, 3]}
    trace = Trace(signals | {"dut.left": [4, 4, 4]})
    assert trace.failing == {"one": 2}
    assert [line.split() for line in trace.table(inside=False).splitlines()[1:]] == [
        ["check_one", "1", ".", "0"],
        ["word.low", "0", ".", "3"],
    ]
    assert trace.table().splitlines()[-1].split() == ["dut.left", "4", ".", "."]
