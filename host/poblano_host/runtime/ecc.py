"""What the check bits of a chip's memories have found."""

from dataclasses import dataclass

__all__ = ["ECCCounts"]


@dataclass(frozen=True)
class ECCCounts:
    """Of a place: words that were ``corrected``, words that ``failed``, both at most 65535. Of a home's DRAM
    also the bursts written again by the scrubber, ``scrubs``, and the ``address`` in the home of the last
    burst that failed, or else that was corrected."""

    corrected: int
    failed: int
    scrubs: int = 0
    address: int = 0

    def __bool__(self):
        return bool(self.corrected or self.failed or self.scrubs)
