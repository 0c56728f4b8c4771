"""Requests that are malformed or hostile: each is refused, and the others are served as if it were not
there."""

import concurrent.futures
from contextlib import suppress
from http.client import BadStatusLine, HTTPResponse
import json
import math
import random
import socket
import threading
import time

import pytest

from poblano_host.serve.server import MOST_BODY
from tests.serving import CONTEXT, Server

BODY_SECONDS, PATIENCE = 1, 2
GOOD = dict(model="tiny", prompt="so", max_tokens=2, temperature=0)
SHOWN = "/v1/completions"
ROUTES = {
    "/": "GET",
    "/status": "GET",
    "/health": "GET",
    "/metrics": "GET",
    "/v1/models": "GET",
    "/v1/models/tiny": "GET",
    SHOWN: "POST",
    "/v1/chat/completions": "POST",
    "/trace": "POST",
}
HALF = "\ud800"


@pytest.fixture(scope="module")
def server():
    server = Server(body_seconds=BODY_SECONDS, patience=PATIENCE)
    yield server
    server.stop()


def message(body, *, path=SHOWN, method="POST", headers=(), kind="application/json", length=None):
    """The bytes of a request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Type: {kind}"]
    lines += [f"Content-Length: {len(data) if length is None else length}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data


class Hostile:
    """Requests of a seed, one a call of :meth:`next`: (pieces of bytes, half-closed behind them, whether
    there is an answer, what it is about)."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.kinds = [name for name in dir(self) if name.startswith("_bad_")]

    def next(self, n):
        name = self.kinds[n % len(self.kinds)]
        return name, *getattr(self, name)()

    def _send(self, *pieces, half=False, answered=True):
        return pieces, half, answered

    def _text(self):
        letters = ["a", "\0", "é", "💥", HALF, "\u202e", "\x7f", "\n", '"', "{{", "%s", "../"]
        return "".join(self.random.choices(letters, k=self.random.randint(0, 12)))

    def _value(self):
        """No value of any field but a text, a list of small numbers or nothing."""
        return self.random.choice(
            [
                {},
                [[]],
                [None],
                {"a": self._text()},
                math.nan,
                -math.inf,
                -1,
                -(10**30),
                10**400,
                -1e308,
                [[1, [2]]],
                [math.nan],
                [-1],
                [1.5],
                [10**20],
                [HALF],
            ]
        )

    def _bad_json(self):
        whole = json.dumps(GOOD).encode()
        cut = whole[: self.random.randrange(len(whole))]
        return self._send(message(self.random.choice([cut, cut + b"\xff", b"\0" + whole, whole + b"}", b""])))

    def _bad_types(self):
        field = self.random.choice(
            "model prompt max_tokens temperature top_p top_k n seed stop stream stream_options timeout user "
            "logprobs presence_penalty".split()
        )
        value = self._value()
        if (field, value) in [("seed", -1), ("stream_options", {})]:
            value = [[]]  # those can be
        return self._send(message(GOOD | {field: value}))

    def _bad_whole(self):
        return self._send(
            message(self.random.choice([None, True, 3, math.nan, self._text(), [], [GOOD], {}]))
        )

    def _bad_fields(self):
        return self._send(message(GOOD | {"x" + self._text(): self._value()}))

    def _bad_sizes(self):
        fields = self.random.choice(
            [
                dict(prompt="so " * self.random.randint(CONTEXT, 9999)),
                dict(prompt=[0] * self.random.randint(CONTEXT, 9999)),
                dict(prompt=[self.random.choice([-1, 400, 1 << 31, 1 << 70])]),
                dict(prompt=[]),
                dict(n=self.random.choice([0, 5, 16, 17, 1 << 40])),
                dict(max_tokens=self.random.choice([0, -5, 0.5])),
                dict(stop=["a"] * 5),
                dict(stop=[""]),
                dict(stop="a" * 300),
                dict(logprobs=21),
                dict(top_p=1.01),
                dict(temperature=2.01),
                dict(timeout=0),
                dict(model="x" * 99999),
                dict(model=self._text()),
                dict(prompt=self._text() + HALF),
            ]
        )
        return self._send(message(GOOD | fields))

    def _bad_chats(self):
        turn = {"role": "user", "content": "so"}
        messages = self.random.choice(
            [
                [],
                turn,
                [turn | {"role": self._text()}],
                [turn | {"content": self._value()}],
                [turn | {"content": HALF}],
                [turn | {"content": [{"type": "text", "text": HALF}]}],
                [turn | {"content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}],
                [turn | {"tool_calls": []}],
                [turn] * 500,
                [{"role": "user"}],
            ]
        )
        return self._send(message(dict(model="tiny", messages=messages), path="/v1/chat/completions"))

    def _bad_traces(self):
        one = self.random.choice(
            [GOOD, GOOD | {"arrival": self._value()}, GOOD | {"arrival": 0, "n": 9}, self._text()]
        )
        many = self.random.choice([[], [one], [GOOD | {"arrival": 3}, one], [GOOD | {"arrival": 0}] * 300])
        return self._send(message({"requests": many}, path="/trace"))

    def _bad_nesting(self):
        deep = self.random.choice([900, 5000, 200000])
        text = self.random.choice(
            [
                b"[" * deep,
                b"[" * deep + b"]" * deep,
                b'{"a":' * deep,
                json.dumps(GOOD).encode()[:-1] + b', "stop": ' + b"[" * deep + b"]" * deep + b"}",
            ]
        )
        return self._send(message(text))

    def _bad_huge(self):
        size = MOST_BODY + self.random.randint(1, MOST_BODY)
        if self.random.random() < 0.5:
            return self._send(message(b'{"model": "' + b"a" * size))
        head = message(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        chunk = b"%x\r\n" % 65536 + b" " * 65536 + b"\r\n"
        return self._send(head, *[chunk] * (size // 65536 + 1), b"0\r\n\r\n")

    def _bad_lengths(self):
        """A body that never comes, and lengths that are none."""
        length = self.random.choice([-1, "x", 1 << 70, 500, "2, 3"])
        return self._send(message(GOOD, length=length))

    def _bad_headers(self):
        name = "".join(self.random.choices("ab:\0 é\x7f", k=8))
        lines = self.random.choice(
            [
                ["Content-Length: 3"],
                ["Transfer-Encoding: gzip"],
                ["Transfer-Encoding: chunked, chunked"],
                ["no colon"],
                [f" {name}: x"],
                ["X: " + "a" * 99999],
                [f"X{n}: {'a' * 99}" for n in range(999)],
                ["Host: second"],
            ]
        )
        return self._send(message(GOOD, headers=lines))

    def _bad_kinds(self):
        kind = self.random.choice(
            ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded", "é"]
        )
        return self._send(message(GOOD, kind=kind))

    def _bad_lines(self):
        line = self.random.choice(
            [
                b"",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",  # the begin of TLS
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b"GET / HTTP/x\r\nHost: x\r\n\r\n",
                b"GET  / HTTP/1.1\r\n\r\n",
                b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
                b"GET / HTTP/1.1\r\n\r\n",  # no host
                bytes(self.random.randrange(256) for _ in range(200)) + b"\r\n\r\n",
            ]
        )
        return self._send(line, half=not line, answered=None)

    def _bad_paths(self):
        path = self.random.choice(
            [
                "/" + "a" * self.random.randint(1, 9999),
                "/v1/models/%00",
                "/v1/models/..%2f..%2fetc%2fpasswd",
                "/../../etc/passwd",
                "/%ff%fe",
                "/v1/completions/",
                "//",
                "/v1/models/%F0%9F%92%A5",
                "/openapi.json/x",
                "http://elsewhere/v1/completion",
            ]
        )
        method = self.random.choice(["GET", "POST", "DELETE"])
        return self._send(message(GOOD, path=path, method=method))

    def _bad_methods(self):
        path, right = self.random.choice(list(ROUTES.items()))
        methods = {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW", "get"}
        return self._send(message(GOOD, path=path, method=self.random.choice(sorted(methods - {right}))))

    def _bad_slow(self):
        """A body byte by byte, or its begin and then nothing."""
        data = message(GOOD)
        if self.random.random() < 0.5:
            return self._send(data[:-20])
        return self._send(data[:-20], *(b"%c" % byte for byte in data[-20:-1]))

    def _bad_half_closed(self):
        data = message(GOOD)
        return self._send(data[: self.random.randrange(len(data))], half=True, answered=None)

    def _bad_leaving(self):
        """Gone before the answer, of half a request or a whole one that takes long."""
        data = message(GOOD | dict(max_tokens=80, stream=self.random.random() < 0.5))
        return self._send(data[: self.random.choice([len(data), len(data) // 2])], answered=False)


def exchange(server, pieces, half, answered):
    """The status of the answer, None if the server closes the connection without one, and its text."""
    slowly = len(pieces) > 1 and len(pieces[1]) == 1
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has answered before all was sent
            for piece in pieces:
                client.sendall(piece)
                if slowly:
                    time.sleep(BODY_SECONDS / 10)
            if half:
                client.shutdown(socket.SHUT_WR)
        if answered is False:
            return None, ""
        answer = HTTPResponse(client)
        try:
            answer.begin()
            return answer.status, answer.read().decode()
        except (BadStatusLine, ConnectionResetError):
            return None, ""


class Beside(threading.Thread):
    """A stream after the other, as long as others are hostile."""

    def __init__(self, server):
        super().__init__()
        self.server, self.over, self.texts = server, False, []

    def run(self):
        form = dict(model="tiny", prompt="so the", max_tokens=30, temperature=0, stream=True)
        while not self.over:
            pieces = self.server.client.completions.create(**form)
            self.texts.append("".join(piece.choices[0].text for piece in pieces))


@pytest.mark.parametrize("count", [500, pytest.param(5000, marks=pytest.mark.nightly)])
def test_hostile_requests(server, count):
    """All are refused with 4xx, or hung up on where they are no request, and soon; a stream beside them has
    the tokens that it has alone; the server is as it was."""
    hostile, beside = Hostile(count), Beside(server)
    beside.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            asked = [hostile.next(n) for n in range(count)]
            found = list(pool.map(lambda one: exchange(server, *one[1:]), asked))
    finally:
        beside.over = True
        beside.join()
    wrong = [
        f"{name}: {status} {text[:200]!r} to {b''.join(pieces)[:300]!r}"
        for (name, pieces, _, answered), (status, text) in zip(asked, found)
        if not refused(status, text, answered is not True or name in CUT)
    ]
    assert not wrong, "\n".join(wrong)
    assert beside.texts == [server.alone("so the", 30)] * len(beside.texts) and beside.texts
    assert server.idle() and json.loads(server.get("/health")) == {"status": "ok"}


def refused(status, text, maybe_cut):
    """Whether an answer is 4xx, with the API's error object if it is JSON; or none, where it can be."""
    if status is None:
        return maybe_cut
    told = not text.startswith("{") or json.loads(text).get("error", {}).keys() == ERROR
    return 400 <= status < 500 and told


ERROR = {"message", "type", "param", "code"}
CUT = {"_bad_huge"}
"""Where the answer, 413, can be lost: the client still sends when the connection is closed."""


def test_a_body_that_does_not_come(server):
    """408, however slowly it comes, and while it comes others are served."""
    status, text = exchange(server, (message(GOOD)[:-5],), False, True)
    assert status == 408 and json.loads(text)["error"]["message"] == "a request has to come in 1 s"


@pytest.mark.parametrize("sent", [b"", b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n", b"GET / HTT"])
def test_a_request_that_does_not_begin(server, sent):
    """Its connection is closed, also one that has had an answer before."""
    for before in (b"", message(GOOD)):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
            if before:
                client.sendall(before)
                answer = HTTPResponse(client)
                answer.begin()
                assert answer.status == 200 and answer.read()
            client.sendall(sent)
            assert client.recv(100) == b""


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_ends_its_request(server, stream):
    """Whether it waits for pieces or for the whole."""
    steps = server.engine.steps
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(message(GOOD | dict(max_tokens=90, stream=stream)))
        while not server.engine.scheduler.running:
            time.sleep(0.001)
    assert server.idle() and server.engine.steps - steps < 80
