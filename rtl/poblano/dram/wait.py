"""For how long a burst can wait in a DRAM controller: bounds that hold for any traffic.

``formal/dram_wait.py`` proves each of them for small DRAMs, from these very formulas.
"""

from dataclasses import dataclass
from functools import cached_property

from . import refresher
from .config import DramConfig

__all__ = ["Hold", "Service", "Wait"]


@dataclass(frozen=True)
class Service:
    """The service of an aged burst: the cycles in which it is the oldest of its queue, the pins have its
    direction, AXI has room for its data or has given them, and no bank of its set is held for a refresh.

    Parameters
    ----------
    config : DramConfig, without ecc
    write : it writes
    """

    config: DramConfig
    write: bool

    @property
    def turn(self):
        """Until the other direction's commands forbid no column command, and no bank is kept for others."""
        t = self.config.cycles
        return 6 + (t.read_to_write if self.write else max(t.write_to_read_other, t.write_to_read_same))

    @property
    def activation(self):
        """At most until activations and a refresh of other banks allow an activation."""
        t = self.config.cycles
        return t.act_to_act_same + max(t.four_acts, t.act_to_act_other, t.refresh_to_refresh)

    @property
    def opened(self):
        """At most from an activation to when the bank may be read or written."""
        t = self.config.cycles
        return max(t.act_to_write if self.write else t.act_to_read, 3)

    @property
    def open(self):
        """At most until a bank has the burst's row: closed as soon as it may be and an activation of each
        bank went before, activated, and accessed."""
        t, timing = self.config.cycles, self.config.timing
        closing = _last(t) + timing.groups * timing.banks
        return closing + _before(self.config) + self.activation + self.opened

    @property
    def beat(self):
        """At most from a beat to the next one, with all rows open."""
        t = self.config.cycles
        return t.column_same + t.column_other

    @property
    def slots(self):
        """Of so many cycles one is free for a row command: of two, where each command has the bus alone."""
        return 2 if self.config.timing.shared_bus and self.config.timing.ratio == 1 else 1

    @property
    def reopened(self):
        """At most what a hold of its set adds: its rows are opened anew."""
        return self.slots * (self.config.timing.ways * self.open + self.beat)

    @property
    def rank(self):
        """At most from when the turn is over to the last beat, with nothing added."""
        timing = self.config.timing
        beats = timing.ways * timing.columns * self.beat
        return self.slots * (timing.ways * self.open + beats) + self.slots - 1

    @property
    def precharge(self):
        """At most what a precharge by the refresher, in another set, adds."""
        return self.slots * 2

    @property
    def refresh(self):
        """At most what a refresh of a bank of another set adds."""
        return self.slots * self.activation


@dataclass(frozen=True)
class Hold:
    """The cycles for which the refresher holds a set, or all banks until they are refreshed.

    Parameters
    ----------
    config : DramConfig
    """

    config: DramConfig

    @property
    def restart(self):
        """From an activation or refresh to a refresh of a bank in another group."""
        t = self.config.cycles
        return max(t.act_to_act_other, t.refresh_to_refresh)

    @property
    def window(self):
        """At most until activations and refreshes of other banks allow a refresh."""
        return self.config.cycles.act_to_act_same + self.restart

    @property
    def command(self):
        """At most until a command of the refresher is given, once its bank allows it."""
        return (refresher.REFUSED + 1) * self.window

    @property
    def closed(self):
        """From a precharge to a refresh."""
        return max(self.config.cycles.precharge_to_act, 2)

    @property
    def cycles(self):
        """At most. All banks are closed together, but the controller may just be closing one by one."""
        config, timing = self.config, self.config.timing
        timers = _last(config.cycles) + _before(config)
        if config.refreshes_banks:
            return timers + 2 * timing.ways * self.command + 3
        return timers + timing.groups * timing.banks + 2


@dataclass(frozen=True)
class Wait:
    """How long a burst waits at the most, if AXI takes the data of reads and responses at once and has given
    the data of writes, and ``read_beats`` are more than are on their way from the DRAM at a time.

    Parameters
    ----------
    config : DramConfig, without ecc
    """

    config: DramConfig

    @cached_property
    def aged(self):
        """Cycles for which a burst is aged: both directions serve one, and banks are refreshed meanwhile.

        In so many cycles each bank is refreshed as often as an interval ends, and as often as refreshes had
        been put off. A set that the aged burst needs is held only in rounds from the ``LATE``-th that is due
        on; two bursts have a round in common at most, and a hold may have begun before each.
        """
        config, timing = self.config, self.config.timing
        services = [Service(config, write) for write in (False, True)]
        most = lambda name: max(getattr(service, name) for service in services)
        late = refresher.LATE if config.refreshes_banks else timing.postponed
        others = timing.groups * timing.banks if config.refreshes_banks else 0
        cycles, before = 1, 0
        while cycles > before:
            before, intervals = cycles, -(-cycles // config.cycles.interval)
            if intervals > 1000:
                raise ValueError(f"{timing.name} is refreshed so often that no bound of a wait is known")
            holds = timing.postponed - late + 1 + intervals + 3
            cycles = 3 + sum(service.rank for service in services) + (holds + 2) * most("turn")
            cycles += holds * (most("reopened") + Hold(config).cycles)
            cycles += (timing.postponed + intervals) * others * (most("precharge") + most("refresh"))
        return cycles

    def queued(self, depth):
        """Cycles from when a queue of ``depth`` bursts takes a burst to its last column command."""
        return (depth + 1) * (self.config.oldest + self.aged) + 1

    @property
    def read(self):
        """Of a read."""
        return self.queued(self.config.reads)

    @property
    def write(self):
        """Of a write."""
        return self.queued(self.config.writes)


def _last(cycles):
    """From the last command to an open bank to when it may be closed."""
    return max(cycles.act_to_precharge, cycles.read_to_precharge, cycles.write_to_precharge)


def _before(config):
    """From the last command to a bank to when it may be activated, once it is closed."""
    t = config.cycles
    refresh = t.refresh_bank if config.refreshes_banks else t.refresh_all
    return max(t.act_to_act, t.precharge_to_act, refresh, 2)
