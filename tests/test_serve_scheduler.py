"""Requests in batches: every answer is what it would be alone, and pages are held by whom they belong to."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from poblano_host.serve.pages import PagePool
from poblano_host.serve.request import Ending, Request
from poblano_host.serve.scheduler import Refused, Scheduler

POSITIONS = 4
VOCAB = 5


def chosen_after(tokens, index):
    """A model: the token of answer ``index`` that follows ``tokens``."""
    return hashlib.sha256(bytes([index, *tokens])).digest()[0] % VOCAB


class Chip:
    """Pages of memory with a token in each position, and whether it was a prompt's where it was computed in
    windows: a step reads of its sequence only what is there."""

    def __init__(self, pages, window=1):
        self.memory, self.window = [[None] * POSITIONS for _ in range(pages)], window

    def run(self, step):
        for source, page in step.prepared:
            self.memory[page] = [None] * POSITIONS if source is None else list(self.memory[source])
        written = set()
        for part in step.parts:
            for n, token in enumerate(part.tokens, part.first):
                place = part.pages[n // POSITIONS], n % POSITIONS
                assert place not in written, "two sequences write one position"
                written.add(place)
                self.memory[place[0]][place[1]] = token, self._of_prompt(part, n)
            self._check_windows(part)
        chosen = {}
        for part in step.parts:
            end = part.first + len(part.tokens)
            seen = [self.memory[part.pages[n // POSITIONS]][n % POSITIONS] for n in range(end)]
            tokens = part.sequence.tokens[:end]
            its = [(token, self._of_prompt(part, n)) for n, token in enumerate(tokens)]
            assert seen == its, "a sequence sees what is not its own"
            chosen |= {(part.request.id, n): chosen_after(tokens, n) for n in part.choices}
        return chosen

    def _of_prompt(self, part, position):
        return self.window > 1 and position < len(part.request.prompt)

    def _check_windows(self, part):
        """Those of a prompt are in one step each."""
        length, end = len(part.request.prompt), part.first + len(part.tokens)
        if part.first < length:
            assert part.first % self.window == 0
            assert end >= length or end % self.window == 0
        assert part.prompt == len([n for n in range(part.first, end) if n < length])


def alone(request, context):
    """Each answer to a request that has the chip for itself."""
    answers = []
    for index in range(request.count):
        tokens = list(request.prompt)
        while True:
            tokens.append(chosen_after(tokens, index))
            made = len(tokens) - len(request.prompt)
            if tokens[-1] in request.stop or made == request.tokens or len(tokens) == context:
                break
        answers.append(tokens[len(request.prompt) :])
    return answers


def serve(scheduler, arrivals, cancelled=()):
    """Run requests that arrive before the step of their number; (answers by id and index, steps)."""
    chip, answers, steps = Chip(scheduler.pool.pages, scheduler.window), {}, []
    pool, number = scheduler.pool, 0
    while True:
        for at, request in arrivals:
            if at == number:
                scheduler.add(request)
        for at, name in cancelled:
            if at == number:
                for sequence in scheduler.cancel(name):
                    answers[name, sequence.index] = (Ending.CANCELLED, sequence.answer)
        step = scheduler.plan()
        number += 1
        if step is None:
            assert not scheduler.running and not scheduler.waiting, "something waits for ever"
            if number > max((at for at, _ in [*arrivals, *cancelled]), default=0):
                return answers, steps
            continue
        assert step.rows <= scheduler.rows and len(step.parts) <= scheduler.sequences
        held = [page for s in scheduler.running for page in s.pages]
        assert all(pool.holders(page) == held.count(page) for page in range(pool.pages))
        steps.append(step)
        for sequence in scheduler.finish(step, chip.run(step)):
            answers[sequence.request.id, sequence.index] = (sequence.ending, sequence.answer)


def requests():
    return st.builds(
        dict,
        prompt=st.lists(st.integers(0, 1), min_size=1, max_size=14).map(tuple),
        tokens=st.integers(1, 8),
        count=st.sampled_from([1, 1, 1, 2, 3]),
        stop=st.sampled_from([frozenset(), frozenset({0})]),
    )


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), requests()), max_size=8),
    st.integers(6, 24),
    st.integers(3, 12),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 7)), max_size=2),
    st.sampled_from([1, 1, 2, 4]),
)
def test_answers_are_those_of_each_request_alone(wanted, pages, rows, cancelled, window):
    """Whatever arrives when, however few pages there are: the same tokens, and no page is lost."""
    pool = PagePool(pages=pages, positions=POSITIONS)
    rows += window - 1
    scheduler = Scheduler(pool, rows=rows, sequences=3, context=20, window=window)
    arrivals, kept = [], []
    for n, (at, fields) in enumerate(wanted):
        request = Request(id=f"r{n}", **fields)
        try:
            Scheduler(PagePool(pages=pages, positions=POSITIONS), rows=rows, sequences=3, context=20).add(
                request
            )
        except Refused:
            continue
        arrivals.append((at, request))
        kept.append(request)
    answers, _ = serve(scheduler, arrivals, [(at, f"r{n}") for at, n in cancelled])
    for request in kept:
        for index, expected in enumerate(alone(request, 20)):
            if (request.id, index) not in answers:  # cancelled before it was there
                assert any(f"r{n}" == request.id for _, n in cancelled)
                continue
            ending, answer = answers[request.id, index]
            if ending is Ending.CANCELLED:
                assert answer == expected[: len(answer)]
            else:
                assert answer == expected
    assert pool.free == pages and all(pool.holders(page) == 0 for page in range(pages))


def request(name, length, tokens=4, **fields):
    return Request(id=name, prompt=tuple(n % 3 for n in range(length)), tokens=tokens, **fields)


def scheduler(*, pages=16, rows=8, sequences=4, context=64, **options):
    pool = PagePool(pages=pages, positions=POSITIONS)
    return Scheduler(pool, rows=rows, sequences=sequences, context=context, **options)


def test_decodes_go_before_prompts():
    """A long prompt is computed in chunks beside the tokens of others."""
    s = scheduler()
    s.add(request("first", 3))
    s.add(request("second", 20))
    chip = Chip(16)
    sizes = []
    while (step := s.plan()) is not None:
        sizes.append([(part.request.id, len(part.tokens)) for part in step.parts])
        s.finish(step, chip.run(step))
    assert sizes[:3] == [
        [("first", 3), ("second", 5)],
        [("first", 1), ("second", 7)],
        [("first", 1), ("second", 7)],
    ]


def test_a_known_beginning_is_not_computed_again():
    """Of two prompts with 17 tokens in common the second computes what is not in whole pages of the first."""
    s = scheduler(rows=32)
    answers, steps = serve(s, [(0, request("a", 18, tokens=1)), (3, request("b", 18, tokens=1))])
    assert [step.rows for step in steps] == [18, 18 - 4 * POSITIONS]
    assert answers["a", 0] == answers["b", 0]


@pytest.mark.parametrize("window, found", [(1, 16), (4, 8)])
def test_chosen_tokens_are_not_found_where_windows_count(window, found):
    """A second turn begins with the first one's prompt and answer."""
    s = scheduler(window=window, rows=24)
    first = request("a", 10, tokens=9)
    answers, _ = serve(s, [(0, first)])
    second = Request(id="b", prompt=(*first.prompt, *answers["a", 0][1], 1), tokens=1)
    s.add(second)
    (part,) = s.plan().parts
    assert part.first == found


