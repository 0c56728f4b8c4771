"""A burst on its way to memory and back."""

__all__ = ["Burst"]


class Burst:
    """``beats`` beats at ``address``; ``done(first, last)`` is called when its last beat has come, with the
    cycles of the first and the last; of a write when it is answered, with those of its last beat and of the
    answer.

    ``data``: of a write, when its last beat is there. The others are of the port that serves it: when it may
    be served, where it is, the row that it uses.
    """

    __slots__ = ("address", "beats", "data", "done", "held", "master", "place", "ready", "write")

    def __init__(self, master, address, beats, done, *, write=False, data=0):
        self.master, self.address, self.beats, self.done = master, address, beats, done
        self.write, self.data = write, data
        self.ready, self.place, self.held = 0, None, None
