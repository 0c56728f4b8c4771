"""Ctrl-C at the right time."""

from contextlib import contextmanager
import signal
import threading

__all__ = ["later", "never"]


@contextmanager
def _handler(handler):
    """Another handler of SIGINT meanwhile; the main thread's alone can be changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def later():
    """What is done inside is done whole; KeyboardInterrupt comes after it."""
    asked = []
    with _handler(lambda *_: asked.append(True)):
        yield
    if asked:
        raise KeyboardInterrupt


def never():
    """Processes that are started inside are not interrupted with this one: it ends them itself."""
    return _handler(signal.SIG_IGN)
