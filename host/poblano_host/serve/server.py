"""The HTTP server: OpenAI's API in front of a :class:`.service.Service`."""

import asyncio
from contextlib import aclosing, asynccontextmanager
import json
from pathlib import Path
import time

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from sse_starlette import EventSourceResponse
from sse_starlette.sse import AppStatus
from starlette.exceptions import HTTPException as StarletteError

from poblano.config import ConfigError

from .answers import Call, chat_call, completion_call
from .limits import BodyLimit, error_object
from .metrics import Metrics
from .scheduler import Refused
from .schemas import ChatBody, CompletionBody, TraceBody
from .service import Busy, Failed, Service

__all__ = ["create_app"]

PAGE = Path(__file__).with_name("page.html")
MOST_BODY = 1 << 20
"""Bytes of a request."""
BODY_SECONDS = 30
"""That they may take."""


def create_app(service: Service, name, *, body_seconds=BODY_SECONDS):
    """The application that serves the engine of ``service`` as the model ``name``; when it is shut down it
    stops the service."""
    AppStatus.disable_automatic_graceful_drain()  # streams end by themselves; a signal would cut them off

    @asynccontextmanager
    async def lifespan(app):
        yield
        await asyncio.to_thread(service.stop)

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan)
    app.add_middleware(BodyLimit, most=MOST_BODY, seconds=body_seconds)
    engine, model, metrics = service.engine, service.engine.model, Metrics(service)
    begun = int(time.time())
    entry = {"id": name, "object": "model", "created": begun, "owned_by": "poblano"}
    entry |= {"max_model_len": engine.compiled.context}
    _errors(app)

    def known(asked):
        if asked != name:
            raise _error(
                404, f"the model {asked!r} does not exist; there is {name!r}", "model", "model_not_found"
            )

    async def prepare(make, body):
        known(body.model)
        try:
            return await asyncio.to_thread(make, model, body)
        except (ConfigError, ValueError) as error:  # a model without a template, a prompt without a token
            raise _error(400, str(error)) from None

    async def call(make, body):
        made = await prepare(make, body)
        events = service.answers([made.asked])
        # An error from before the first event is an answer of a stream too, not a piece of it.
        pieces = _pieces(made, metrics, await anext(events), events)
        if body.stream:
            return EventSourceResponse(_stream(made, pieces), sep="\n")
        async for _ in pieces:
            pass
        return made.whole()

    async def replay(body):
        calls = [await prepare(completion_call, one) for one in body.requests]
        for made, one in zip(calls, body.requests):
            made.asked.arrival = one.arrival
        events = service.answers([made.asked for made in calls])
        lines = _traced(calls, metrics, await anext(events), events)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    @app.post("/v1/chat/completions")
    async def chat(body: ChatBody, request: Request):
        return await _unless_gone(request, call(chat_call, body))

    @app.post("/v1/completions")
    async def completions(body: CompletionBody, request: Request):
        return await _unless_gone(request, call(completion_call, body))

    @app.post("/trace")
    async def trace(body: TraceBody, request: Request):
        return await _unless_gone(request, replay(body))

    _watch(app, service, name, metrics)

    @app.get("/v1/models")
    async def models():
        return {"object": "list", "data": [entry]}

    @app.get("/v1/models/{asked:path}")
    async def one(asked: str):
        known(asked)
        return entry

    return app


def _watch(app, service, name, metrics):
    """Routes for those who watch the server."""
    engine, model = service.engine, service.engine.model

    @app.get("/", include_in_schema=False)
    async def page():
        return FileResponse(PAGE, media_type="text/html")

    @app.get("/status")
    async def status():
        template, dram = model.tokenizer.framing.template is not None, engine.config.memory.dram
        about = {"model": name, "name": model.config.name, "preset": engine.config.name, "template": template}
        about["clock_mhz"] = None if dram is None else float(dram.clock_mhz)
        return about | service.status

    @app.get("/health")
    async def health():
        if service.failure is not None:
            raise Failed(service.failure)
        return {"status": "ok"}

    @app.get("/metrics")
    async def prometheus():
        return PlainTextResponse(metrics.text(), media_type=metrics.CONTENT_TYPE)


async def _pieces(made: Call, metrics, event, events):
    """What ``event`` and the ``events`` behind it add to the answers, until these are finished."""
    async with aclosing(events):
        while event is not None:
            for piece in made.take(event):
                yield piece
            if made.finished:
                break
            event = await anext(events, None)
    metrics.answered(made)


async def _traced(calls, metrics, event, events):
    """A line for each request of a trace when it has been answered."""
    numbers = {made.asked.request.id: n for n, made in enumerate(calls)}
    async with aclosing(events):
        try:
            while event is not None:
                n = numbers[event.id]
                made = calls[n]
                if not made.finished:
                    made.take(event)
                    if made.finished:
                        metrics.answered(made)
                        line = {"index": n, "answer": made.whole(), "token_cycles": made.token_cycles}
                        yield json.dumps(line) + "\n"
                event = await anext(events, None)
        except (Failed, Refused) as error:
            yield json.dumps(error_object(str(error))) + "\n"


async def _unless_gone(request, work):
    """What ``work`` gives; it is cancelled when the client goes away."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())  # the body is read: what is left to come is the end
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return Response(status_code=499)  # to nobody
    finally:
        gone.cancel()
        task.cancel()


async def _stream(made: Call, pieces):
    """The pieces of a streamed answer."""
    if made.chat:
        for index in range(made.body.n):
            yield json.dumps(made.opening(index))
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                yield json.dumps(made.chunk(*piece))
        except Failed as error:
            yield json.dumps(error_object(str(error), "server_error"))
            return
    if made.body.stream_options is not None and made.body.stream_options.include_usage:
        yield json.dumps(made.last())
    yield "[DONE]"


def _error(status, message, param=None, code=None):
    return HTTPException(status, error_object(message, param=param, code=code))


def _errors(app):
    """Every error is the API's object."""

    @app.exception_handler(StarletteError)
    async def http(request: Request, error: StarletteError):
        known = error.detail if isinstance(error.detail, dict) else error_object(str(error.detail))
        return JSONResponse(known, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError):
        first = error.errors()[0]
        name, *rest = [str(part) for part in first["loc"][1:]] or [""]
        where = ".".join([name, *(part for part in rest if "[" not in part)])  # not which type of several
        message = f"{where}: {first['msg']}" if where else first["msg"]
        return JSONResponse(error_object(message, param=where or None), 400)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused):
        return JSONResponse(error_object(str(error), param="messages", code="context_length_exceeded"), 400)

    @app.exception_handler(Busy)
    async def busy(request: Request, error: Busy):
        return JSONResponse(error_object(str(error), "rate_limit_error"), 429)

    @app.exception_handler(Failed)
    async def failed(request: Request, error: Failed):
        return JSONResponse(error_object(str(error), "server_error"), 503)
