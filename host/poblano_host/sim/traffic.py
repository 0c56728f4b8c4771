"""Bursts of AXI masters as arrays: sequential streams, random chunks, random bursts."""

import numpy as np

__all__ = ["BURST", "merged", "random_bursts", "random_chunks", "sequential"]

BURST = np.dtype(
    [
        ("address", np.uint64),
        ("earliest", np.int64),
        *((name, np.uint32) for name in ("beats", "write", "id", "reserved")),
    ]
)
"""A burst: address and beats, whether it writes, its id, and the cycle in which it may be offered at the
earliest."""

BOUNDARY, BEATS = 4096, 256
"""What a burst of AXI4 does not cross, and its most beats."""


def _bursts(addresses, *, size, beat, write, ids):
    """Bursts of the ``size`` bytes at each of ``addresses``."""
    step = min(size, BOUNDARY, BEATS * beat)
    parts = -(-size // step)
    bursts = np.zeros(len(addresses) * parts, BURST)
    bursts["address"] = (
        np.asarray(addresses, np.uint64)[:, None] + np.arange(parts, dtype=np.uint64) * step
    ).ravel()
    bursts["beats"], bursts["write"] = step // beat, write
    bursts["id"] = np.repeat(np.broadcast_to(ids, len(addresses)), parts)
    return bursts


def sequential(start, length, *, beat, write=False, id=0):
    """Bursts, as long as may be, of the ``length`` bytes from ``start`` on; ``beat`` is the bytes of a
    beat."""
    size = min(BOUNDARY, BEATS * beat)
    addresses = np.arange(start, start + length, size, dtype=np.uint64)
    return _bursts(addresses, size=size, beat=beat, write=write, ids=id)


def random_chunks(rng, count, *, size, beat, memory_bytes, ids=16, write=False):
    """``count`` chunks of ``size`` bytes at random multiples of it; ids go round."""
    addresses = rng.integers(0, memory_bytes // size, count).astype(np.uint64) * np.uint64(size)
    return _bursts(addresses, size=size, beat=beat, write=write, ids=np.arange(count) % ids)


def merged(*streams):
    """The streams' bursts in turn, one of each; streams are equally long."""
    return np.stack(streams, axis=1).ravel()


def random_bursts(rng, count, *, beat, memory_bytes, ids=16, writes=0.4, longest=16, hot=0.5, idle=0.0):
    """``count`` bursts of 1 to ``longest`` beats anywhere in the memory, the part ``writes`` of them writes.

    Half of them are of one beat. The part ``hot`` goes to the same few places again and again, and the part
    ``idle`` comes long after the burst before it.
    """
    bursts = np.zeros(count, BURST)
    most = BOUNDARY // beat
    beats = np.where(rng.random(count) < 0.5, 1, rng.integers(1, min(longest, most) + 1, count))
    pages = rng.integers(0, memory_bytes // BOUNDARY, count)
    chosen = rng.random(count) < hot
    pages[chosen] = rng.choice(rng.integers(0, memory_bytes // BOUNDARY, 4), chosen.sum())
    offsets = (rng.random(count) * (most - beats + 1)).astype(np.uint64)
    bursts["address"] = pages.astype(np.uint64) * np.uint64(BOUNDARY) + offsets * np.uint64(beat)
    bursts["beats"], bursts["write"] = beats, rng.random(count) < writes
    bursts["id"] = rng.integers(0, ids, count)
    pauses = np.where(rng.random(count) < idle, rng.integers(0, 3000, count), 0)
    bursts["earliest"] = np.cumsum(pauses)
    return bursts
