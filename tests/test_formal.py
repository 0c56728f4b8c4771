"""Proofs on the RTL: every property holds, every cover is reached, every mutation of the RTL is caught."""

import pytest

from formal.harness import Mutation, MutationError
from formal.runner import FILES, jobs, run_job

JOBS = jobs()
"""A property without mutations is another size of one that has some: ``make nightly`` and ``make formal`` prove it."""
MUTATIONS = [job for job in JOBS if job.kind == "mutation"]


@pytest.mark.slow
@pytest.mark.parametrize("job", [job if job.prop.mutations else pytest.param(job, marks=pytest.mark.nightly) for job in JOBS], ids=str)
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
    mutation = Mutation("gone", "poblano.bus.round_robin", "no such line", "")
    with pytest.raises(MutationError, match="'no such line' occurs 0 times, not once"):
        mutation.check()


def test_unknown_property():
    with pytest.raises(ValueError, match="no property or property file 'bus/nothing'"):
        jobs(["bus/nothing"])
