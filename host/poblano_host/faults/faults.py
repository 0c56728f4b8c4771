"""Faults that a campaign injects: each is applied to a :class:`.device.FaultyDevice` in its cycle."""

from dataclasses import dataclass

import numpy as np

from ..sim.faults import Channel, Response
from .places import KINDS_OF_BITS, Place

__all__ = ["KINDS", "BeatError", "Flip", "Interrupted", "QueueReset", "Reset", "Silence", "draw"]


class Interrupted(Exception):
    """The run was cut off by a reset."""


@dataclass(frozen=True)
class Flip:
    """``bits`` of one word flip."""

    cycle: int
    place: Place
    word: int
    bits: tuple

    @property
    def kind(self):
        return self.place.kind

    @property
    def block(self):
        return self.place.block

    @property
    def where(self):
        return f"{self.place.name}[{self.word}] bit{'s' * (len(self.bits) > 1)} " + ", ".join(
            map(str, self.bits)
        )

    @property
    def address(self):
        """Of the burst in memory."""
        return self.place.address + self.place.bytes * self.word

    def apply(self, device):
        memory = device.simulation.config.memory
        home, address = divmod(self.address, memory.home_bytes) if memory.homes > 1 else (0, self.address)
        for bit in self.bits:
            if self.place.register is None:
                device.simulation.flip_dram(home, address, bit)
            else:
                device.simulation.flip(self.place.register, self.word, bit)

    def without(self, difference):
        """What differs in memory, but for the flipped bits themselves, which nobody has written since."""
        if self.place.register is None:
            burst = difference[self.address : self.address + self.place.bytes]
            flipped = np.zeros(8 * len(burst), np.uint8)
            flipped[[bit for bit in self.bits if bit < len(flipped)]] = 1
            if np.array_equal(burst, np.packbits(flipped, bitorder="little")):
                burst[:] = 0
        return difference


@dataclass(frozen=True)
class _Fault:
    cycle: int

    def without(self, difference):
        return difference


@dataclass(frozen=True)
class BeatError(_Fault):
    """Beat ``number`` of the step's read data, or answer ``number`` to its writes, is an error."""

    write: bool
    number: int
    response: Response
    home: int
    kind = "axi-error"

    @property
    def block(self):
        return "write" if self.write else "read"

    @property
    def where(self):
        what = "response" if self.write else "beat"
        return f"{self.response.name} in {what} {self.number} of home {self.home}"

    def apply(self, device):
        device.simulation.fail_beat(
            write=self.write, number=self.number, response=self.response, home=self.home
        )


@dataclass(frozen=True)
class Silence(_Fault):
    """Channels of a home are silent for so many cycles, None: for ever."""

    channels: Channel
    cycles: int | None
    home: int
    kind = "silent"

    @property
    def block(self):
        return "+".join(str(channel.name) for channel in Channel if channel in self.channels)

    @property
    def where(self):
        how = "for ever" if self.cycles is None else f"for {self.cycles} cycles"
        return f"{self.block} of home {self.home} {how}"

    def apply(self, device):
        device.simulation.silence(
            self.channels, (1 << 64) - 1 if self.cycles is None else self.cycles, home=self.home
        )


class Reset(_Fault):
    """The chip is reset by its pin."""

    kind = block = where = "reset"

    def apply(self, device):
        device.simulation.reset()
        raise Interrupted


class QueueReset(_Fault):
    """The host gives up the program, and starts another one, which resets the queue."""

    kind = block = where = "queue-reset"

    def apply(self, device):
        raise Interrupted


KINDS = (*KINDS_OF_BITS, BeatError.kind, Silence.kind, Reset.kind, QueueReset.kind)
LONGEST_SILENCE = 1 << 15


def draw(kind, count, seed, *, golden, places, homes, bits=1):
    """``count`` faults of a ``kind`` in a step that takes the :class:`.campaign.Golden` cycles and beats;
    ``bits`` flip at once in a word, and each bit of ``places`` is as likely as any other."""
    generator = np.random.default_rng([seed, KINDS.index(kind)])
    cycles = generator.integers(0, golden.cycles, count).tolist()
    make = {
        BeatError.kind: lambda cycle: _beat_error(generator, golden, homes),
        Silence.kind: lambda cycle: _silence(generator, cycle, homes),
        Reset.kind: Reset,
        QueueReset.kind: QueueReset,
    }.get(kind, lambda cycle: _flip(generator, cycle, places, bits))
    return [make(cycle) for cycle in cycles]


def _flip(generator, cycle, places, count):
    place, word, bit = places.at(int(generator.integers(places.bits)))
    others = [n for n in range(place.width) if n != bit]
    more = generator.choice(others, min(count - 1, len(others)), replace=False).tolist() if count > 1 else []
    return Flip(cycle, place, word, (bit, *more))


def _beat_error(generator, golden, homes):
    write = bool(golden.bursts_written) and generator.random() < 0.5
    number = int(generator.integers(golden.bursts_written if write else golden.beats_read))
    return BeatError(
        0, write, number // homes, Response(int(generator.integers(2, 4))), int(generator.integers(homes))
    )


def _silence(generator, cycle, homes):
    channels = [*Channel, Channel(sum(Channel))]
    chosen = channels[generator.integers(len(channels))]
    cycles = None if generator.random() < 0.5 else int(2 ** generator.uniform(4, np.log2(LONGEST_SILENCE)))
    return Silence(cycle, chosen, cycles, int(generator.integers(homes)))
