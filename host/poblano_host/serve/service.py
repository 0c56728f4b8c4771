"""An engine in a thread of its own, for callers that wait for answers."""

import asyncio
from dataclasses import dataclass
import queue
import threading
import time

from .engine import Answered, Engine
from .scheduler import Refused

__all__ = ["Busy", "Failed", "Service"]


class Busy(Exception):
    """More requests wait than may."""


class Failed(Exception):
    """The chip has failed, or the service is being stopped."""


@dataclass
class _Caller:
    """Who waits for the answers to a request: events go to ``events`` of ``loop``."""

    loop: asyncio.AbstractEventLoop
    events: asyncio.Queue

    def tell(self, event):
        self.loop.call_soon_threadsafe(self.events.put_nowait, event)


class Service:
    """Runs an :class:`Engine`'s steps as long as there are requests.

    Parameters
    ----------
    engine : Engine
    waiting : the most requests that are not begun
    """

    def __init__(self, engine: Engine, *, waiting=256):
        self.engine, self._most = engine, waiting
        self._inbox: queue.SimpleQueue = queue.SimpleQueue()
        self._callers: dict = {}  # by the request's id
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

    async def answers(self, request, sampler, *, logprobs=None):
        """The events of a request, as :meth:`Engine.step` gives them, until all its answers have ended.

        :class:`Refused` if it can't be served, :class:`Busy` if too many wait, :class:`Failed` if the chip
        fails. A caller that leaves ends the request.
        """
        caller = _Caller(asyncio.get_running_loop(), asyncio.Queue())
        with self._lock:
            if not self._open or self.failure is not None:
                raise Failed(self.failure or "the server is being stopped")
            if len(self._callers) >= self._most:
                raise Busy(f"{self._most} requests are waiting or running; no more are taken")
            self._callers[request.id] = caller
        self._inbox.put(lambda: self._add(request, sampler, logprobs, caller))
        left = request.count
        try:
            while left:
                event = await caller.events.get()
                if isinstance(event, Exception):
                    raise event
                yield event
                left -= isinstance(event, Answered)
        finally:
            with self._lock:
                self._callers.pop(request.id, None)
            if left:
                self._inbox.put(lambda: self.engine.cancel(request.id))

    def stop(self):
        """Take no more requests, and finish those that there are."""
        with self._lock:
            self._open = False
        self._inbox.put(lambda: None)
        self._thread.join()
        self.engine.close()

    def _add(self, request, sampler, logprobs, caller):
        try:
            self.engine.add(request, sampler, logprobs=logprobs)
        except Refused as error:
            caller.tell(error)

    def _work(self):
        idle = True
        while True:
            try:
                while True:
                    self._inbox.get(block=idle)()
                    idle = False
            except queue.Empty:
                pass
            try:
                events = self.engine.step(time.monotonic())
            except Exception as error:  # whatever it is, nobody may wait for ever
                self._fail(error)
                return
            for event in events or ():
                if caller := self._callers.get(event.id):
                    caller.tell(event)
            self.status, idle = self.engine.status(), events is None
            if idle and not self._open and not self._callers and self._inbox.empty():
                return

    def _fail(self, error):
        with self._lock:
            self.failure = f"the chip has failed: {error}"
            callers = list(self._callers.values())
        for caller in callers:
            caller.tell(Failed(self.failure))
