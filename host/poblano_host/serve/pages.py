"""Pages of the KV caches: who holds them, and which begin other sequences too."""

__all__ = ["PagePool"]


class PagePool:
    """``pages`` pages, each with room for K and V of ``positions`` positions in all layers.

    For example, with pages of 16 positions the first two pages of two requests that have the first 40 tokens
    in common are the same, and are computed once.

    A page is *held* by any number of sequences. One that nobody holds is free. If it is full and :meth:`keep`
    was called for it, it can be found again by its tokens and those before, until its place is needed: the
    one that was given back longest ago goes first. Tokens are compared, not hashes of them.

    Whoever holds a page holds those before it, and gives back the last one first. So no page goes before one
    that continues it.

    Members
    -------
    pages, positions : of the pool, and of a page
    free : pages that nobody holds
    """

    def __init__(self, *, pages, positions):
        if pages < 1 or positions < 1:
            raise ValueError(f"a pool of {pages!r} pages of {positions!r} positions")
        self.pages, self.positions = pages, positions
        self._holders = [0] * pages
        self._empty = list(range(pages - 1, -1, -1))
        self._kept: dict = {}  # free pages with known tokens, the one that goes first first
        self._known: dict = {}  # (the page before or None, tokens): page
        self._keys: dict = {}  # page: its key in _known
        self._used: set = set()  # pages that have had an owner since they were cleared

    @property
    def free(self):
        return len(self._empty) + len(self._kept)

    def holders(self, page):
        """How many sequences hold a page."""
        return self._holders[page]

    def take(self):
        """(page, whether another owner's data are in it), held by the caller; None if none is free."""
        if self._empty:
            page = self._empty.pop()
        elif self._kept:
            page = next(iter(self._kept))
            del self._kept[page], self._known[self._keys.pop(page)]
        else:
            return None
        self._holders[page] = 1
        stale = page in self._used
        self._used.add(page)
        return page, stale

    def share(self, page):
        """One more holds a page that is held or kept."""
        if not self._holders[page]:
            del self._kept[page]
        self._holders[page] += 1

    def give(self, page):
        """One less holds a page."""
        if not self._holders[page]:
            raise ValueError(f"nobody holds page {page}")
        self._holders[page] -= 1
        if self._holders[page]:
            return
        if page in self._keys:
            self._kept[page] = None
        else:
            self._empty.append(page)

    def find(self, tokens):
        """The pages, now held by the caller too, of the longest known beginning of ``tokens`` in whole
        pages."""
        found = []
        for first in range(0, len(tokens) - self.positions + 1, self.positions):
            before = found[-1] if found else None
            page = self._known.get((before, tuple(tokens[first : first + self.positions])))
            if page is None:
                break
            self.share(page)
            found.append(page)
        return found

    def keep(self, page, before, tokens):
        """``page``, which the caller holds, is full, and will not be written again: it continues the page
        ``before`` (None: it is the first) with ``tokens``.

        The page to use from now on, held by the caller: where the same is known already that one, and
        ``page`` is given back. The bits of both are the same.
        """
        if before is not None and before not in self._keys:
            return page  # it was forgotten
        key = before, tuple(tokens)
        known = self._known.setdefault(key, page)
        if known == page:
            self._keys[page] = key
        else:
            self.share(known)
            self.give(page)
        return known

    def forget(self):
        """Find nothing again of what has been kept so far, and take no page for a clean one: what follows
        does not depend on what was before."""
        self._used.update(range(self.pages))
        self._empty += self._kept
        self._kept.clear()
        self._known.clear()
        self._keys.clear()
