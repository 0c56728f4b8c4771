"""AXI4 masters and memories for testbenches of Amaranth's simulator, with pauses and answers in any order.

All of them check that what is offered stays until it is taken.
"""

from collections import deque

__all__ = ["ReadMaster", "ReadMemory", "WriteMaster", "WriteMemory", "beat_at"]


def beat_at(address, width=32):
    """What memory has at an address: a number that depends on the address alone."""
    return (address * 0x9E3779B97F4A7C15 >> 8) & (1 << width) - 1


class _Stable:
    """Remembers an offer that was not taken; the next one must be the same."""

    def __init__(self, what):
        self.what, self.held = what, None

    def offer(self, valid, payload, ready):
        offered = payload.as_bits() if valid else None
        assert self.held in (None, offered), f"{self.what} changed before it was taken"
        self.held = None if ready else offered


class ReadMaster:
    """Reads ``bursts`` (address, beats), up to ``ids`` at a time, each with an id that no other in flight
    has; with ``ids`` 0 all have id 0, and two are in flight.

    Always takes data, and checks them: they are those of ``place(address)``. ``finished`` counts bursts,
    ``waited`` is the longest time from a burst's offer to its taking.
    """

    def __init__(self, port, bursts, *, ids, beat_bytes, rng, stall=0.0, place=lambda address: address):
        self.port, self.bursts, self.ids, self.rng, self.stall = port, bursts, ids, rng, stall
        self.place = place
        self.beat_bytes, self.finished, self.waited = beat_bytes, 0, 0

    @property
    def done(self):
        return self.finished == len(self.bursts)

    async def run(self, ctx):
        ar, r = self.port.ar, self.port.r
        todo, flying = deque(self.bursts), {n: deque() for n in range(max(1, self.ids))}
        offered, waits = None, 0
        ctx.set(r.ready, 1)
        while True:
            free = [n for n in flying if len(flying[n]) < (1 if self.ids else 2)]
            if offered is None and todo and free and self.rng.random() >= self.stall:
                offered, waits = (self.rng.choice(free), *todo.popleft()), 0
                ctx.set(ar.payload, {"id": offered[0], "addr": offered[1], "len": offered[2] - 1})
            ctx.set(ar.valid, offered is not None)
            _, _, taken, valid, beat = await ctx.tick().sample(ar.ready, r.valid, r.payload)
            waits += 1
            if valid:
                address, left = flying[beat.id][0]
                assert beat.data == beat_at(self.place(address), len(self.port.r.payload.data))
                assert beat.last == (left == 1)
                flying[beat.id][0] = address + self.beat_bytes, left - 1
                if left == 1:
                    flying[beat.id].popleft()
                    self.finished += 1
            if offered is not None and taken:
                flying[offered[0]].append(offered[1:])
                self.waited, offered = max(self.waited, waits), None


class ReadMemory:
    """Answers the bursts at ``port``: those of one id in order, else beats of all in any order.

    ``has`` says whether an address is in the memory; ``bursts`` are the addresses that came.
    """

    def __init__(self, port, *, has, beat_bytes, rng, stall=0.0):
        self.port, self.has, self.beat_bytes, self.rng, self.stall = port, has, beat_bytes, rng, stall
        self.bursts = []

    async def run(self, ctx):
        ar, r = self.port.ar, self.port.r
        queues, stable, given = {}, _Stable("an address"), None
        width = len(r.payload.data)
        while True:
            take = self.rng.random() >= self.stall
            ctx.set(ar.ready, take)
            busy = [number for number, queue in queues.items() if queue]
            if given is None and busy and self.rng.random() >= self.stall:
                given = self.rng.choice(busy)
                address, left = queues[given][0]
                beat = {"id": given, "data": beat_at(address, width), "resp": 0, "last": left == 1}
                ctx.set(r.payload, beat)
            ctx.set(r.valid, given is not None)
            _, _, valid, burst, ready = await ctx.tick().sample(ar.valid, ar.payload, r.ready)
            stable.offer(valid, burst, take)
            if given is not None and ready:
                address, left = queues[given][0]
                queues[given][0] = address + self.beat_bytes, left - 1
                if left == 1:
                    queues[given].popleft()
                given = None
            if take and valid:
                assert self.has(burst.addr), "a burst for another home"
                self.bursts.append(burst.addr)
                queues.setdefault(burst.id, deque()).append((burst.addr, burst.len + 1))


