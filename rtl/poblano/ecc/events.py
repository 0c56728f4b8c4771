"""What the owner of memories with check bits tells of the words that it uses."""

from amaranth.hdl import *
from amaranth.lib import data

__all__ = ["ECCEvents", "uses"]


class ECCEvents(data.StructLayout):
    """Events of a cycle: a word was used of which a bit was ``corrected``; one was used that ``failed``,
    which is not what was written."""

    def __init__(self):
        super().__init__({"corrected": 1, "failed": 1})


def uses(*words):
    """The :class:`ECCEvents`, as a Value, of ``words``: whether one is used in this cycle, and what has flags
    ``corrected`` and ``failed`` that belong to it."""
    flag = lambda name: Cat(used & Value.cast(getattr(of, name)).any() for used, of in words).any()
    return Cat(flag("corrected"), flag("failed"))
