"""Requests that are not too large and not too slow, and the API's errors."""

import asyncio

from starlette.responses import JSONResponse
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["BodyLimit", "error_object", "http_server"]

MOST_HEADERS = 1 << 15
"""Bytes of a request's headers."""


def error_object(message, kind="invalid_request_error", param=None, code=None):
    """An error as the API answers it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def http_server(app, *, patience=15, **options):
    """The server of ``app`` with uvicorn's ``options``. A client has ``patience`` seconds for the lines of a
    request, and those that have been taken are finished when the server is told to stop."""
    return uvicorn.Server(
        uvicorn.Config(
            app, http=_Impatient, timeout_keep_alive=patience, timeout_graceful_shutdown=600, **options
        )
    )


class _Impatient(H11Protocol):
    """A connection that is closed when its next request does not come in time; uvicorn stops its clock at the
    first byte."""

    def connection_made(self, transport):
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data):
        self.conn.receive_data(data)
        self.handle_events()


class BodyLimit:
    """ASGI middleware: a request of more than ``most`` bytes is answered with 413, and not kept, one that has
    not come after ``seconds`` with 408, one with long headers with 431."""

    def __init__(self, app, *, most, seconds):
        self.app, self.most, self.seconds = app, most, seconds

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refuse = lambda text, status: JSONResponse(error_object(text), status, {"connection": "close"})
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MOST_HEADERS:
            await refuse(f"headers have at most {MOST_HEADERS} bytes", 431)(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.seconds):
                body = await self._body(receive)
        except TimeoutError:
            await refuse(f"a request has to come in {self.seconds} s", 408)(scope, receive, send)
            return
        if body is None:
            return
        if len(body) > self.most:
            await refuse(f"a request has at most {self.most} bytes", 413)(scope, receive, send)
            return
        given = False

        async def again():
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)

    async def _body(self, receive):
        """The bytes of a request, not many more than may be; None if the client has gone."""
        body, more = bytearray(), True
        while more and len(body) <= self.most:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
        return bytes(body)
