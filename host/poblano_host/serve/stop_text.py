"""The text of an answer as its tokens come, up to the first of some strings."""

__all__ = ["AnswerText"]


class AnswerText:
    """Text of an answer, piece by piece; what may be the begin of a string that ends it is held back.

    Parameters
    ----------
    stream : the tokenizer's TextStream
    stop : strings that end the answer; they are not part of it

    Members
    -------
    stopped : whether one of them has come
    """

    def __init__(self, stream, stop=()):
        self._stream, self._stop, self._held = stream, tuple(stop), ""
        self.stopped = False

    def push(self, token):
        """The text that ``token`` completes and that belongs to the answer, maybe empty."""
        return self._release(self._stream.push(token))

    def flush(self):
        """What is left when no token follows."""
        piece = self._release(self._stream.flush())
        held, self._held = self._held, ""
        return piece if self.stopped else piece + held

    def _release(self, piece):
        if self.stopped:
            return ""
        text = self._held + piece
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        kept = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]


def _overlap(text, stop):
    """The longest end of ``text`` that ``stop`` begins with."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
