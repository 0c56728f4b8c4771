"""A burst on its way to memory and back."""

__all__ = ["Burst"]


class Burst:
    """``beats`` beats at ``address``; ``done(first, last)`` is called when its last beat has come, with the
    cycles of the first and the last; of a write when it is answered, with those of its last beat and of the
    answer.

    ``early``: ``done`` is called in the cycle of the first beat. ``data``: of a write, when its first beat is
    there. The others are of the port that serves it: from when on it may be served, and rows opened for it,
    and where it is.
    """

    __slots__ = ("address", "beats", "data", "done", "early", "master", "place", "ready", "slot", "write")

    def __init__(self, master, address, beats, done, *, write=False, data=0, early=False):
        self.master, self.address, self.beats, self.done = master, address, beats, done
        self.write, self.data, self.early = write, data, early
        self.ready, self.slot, self.place = 0, 0, (0, 0, [0], 1)
