"""Bodies of requests that are not too large, and the API's errors."""

from starlette.responses import JSONResponse

__all__ = ["BodyLimit", "error_object"]


def error_object(message, kind="invalid_request_error", param=None, code=None):
    """An error as the API answers it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class BodyLimit:
    """ASGI middleware: a request of more than ``most`` bytes is answered with 413, and not kept."""

    def __init__(self, app, *, most):
        self.app, self.most = app, most

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self.most:
                error = error_object(f"a request has at most {self.most} bytes")
                await JSONResponse(error, 413, {"connection": "close"})(scope, receive, send)
                return
        given = False

        async def again():
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)