class WriteMaster:
    """Writes ``bursts`` (address, beats) of what :func:`beat_at` has, up to ``ids`` unanswered at a time,
    each with an id of its own; data do not come before their address is offered."""

    def __init__(self, port, bursts, *, ids, beat_bytes, rng, stall=0.0):
        self.port, self.bursts, self.ids, self.rng, self.stall = port, bursts, ids, rng, stall
        self.beat_bytes, self.finished, self.waited = beat_bytes, 0, 0

    @property
    def done(self):
        return self.finished == len(self.bursts)

    async def run(self, ctx):
        aw, w, b = self.port.aw, self.port.w, self.port.b
        todo, free, beats = deque(self.bursts), set(range(self.ids)), deque()
        offered, beat, waits = None, None, 0
        ctx.set(b.ready, 1)
        while True:
            if offered is None and todo and free and self.rng.random() >= self.stall:
                address, count = todo.popleft()
                offered, waits = self.rng.choice(sorted(free)), 0
                free.remove(offered)
                ctx.set(aw.payload, {"id": offered, "addr": address, "len": count - 1})
                beats.extend((address + self.beat_bytes * k, k == count - 1) for k in range(count))
            ctx.set(aw.valid, offered is not None)
            if beat is None and beats and self.rng.random() >= self.stall:
                beat = beats.popleft()
                data = beat_at(beat[0], len(w.payload.data))
                strobes = (1 << self.beat_bytes) - 1
                ctx.set(w.payload, {"data": data, "strb": strobes, "last": beat[1]})
            ctx.set(w.valid, beat is not None)
            _, _, taken, beat_taken, answered, answer = await ctx.tick().sample(
                aw.ready, w.ready, b.valid, b.payload
            )
            waits += 1
            if offered is not None and taken:
                self.waited, offered = max(self.waited, waits), None
            if beat is not None and beat_taken:
                beat = None
            if answered:
                assert answer.id not in free and answer.id != offered and answer.resp == 0
                free.add(answer.id)
                self.finished += 1


class WriteMemory:
    """Takes bursts at ``port``, and answers those whose data have come in any order.

    ``has`` says whether an address is in the memory; ``written`` has the data by their addresses.
    """

    def __init__(self, port, *, has, beat_bytes, rng, stall=0.0):
        self.port, self.has, self.beat_bytes, self.rng, self.stall = port, has, beat_bytes, rng, stall
        self.written, self.bursts = {}, []

    async def run(self, ctx):
        aw, w, b = self.port.aw, self.port.w, self.port.b
        addresses, waiting, answers, given = deque(), deque(), [], None
        stable, stable_beats = _Stable("an address"), _Stable("a beat")
        while True:
            takes = [self.rng.random() >= self.stall for _ in range(2)]
            ctx.set(aw.ready, takes[0])
            ctx.set(w.ready, takes[1])
            if given is None and answers and self.rng.random() >= self.stall:
                given = answers.pop(self.rng.randrange(len(answers)))
                ctx.set(b.payload, {"id": given, "resp": 0})
            ctx.set(b.valid, given is not None)
            _, _, valid, burst, has_beat, beat, ready = await ctx.tick().sample(
                aw.valid, aw.payload, w.valid, w.payload, b.ready
            )
            stable.offer(valid, burst, takes[0])
            stable_beats.offer(has_beat, beat, takes[1])
            if given is not None and ready:
                given = None
            if valid and takes[0]:
                assert self.has(burst.addr), "a burst for another home"
                self.bursts.append(burst.addr)
                addresses.append((burst.id, burst.addr, burst.len + 1))
            if has_beat and takes[1]:
                waiting.append(beat)
            while waiting and addresses:
                number, address, left = addresses[0]
                beat = waiting.popleft()
                assert beat.last == (left == 1)
                self.written[address] = beat.data
                addresses[0] = number, address + self.beat_bytes, left - 1
                if left == 1:
                    addresses.popleft()
                    answers.append(number)
