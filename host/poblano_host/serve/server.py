"""The HTTP server: OpenAI's API in front of a :class:`.service.Service`."""

import asyncio
from contextlib import aclosing, asynccontextmanager
import json
from pathlib import Path
import time

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from sse_starlette import EventSourceResponse
from starlette.exceptions import HTTPException as StarletteError

from poblano.config import ConfigError

from .answers import Call, chat_call, completion_call
from .limits import BodyLimit
from .metrics import Metrics
from .scheduler import Refused
from .schemas import ChatBody, CompletionBody
from .service import Busy, Failed, Service

__all__ = ["create_app"]

PAGE = Path(__file__).with_name("page.html")
MOST_BODY = 1 << 20
"""Bytes of a request."""


def create_app(service: Service, name):
    """The application that serves the engine of ``service`` as the model ``name``; when it is shut down it
    stops the service."""

    @asynccontextmanager
    async def lifespan(app):
        yield
        await asyncio.to_thread(service.stop)

    app = FastAPI(title="Poblano", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(BodyLimit, most=MOST_BODY)
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

    async def call(make, body):
        known(body.model)
        try:
            made = await asyncio.to_thread(make, model, body)
        except (ConfigError, ValueError) as error:  # a model without a template, a prompt without a token
            raise _error(400, str(error)) from None
        made.cycles["arrived"] = engine.cycles
        events = service.answers(made.request, made.sampler, logprobs=made.logprobs)
        if body.stream:
            # Errors from before the first event are answers, not events.
            first = await _first(events)
            return EventSourceResponse(_stream(made, engine, metrics, first, events), sep="\n")
        async with aclosing(events):
            event = await _first(events)
            while event is not None:
                made.take(event, engine.cycles)
                if made.finished:
                    break
                event = await anext(events, None)
        metrics.answered(made)
        return made.whole()

    @app.post("/v1/chat/completions")
    async def chat(body: ChatBody):
        return await call(chat_call, body)

    @app.post("/v1/completions")
    async def completions(body: CompletionBody):
        return await call(completion_call, body)

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
        template = model.tokenizer.framing.template is not None
        about = {"model": name, "name": model.config.name, "preset": engine.config.name, "template": template}
        return about | service.status

    @app.get("/health")
    async def health():
        if service.failure is not None:
            raise _error(503, service.failure, kind="server_error")
        return {"status": "ok"}

    @app.get("/metrics")
    async def prometheus():
        return PlainTextResponse(metrics.text(), media_type=metrics.CONTENT_TYPE)


async def _first(events):
    """The first event of a request; the API's error if there is none."""
    try:
        return await anext(events)
    except Refused as error:
        raise _error(400, str(error), "messages", "context_length_exceeded") from None
    except Busy as error:
        raise _error(429, str(error), kind="rate_limit_error") from None
    except Failed as error:
        raise _error(503, str(error), kind="server_error") from None


async def _stream(made: Call, engine, metrics, first, events):
    """The pieces of a streamed answer."""
    if made.chat:
        for index in range(made.body.n):
            yield json.dumps(made.opening(index))
    async with aclosing(events):
        event = first
        try:
            while event is not None:
                for piece in made.take(event, engine.cycles):
                    yield json.dumps(made.chunk(*piece))
                if made.finished:
                    break
                event = await anext(events, None)
        except Failed as error:
            yield json.dumps({"error": _body(str(error), "server_error")})
            return
    metrics.answered(made)
    if made.body.stream_options is not None and made.body.stream_options.include_usage:
        yield json.dumps(made.last())
    yield "[DONE]"


def _body(message, kind="invalid_request_error", param=None, code=None):
    return {"message": message, "type": kind, "param": param, "code": code}


def _error(status, message, param=None, code=None, kind="invalid_request_error"):
    return HTTPException(status, _body(message, kind, param, code))


def _errors(app):
    """Every error is the API's object."""

    @app.exception_handler(StarletteError)
    async def http(request: Request, error: StarletteError):
        known = error.detail if isinstance(error.detail, dict) else _body(str(error.detail))
        return JSONResponse({"error": known}, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        message = f"{where}: {first['msg']}" if where else first["msg"]
        return JSONResponse({"error": _body(message, param=where or None)}, 400)
