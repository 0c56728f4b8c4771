"""What is asked for, and how far it has come."""

from dataclasses import dataclass, field
import enum

__all__ = ["Ending", "Request", "Sequence"]


class Ending(enum.Enum):
    """Why a sequence ended."""

    STOP = "a token that ends it"
    LENGTH = "as many tokens as were asked for, or as the context holds"
    CANCELLED = "nobody wants it any more"
    DEADLINE = "its time is over"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A prompt, and ``count`` answers to it of at most ``tokens`` tokens.

    ``id`` names it, in messages too. ``stop`` are tokens that end an answer. ``deadline`` is the time at
    which it ends whatever it has; the unit is that of the scheduler's caller.
    """

    id: str
    prompt: tuple
    tokens: int
    count: int = 1
    stop: frozenset = frozenset()
    deadline: float | None = None

    def __post_init__(self):
        if not self.prompt:
            raise ValueError(f"request {self.id}: the prompt has no token")
        if self.tokens < 1 or self.count < 1:
            raise ValueError(f"request {self.id}: {self.count!r} answers of {self.tokens!r} tokens")


@dataclass(eq=False)
class Sequence:
    """An answer to a request: number ``index`` of those that were asked for.

    ``tokens`` are the prompt's and the answer's so far; K and V of the first ``computed`` of them lie in
    ``pages``. Until the prompt has been computed once a request has one sequence, and then its count:
    ``whole`` says that this is still to come.
    """

    request: Request
    order: tuple
    index: int = 0
    whole: bool = True
    tokens: list = field(default_factory=list)
    computed: int = 0
    pages: list = field(default_factory=list)
    ending: Ending | None = None

    @property
    def answer(self):
        """The tokens of the answer so far."""
        return self.tokens[len(self.request.prompt) :]

    @property
    def left(self):
        """Tokens that are to be computed: 1 while it is decoded."""
        return len(self.tokens) - self.computed
