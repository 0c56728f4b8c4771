"""Proofs on the RTL: every property holds, every cover is reached, every mutation of the RTL is caught."""

import ast

import pytest

from formal.harness import Mutation, MutationError
from formal.runner import FILES, jobs, run_job

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
