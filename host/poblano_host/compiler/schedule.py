"""The order of a program's commands: matrix, vector and memory work at once wherever they do not depend on
each other."""

from heapq import heappop, heappush

__all__ = ["ahead", "hoist", "schedule"]

FILLED = 0.75
"""Of the weights that are fetched ahead, the part that is there when memory is not late."""


def schedule(ops, predecessors, fetched=0):
    """The places of ``ops`` in a good order.

    List scheduling: each unit takes, whenever it is free, of the commands whose predecessors have completed
    that of the lowest rank, and of these the one with the longest path of dependent commands behind it
    (:class:`.builder.Op`'s ``rank``, ``cycles`` and ``latency``). ``predecessors`` lists, for each command,
    the places of those before it; weights are ``fetched`` up to so many cycles ahead, see :class:`_Unit`.
    """
    successors = [[] for _ in ops]
    for n, before in enumerate(predecessors):
        for p in before:
            successors[p].append(n)
    path = [0] * len(ops)
    for n in reversed(range(len(ops))):
        path[n] = ops[n].latency + max((path[s] for s in successors[n]), default=0)

    missing = [len(before) for before in predecessors]
    ready_at = [0] * len(ops)
    units = {op.unit: _Unit(fetched) for op in ops}
    events = [0]  # times at which something may start
    order = []
    for n, op in enumerate(ops):
        if not missing[n]:
            units[op.unit].add(0, op, -path[n], n)
    while events:
        now = heappop(events)
        while events and events[0] == now:
            heappop(events)
        for unit in units.values():
            n = unit.take(now)
            if n is None:
                continue
            order.append(n)
            late = unit.begin(now, ops[n])
            heappush(events, unit.free)
            for s in successors[n]:
                missing[s] -= 1
                ready_at[s] = max(ready_at[s], now + ops[n].latency + late)
                if not missing[s]:
                    units[ops[s].unit].add(ready_at[s], ops[s], -path[s], s)
                    heappush(events, ready_at[s])
    return order


class _Unit:
    """A unit: when it is free, and the commands that it may take, now or later.

    Of a matmul unit also when memory will have given all weights so far, which it fetches up to ``fetched``
    cycles ahead. Where memory is late, a product that takes longer than its weights goes first, else one
    whose weights take longer.
    """

    def __init__(self, fetched):
        self.free = 0
        self._fetched, self._given = fetched, 0
        self._late, self._ready = [], ([], [])

    def add(self, time, op, *key):
        """A command that it may take from ``time`` on; its place is the last part of ``key``."""
        heavy = op.stream is not None and op.stream.cycles > op.cycles
        heappush(self._late, (time, (op.rank, *key), heavy))

    def take(self, now):
        """The place of the command of the least key that it takes now, None if it takes none."""
        if self.free > now:
            return None
        while self._late and self._late[0][0] <= now:
            _, key, heavy = heappop(self._late)
            heappush(self._ready[heavy], key)
        light, heavy = self._ready
        first = light if self._given > now - FILLED * self._fetched else heavy
        found = first or light or heavy
        return heappop(found)[-1] if found else None

    def begin(self, now, op):
        """The unit is free when ``op`` has what it needs; by how much memory makes it later."""
        self.free = now + op.cycles
        if op.stream is None:
            return 0
        self._given = max(self._given, now - self._fetched) + op.stream.cycles
        late = max(0, self._given - self.free)
        self.free += late
        return late


def hoist(order, matmuls, predecessors, depth, floors):
    """``order`` (commands) with the STREAMs put in, each as far ahead as it may go.

    Dispatch is in order and a queue holds ``depth`` commands: a stream stays behind the matmul that drains
    the stream ``depth`` before it, or dispatch would block on a full queue for ever; and behind what it
    waits for.

    Parameters
    ----------
    order : numbers of commands that are no STREAMs
    matmuls : by the number of a MATMUL, (its stream unit, the number of its STREAM)
    predecessors : by the number of a STREAM, those of what it waits for
    floors : by the number of a MATMUL, the place in ``order`` before which its STREAM does not go
    """
    place = {number: at for at, number in enumerate(order)}
    queues = {}  # by stream unit: places of the matmuls so far, the least place of the next stream
    before = [[] for _ in order]
    for at, number in enumerate(order):
        if number not in matmuls:
            continue
        unit, stream = matmuls[number]
        drained, least = queues.setdefault(unit, ([], 0))
        if len(drained) >= depth:
            least = max(least, drained[-depth] + 1)
        least = max([least, floors[number], *(place[p] + 1 for p in predecessors[stream])])
        drained.append(at)
        queues[unit] = drained, least
        before[least].append(stream)
    return [n for at, number in enumerate(order) for n in (*before[at], number)]


def ahead(order, units, predecessors, floors, depth):
    """``order`` (commands in the order in which they start) as a program has it: each command as early as its
    unit's queue, of ``depth`` commands, has room for it.

    A command that finds its queue full keeps those behind it waiting, whatever their units. It comes when the
    one ``depth`` before it in its unit starts, so that up to then others may take longer than was expected.

    Parameters
    ----------
    units : by the number of a command, its unit; None of a STREAM, which keeps its place
    predecessors : by the number of a command, those that stay before it
    floors : by the number of a command, the one before which it does not go
    """
    place, room, queues = {n: at for at, n in enumerate(order)}, {}, {}
    for at, n in enumerate(order):
        if units[n] is None:
            room[n] = at
            continue
        queue = queues.setdefault(units[n], [])
        soonest = [room[p] for p in (*predecessors[n], *queue[-1:])]
        soonest.append(at if floors[n] == n else room[floors[n]])
        if len(queue) >= depth:
            soonest.append(place[queue[-depth]])
        room[n] = max(soonest)
        queue.append(n)
    return sorted(order, key=room.__getitem__)
