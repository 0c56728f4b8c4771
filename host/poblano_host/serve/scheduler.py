"""Which tokens of which requests the next step computes: continuous batching."""

from bisect import insort
from collections import deque
from dataclasses import dataclass, replace
from operator import attrgetter

from .pages import PagePool
from .request import Ending, Request, Sequence

__all__ = ["Part", "Refused", "Scheduler", "Step"]


_ORDER = attrgetter("order")


class Refused(ValueError):
    """A request that can never be served; the message names it."""


@dataclass(frozen=True)
class Part:
    """A sequence's tokens ``first`` to ``first + len(tokens) - 1`` in a step.

    ``pages`` are those of the sequence's positions up to the last token's. ``choices``: the numbers of the
    answers for which a token is to be chosen from the logits of the last token; none inside a prompt.
    """

    request: Request
    first: int
    tokens: tuple
    pages: tuple
    choices: tuple
    sequence: Sequence

    @property
    def prompt(self):
        """How many of the tokens are the prompt's; the others were chosen."""
        return max(0, min(len(self.request.prompt) - self.first, len(self.tokens)))


@dataclass(frozen=True)
class Step:
    """What a step does: first, in their order, the pages ``prepared``, (from, to), become copies of another
    or, from None, zero, because another owner's data are in them; then ``parts`` are computed.

    ``preempted`` are sequences that gave their pages back for it, and will be computed again.
    """

    parts: tuple
    prepared: tuple = ()
    preempted: tuple = ()

    @property
    def rows(self):
        """Tokens that the step computes."""
        return sum(len(part.tokens) for part in self.parts)


