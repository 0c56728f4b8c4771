"""An engine in a thread of its own, for callers that wait for answers."""

import asyncio
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import count
import queue
import threading
import time

from ..runtime.sampler import Sampler
from .engine import Answered, Engine
from .request import Request
from .scheduler import Refused

__all__ = ["Asked", "Busy", "Failed", "Service"]


class Busy(Exception):
    """More requests wait than may."""


class Failed(Exception):
    """The chip has failed, or the service is being stopped."""


@dataclass(eq=False)
class Asked:
    """A request, how its tokens are chosen, and of how many tokens the probabilities are wanted.

    ``arrival``: it arrives so many cycles of the chip's clock after those that it is asked together with;
    None: when it is asked.

    Members
    -------
    arrived : the chip's cycle at which it arrived, once an event of it has come
    """

    request: Request
    sampler: Sampler
    logprobs: int | None = None
    arrival: int | None = None
    arrived: int = 0


@dataclass(eq=False)
class _Caller:
    """Who waits for the answers to requests: events go to ``events`` of ``loop``."""

    loop: asyncio.AbstractEventLoop
    events: asyncio.Queue

    def tell(self, event):
        self.loop.call_soon_threadsafe(self.events.put_nowait, event)


class Service:
    """Runs an :class:`Engine`'s steps as long as there are requests.

    The chip's clock goes on while it works. Where nothing runs and requests are still to arrive
    (``Asked.arrival``), it jumps to the arrival of the first.

    Parameters
    ----------
    engine : Engine
    waiting : the most requests that wait or run
    """

    def __init__(self, engine: Engine, *, waiting=256):
        self.engine, self._most = engine, waiting
        self._inbox: queue.SimpleQueue = queue.SimpleQueue()
        self._callers: dict = {}  # by the request's id
        self._coming: list = []  # a heap: (the clock's time, number, Asked, _Caller)
        self._numbers = count()
        self._idle = 0  # cycles of the clock in which nothing ran
        self._lock = threading.Lock()
        self._open = True
        self.failure: str | None = None
        self.status = engine.status()  # after the last step
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def requests(self):
        """Requests that wait or run."""
        return len(self._callers)

    async def answers(self, asked):
        """The events of requests (:class:`Asked`), as :meth:`Engine.step` gives them, until all their answers
        have ended. They are taken together: no step is between them.

        :class:`Refused` if one can't be served, :class:`Busy` if too many wait, :class:`Failed` if the chip
        fails. A caller that leaves ends the requests.
        """
        caller = _Caller(asyncio.get_running_loop(), asyncio.Queue())
        names = [one.request.id for one in asked]
        with self._lock:
            if not self._open or self.failure is not None:
                raise Failed(self.failure or "the server is being stopped")
            if len(self._callers) + len(asked) > self._most:
                raise Busy(f"at most {self._most} requests wait or run; no more are taken")
            self._callers |= dict.fromkeys(names, caller)
        self._inbox.put(lambda: self._take(asked, caller))
        left = sum(one.request.count for one in asked)
        try:
            while left:
                event = await caller.events.get()
                if isinstance(event, Exception):
                    raise event
                yield event
                left -= isinstance(event, Answered)
        finally:
            with self._lock:
                for name in names:
                    self._callers.pop(name, None)
            if left:
                self._inbox.put(lambda: self._cancel(names))

    def stop(self):
        """Take no more requests, and finish those that there are."""
        with self._lock:
            self._open = False
        self._inbox.put(lambda: None)
        self._thread.join()
        self.engine.close()

    def _take(self, asked, caller):
        """Requests arrive, or will when the clock is so far."""
        if any(one.arrival is not None for one in asked):
            self.engine.scheduler.pool.forget()  # so that what comes of it does not depend on what was before
        for one in asked:
            if one.arrival is None:
                self._arrive(one, caller, self.engine.cycles)
            else:
                time = self.engine.cycles + self._idle + one.arrival
                heappush(self._coming, (time, next(self._numbers), one, caller))

    def _arrive(self, one, caller, cycle):
        one.arrived = cycle
        try:
            self.engine.add(one.request, one.sampler, logprobs=one.logprobs)
        except Refused as error:
            caller.tell(error)

    def _arrivals(self):
        """The requests arrive whose time has come."""
        while self._coming and self._coming[0][0] <= self.engine.cycles + self._idle:
            time, _, one, caller = heappop(self._coming)
            self._arrive(one, caller, time - self._idle)

    def _cancel(self, names):
        self._coming = [coming for coming in self._coming if coming[2].request.id not in names]
        heapify(self._coming)
        for name in names:
            self.engine.cancel(name)

    def _work(self):
        idle = True
        while True:
            try:
                while True:
                    self._inbox.get(block=idle and not self._coming)()
                    idle = False
            except queue.Empty:
                pass
            try:
                self._arrivals()
                events = self.engine.step(time.monotonic())
            except Exception as error:  # whatever it is, nobody may wait for ever
                self._fail(error)
                return
            self.status, idle = self.engine.status(), events is None
            for event in events or ():
                if caller := self._callers.get(event.id):
                    caller.tell(event)
            if idle and self._coming:
                self._idle = max(self._idle, self._coming[0][0] - self.engine.cycles)
            elif idle and not self._open and not self._callers and self._inbox.empty():
                return

    def _fail(self, error):
        with self._lock:
            self.failure = f"the chip has failed: {error}"
            callers = list(self._callers.values())
        for caller in callers:
            caller.tell(Failed(self.failure))
