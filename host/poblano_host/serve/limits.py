"""Bodies of requests that are not too large."""

import json

__all__ = ["BodyLimit"]


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
                await self._refuse(send)
                return
        given = False

        async def again():
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)

    async def _refuse(self, send):
        text = f"a request has at most {self.most} bytes"
        error = {"message": text, "type": "invalid_request_error", "param": None, "code": None}
        data = json.dumps({"error": error}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": data})
