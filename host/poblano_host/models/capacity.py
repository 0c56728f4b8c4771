"""The capacity of a mixture's experts: of each window of a prompt's tokens an expert has room for some."""

from dataclasses import dataclass
import re

__all__ = ["Capacity"]


@dataclass(frozen=True)
class Capacity:
    """An expert has room for ``rows`` of each ``window`` tokens of a request's prompt. Windows begin with the
    prompt's first token. A token for which one of its experts has no room is *re-routed*: its experts are
    those of its largest values among the experts with room, as far as there are such.

    Tokens that are not of the prompt take no room and need none. So what is computed for a request depends on
    the request alone, whatever else is in a step; but it is another model than the one without.
    """

    rows: int
    window: int

    def __post_init__(self):
        if not 1 <= self.rows < self.window:
            raise ValueError(
                f"a capacity of {self.rows} of {self.window} tokens; it is 1 to {self.window - 1}"
            )

    @classmethod
    def read(cls, text):
        """That of a text as ``8/32``; ValueError for any other."""
        numbers = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if numbers is None:
            raise ValueError(f"a capacity is two numbers, tokens and their window, as 8/32, not {text!r}")
        return cls(*map(int, numbers.groups()))

    def limited(self, prompt):
        """How many of the first ``prompt`` tokens of a step, which are of a prompt, need room."""
        return prompt if prompt > self.rows else 0