def test_answers_share_the_prompt():
    """Three answers: the prompt once, and copies of its last page, which is not full."""
    s = scheduler(rows=32)
    _, steps = serve(s, [(0, request("a", 10, tokens=2, count=3))])
    assert [step.rows for step in steps] == [10, 3]
    assert [source is not None for source, _ in steps[1].prepared] == [True, True]


def test_the_youngest_gives_its_pages():
    """Where no page is free the younger one is computed again later."""
    s = scheduler(pages=4)
    young = Request(id="young", prompt=(4,) * 5, tokens=6)
    answers, steps = serve(s, [(0, request("old", 6, tokens=10)), (0, young)])
    preempted = [sequence.request.id for step in steps for sequence in step.preempted]
    assert preempted and set(preempted) == {"young"}
    assert answers["young", 0] == (Ending.LENGTH, alone(young, 64)[0])


def test_other_owners_data_are_cleared():
    s = scheduler(pages=4, rows=16)
    _, steps = serve(s, [(0, request("a", 12, tokens=1)), (2, Request(id="b", prompt=(4,) * 12, tokens=1))])
    assert steps[0].prepared == ()
    assert [source for source, _ in steps[1].prepared] == [None, None]  # one page was never used


def test_deadlines_end_what_waits_and_what_runs():
    s = scheduler(sequences=1)
    s.add(request("runs", 4, deadline=5.0))
    s.add(request("waits", 4, deadline=3.0))
    step = s.plan()
    assert [x.request.id for x in s.expire(3.0)] == ["waits"]
    assert [x.ending for x in s.expire(6.0)] == [Ending.DEADLINE]
    assert s.finish(step, {("runs", 0): 1}) == [] and s.plan() is None and s.pool.free == 16


def test_what_was_forgotten_is_not_found():
    """Nor does a page that is kept later continue one that is not known any more."""
    pool = PagePool(pages=3, positions=1)
    first, second = pool.take()[0], pool.take()[0]
    assert pool.keep(first, None, [7]) == first
    pool.forget()
    assert pool.keep(second, first, [8]) == second
    pool.give(second)
    pool.give(first)
    assert pool.find([7, 8]) == [] and pool.free == 3


@pytest.mark.parametrize(
    "bad, message",
    [
        (lambda s: s.add(request("x", 64)), "request x: the prompt has 64 tokens; the context holds 64"),
        (lambda s: s.add(request("x", 60, tokens=9)), "its 64 positions need 16 pages; there are 8"),
        (lambda s: s.add(request("x", 6, count=5)), "5 answers; a step has at most 4 sequences"),
        (lambda s: [s.add(request("x", 6)) for _ in range(2)], "there is one of this name"),
    ],
)
def test_what_can_never_be_served_is_refused(bad, message):
    with pytest.raises(Refused, match=message):
        bad(scheduler(pages=8))


@pytest.mark.parametrize("fields", [dict(prompt=()), dict(tokens=0), dict(count=0)])
def test_empty_requests(fields):
    with pytest.raises(ValueError, match="request x"):
        Request(**(dict(id="x", prompt=(1,), tokens=1) | fields))