class Scheduler:
    """Chooses each step's tokens. What it does follows from the order of its calls alone.

    A step has at most ``rows`` tokens of at most ``sequences`` sequences. First comes a token of every
    sequence that is being decoded, then prompts, in chunks, in what is left; then waiting requests are
    admitted, in the order in which they came, while there are free pages for the next one's prompt.

    The older of two sequences goes first. A sequence that needs a page where none is free takes those of the
    youngest that is younger than itself and not in the step: that one is *preempted*, waits again in its old
    place, and its tokens, the chosen ones too, are computed once more. If there is none, it waits for a step.
    The oldest sequence always goes on, so that every request ends.

    Parameters
    ----------
    pool : PagePool
    rows, sequences : the most of a step; rows is at least sequences
    context : the most positions of a sequence
    window : tokens of a prompt that are in one step, the first at a multiple of it. If it is not 1, what is
        computed for a prompt's tokens is not what is for chosen ones: prompts alone share pages, of whole
        windows, and beside all sequences but one there is room for a window

    Members
    -------
    waiting, running : sequences, in order
    """

    def __init__(self, pool: PagePool, *, rows, sequences, context, window=1):
        if not 1 <= sequences <= rows - window + 1:
            raise ValueError(f"steps of {rows!r} rows for {sequences!r} sequences")
        self.pool, self.rows, self.sequences, self.context = pool, rows, sequences, context
        self.window = window
        self.waiting: deque = deque()
        self.running: list = []
        self._arrivals = 0
        self._live: dict = {}  # sequences of requests by their ids

    def add(self, request):
        """A request that arrives now. :class:`Refused` if it can't be served by a chip that is idle."""
        length, positions = len(request.prompt), self.pool.positions
        what = f"request {request.id}"
        if request.id in self._live:
            raise Refused(f"{what}: there is one of this name")
        if request.count > self.sequences:
            raise Refused(f"{what}: {request.count} answers; a step has at most {self.sequences} sequences")
        if length >= self.context:
            raise Refused(
                f"{what}: the prompt has {length} tokens; the context holds {self.context}, the "
                "answer included"
            )
        most = min(length + request.tokens, self.context)
        shared = length // positions
        needed = shared + request.count * (-(-most // positions) - shared)
        if needed > self.pool.pages:
            raise Refused(f"{what}: its {most} positions need {needed} pages; there are {self.pool.pages}")
        sequence = Sequence(request, (self._arrivals, 0), tokens=list(request.prompt))
        self._arrivals += 1
        self._live[request.id] = [sequence]
        self.waiting.append(sequence)

    def __contains__(self, name):
        """Whether a request of this name is here."""
        return name in self._live

    def cancel(self, name, ending=Ending.CANCELLED):
        """End what is left of a request: its sequences that ended by it. A request that is not there has
        ended already."""
        ended = list(self._live.get(name, ()))
        for sequence in ended:
            self._end(sequence, ending)
        return ended

    def expire(self, now):
        """End the requests whose deadline is ``now`` or before; their sequences."""
        late = [
            name
            for name, (first, *_) in self._live.items()
            if first.request.deadline is not None and first.request.deadline <= now
        ]
        return [sequence for name in late for sequence in self.cancel(name, Ending.DEADLINE)]

    def plan(self):
        """The next :class:`Step`; None if there is nothing to do."""
        step = _Draft(self)
        for sequence in sorted(self.running, key=lambda s: s.left > 1):
            step.add(sequence, may_preempt=True)
        while self.waiting and step.left and self._admits(self.waiting[0]):
            sequence = self.waiting.popleft()
            insort(self.running, sequence, key=_ORDER)
            step.add(sequence, may_preempt=False)
        return step.done()

    def _admits(self, sequence):
        """Whether a sequence is admitted now; then it holds the pages of its prompt that are known."""
        pool, length = self.pool, len(sequence.tokens)
        joining = sequence.request.count if sequence.whole else 1
        if self._places() + joining > self.sequences:
            return False
        known = min(length - 1, self._shared(sequence))  # of the last one the logits are needed
        sequence.pages = pool.find(sequence.tokens[:known])
        if pool.free < -(-(length + 1) // pool.positions) - len(sequence.pages) + joining - 1:
            self._give(sequence)
            return False
        sequence.computed = len(sequence.pages) * pool.positions
        return True

    def _shared(self, sequence):
        """The tokens from the first on whose pages others may have."""
        return len(sequence.tokens if self.window == 1 else sequence.request.prompt)

    def _places(self):
        """The sequences that run, those that begin when their prompt is computed included."""
        return sum(s.request.count if s.whole else 1 for s in self.running)

    def _give(self, sequence):
        for page in reversed(sequence.pages):
            self.pool.give(page)
        sequence.pages, sequence.computed = [], 0

    def preempt(self, sequence):
        """A running sequence gives its pages back, and waits in its place."""
        self._give(sequence)
        self.running.remove(sequence)
        insort(self.waiting, sequence, key=_ORDER)

    def finish(self, step, chosen):
        """The step has been computed: ``chosen`` has a token for each (request's id, number of the answer)
        that a part asked for. The sequences that ended.

        Of a request that has ended meanwhile nothing is looked at.
        """
        ended = []
        for part in step.parts:
            sequence = part.sequence
            if sequence.ending is not None:
                continue
            sequence.computed += len(part.tokens)
            self._keep(sequence, part.first)
            if not part.choices:
                continue
            for mine in [sequence, *self._fork(sequence)]:
                token = chosen[mine.request.id, mine.index]
                mine.tokens.append(token)
                if token in mine.request.stop:
                    self._end(mine, Ending.STOP)
                elif len(mine.answer) == mine.request.tokens or len(mine.tokens) == self.context:
                    self._end(mine, Ending.LENGTH)
                else:
                    continue
                ended.append(mine)
        return ended

    def _keep(self, sequence, first):
        """Make the pages known that became full since position ``first``."""
        size = self.pool.positions
        for n in range(first // size, min(sequence.computed, self._shared(sequence)) // size):
            before = sequence.pages[n - 1] if n else None
            tokens = sequence.tokens[n * size : (n + 1) * size]
            sequence.pages[n] = self.pool.keep(sequence.pages[n], before, tokens)

    def _fork(self, sequence):
        """The other sequences of a request whose prompt has been computed; they share its pages."""
        if not sequence.whole:
            return []
        sequence.whole = False
        others = [
            replace(
                sequence,
                order=(sequence.order[0], n),
                index=n,
                tokens=list(sequence.tokens),
                pages=list(sequence.pages),
            )
            for n in range(1, sequence.request.count)
        ]
        for other in others:
            for page in other.pages:
                self.pool.share(page)
            insort(self.running, other, key=_ORDER)
        self._live[sequence.request.id] += others
        return others

    def _end(self, sequence, ending):
        sequence.ending = ending
        self._give(sequence)
        (self.running if sequence in self.running else self.waiting).remove(sequence)
        mine = self._live[sequence.request.id]
        mine.remove(sequence)
        if not mine:
            del self._live[sequence.request.id]


class _Draft:
    """A step as it grows."""

    def __init__(self, scheduler):
        self.scheduler, self.left = scheduler, scheduler.rows
        self._parts: dict = {}
        self._prepared: list = []
        self._preempted: list = []

    def add(self, sequence, *, may_preempt):
        """As many of a sequence's tokens as there is room for."""
        if sequence not in self.scheduler.running:  # preempted for one before it
            return
        count = min(sequence.left, self.left)
        first, positions = sequence.computed, self.scheduler.pool.positions
        if first + count < len(sequence.request.prompt):
            count -= (first + count) % self.scheduler.window
        for n in range(first // positions, -(-(first + count) // positions)):
            if not self._page(sequence, n, may_preempt):
                count = max(n * positions - first, 0)
                break
        if not count:
            return
        end = first + count
        whole = end == len(sequence.tokens)
        answers = range(sequence.request.count) if sequence.whole else (sequence.index,)
        self._parts[sequence] = Part(
            sequence.request,
            first,
            tuple(sequence.tokens[first:end]),
            tuple(sequence.pages[: -(-end // positions)]),
            tuple(answers) if whole else (),
            sequence,
        )
        self.left -= count

    def _page(self, sequence, n, may_preempt):
        """Make sure that page ``n`` of a sequence is its own to write; whether there was one."""
        pool = self.scheduler.pool
        has = n < len(sequence.pages)
        if has and pool.holders(sequence.pages[n]) == 1:
            return True
        while (taken := pool.take()) is None:
            if not (may_preempt and self._preempt(sequence)):
                return False
            if has and pool.holders(sequence.pages[n]) == 1:
                return True
        page, stale = taken
        if has:
            self._prepared.append((sequence.pages[n], page))
            pool.give(sequence.pages[n])
            sequence.pages[n] = page
        else:
            sequence.pages.append(page)
            if stale:
                self._prepared.append((None, page))
        return True

    def _preempt(self, sequence):
        """Preempt the youngest that is younger than ``sequence`` and not in the step; whether there was
        one."""
        younger = [
            s for s in self.scheduler.running if s.order > sequence.order and s not in self._parts and s.pages
        ]
        if not younger:
            return False
        self.scheduler.preempt(younger[-1])
        self._preempted.append(younger[-1])
        return True

    def done(self):
        """The :class:`Step`, or None without a part."""
        if not self._parts:
            return None
        return Step(tuple(self._parts.values()), tuple(self._prepared), tuple(self._preempted))
