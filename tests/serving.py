"""A server with a tiny model on the golden chip, for tests."""

from collections import Counter
from dataclasses import replace
import json
import threading
import time
import urllib.error
import urllib.request

import openai

from poblano_host.models.framing import Framing
from poblano_host.models.tokenizer import Tokenizer
from poblano_host.runtime.backend import GoldenBackend
from poblano_host.runtime.ring import command_rows
from poblano_host.runtime.session import Session
from poblano_host.serve.engine import Engine
from poblano_host.serve.limits import http_server
from poblano_host.serve.server import create_app
from poblano_host.serve.service import Service
from tests.models_files import tiny_tokenizer
from tests.models_tiny import chip, tiny_model

__all__ = ["CONTEXT", "Server", "TimedBackend", "small_model"]

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"
SIZES = dict(vocab=400, eos_id=399, layers=1)
CONTEXT = 96


def small_model():
    tokenizer = Tokenizer(tiny_tokenizer(), "qwen2", Framing(template=TEMPLATE))
    return tiny_model(**SIZES, tokenizer=tokenizer)


def small_chip():
    return chip(tokens=32, vmem_lines=8192, amem_blocks=2048)


class TimedBackend(GoldenBackend):
    """The golden model with a clock of its own: each command takes a cycle, and its unit is busy in it."""

    def run(self, commands, *, progress=None):
        result = super().run(commands, progress=progress)
        units = Counter(int(unit) for unit in command_rows(commands)[:, 1])
        busy = {unit: {"BUSY": count} for unit, count in units.items()}
        return replace(result, cycles=result.commands, counters=busy)


class Server:
    """A server in a thread of this process, on a port of its own."""

    def __init__(self, *, backend="golden", body_seconds=30, patience=15, **limits):
        self.model = small_model()
        self.engine = Engine(self.model, small_chip(), backend=backend, sequences=4, context=CONTEXT)
        self.service = Service(self.engine, **limits)
        app = create_app(self.service, "tiny", body_seconds=body_seconds)
        self.http = http_server(app, patience=patience, port=0, log_level="critical")
        self.thread = threading.Thread(target=self.http.run)
        self.thread.start()
        while not self.http.started:
            time.sleep(0.01)
        self.port = self.http.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    def post(self, body, path="/v1/completions"):
        """(status, answer) of a request with any body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return answer.read().decode()

    def idle(self):
        """Wait until nothing runs: whether all pages are back."""
        pool = self.engine.scheduler.pool
        for _ in range(2000):
            if not self.service.requests and not self.engine.scheduler.running and pool.free == pool.pages:
                return True
            time.sleep(0.01)
        return False

    def alone(self, prompt, count):
        """The text that a session of its own gives."""
        session = Session(self.model, small_chip(), backend="golden", context=CONTEXT)
        tokens = self.model.framed(prompt)
        steps = session.generate(tokens, count, stop=self.model.ends)
        stream = self.model.tokenizer.stream()
        chosen = [token for _, token in steps if token is not None and token not in self.model.ends]
        return "".join(map(stream.push, chosen)) + stream.flush()

    def stop(self):
        self.http.should_exit = True
        self.thread.join()
