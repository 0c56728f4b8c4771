"""Traces by the chip's clock, and ``poblano bench serve``, which measures a server with them."""

import http.server
import json
import socket
import threading
import time
import urllib.request

import numpy as np
import pytest

from poblano.config import ConfigError
from poblano_host.serve.trace import Figures, Served, Trace, one_by_one
from tests.serving import CONTEXT, Server, TimedBackend


@pytest.fixture(scope="module")
def server():
    server = Server(backend=TimedBackend)
    yield server
    server.stop()


def replay(server, requests):
    """What the server answers to a trace, by the number of the request."""
    fields = dict(model="tiny", temperature=0)
    body = json.dumps({"requests": [fields | one for one in requests]}).encode()
    request = urllib.request.Request(f"{server.url}/trace", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return {line["index"]: line for line in map(json.loads, answer)}


def test_requests_arrive_by_the_chips_clock(server):
    """Far apart each finds an idle chip, and takes what it takes alone; together they wait for each other.
    The same trace gives the same cycles again."""
    prompts = ["so the", "the so the so", "so"]
    trace = lambda gap: [
        dict(prompt=prompt, max_tokens=6, arrival=n * gap) for n, prompt in enumerate(prompts)
    ]
    apart, near = replay(server, trace(10**9)), replay(server, trace(5))
    assert replay(server, trace(10**9)).keys() == apart.keys() == {0, 1, 2}
    cycles = lambda found: {n: line["token_cycles"] for n, line in found.items()}
    assert cycles(replay(server, trace(5))) == cycles(near) != cycles(apart)
    for n, prompt in enumerate(prompts):
        assert apart[n]["answer"]["choices"][0]["text"] == server.alone(prompt, 6)
        assert near[n]["answer"]["choices"] == apart[n]["answer"]["choices"]
        assert apart[n]["answer"]["usage"]["chip_cycles"]["queueing"] == 0
        (tokens,) = near[n]["token_cycles"]
        assert len(tokens) == 6 and tokens == sorted(set(tokens))
        times = near[n]["answer"]["usage"]["chip_cycles"]
        assert tokens[0] == times["queueing"] + times["prefill"]
        assert tokens[-1] == sum(times.values())
    # The second one arrives 5 cycles after the first, whose step is then going on.
    assert near[1]["answer"]["usage"]["chip_cycles"]["queueing"] == near[0]["token_cycles"][0][0] - 5
    assert server.idle()


def test_a_late_arrival_keeps_nobody_waiting(server):
    """What is asked for at once is answered while a trace's request is still to come."""
    status = json.loads(server.get("/status"))
    found = replay(server, [dict(prompt="so", max_tokens=2, arrival=n << 52) for n in range(2)])
    assert len(found) == 2 and json.loads(server.get("/status"))["cycles"] - status["cycles"] < 1 << 20


def test_a_client_that_leaves_takes_its_trace_with_it(server):
    """Also what has not arrived."""
    steps = server.engine.steps
    one = dict(model="tiny", prompt="so", max_tokens=90, ignore_eos=True)
    body = json.dumps({"requests": [one | dict(arrival=at) for at in (0, 10**6, 10**6)]}).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        head = f"POST /trace HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        client.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        while not server.engine.scheduler.running:
            time.sleep(0.001)
    assert server.idle() and server.engine.steps - steps < 80


@pytest.mark.parametrize(
    "requests, message",
    [
        ([], "requests"),
        ([dict(prompt="so")], "requests.0.arrival"),
        ([dict(prompt="so", arrival=-1)], "requests.0.arrival"),
        ([dict(prompt="so", arrival=1 << 53)], "requests.0.arrival"),
        ([dict(prompt="so", arrival=0, stream=True)], "requests.0.stream"),
        ([dict(prompt="so", arrival=0, stop="x")], "requests.0.stop"),
        ([dict(prompt="so " * 200, arrival=0)], f"the context holds {CONTEXT}"),
        ([dict(prompt="so", arrival=0, model="other")], "'other' does not exist"),
    ],
)
def test_bad_traces(server, requests, message):
    status, answer = server.post({"requests": [dict(model="tiny") | one for one in requests]}, "/trace")
    assert status in (400, 404) and message in json.dumps(answer)
    assert server.idle()


def test_a_trace_of_more_than_may_wait(server):
    requests = [dict(model="tiny", prompt="so", arrival=0)] * 257
    assert server.post({"requests": requests}, "/trace")[0] == 429
    assert server.service.requests == 0


def test_queue_of_one_by_one():
    """Each waits for the one before: by hand."""
    alone = [Served(0, ((3, 5),), ("a",)), Served(9, ((2, 3, 4),), ("b",)), Served(99, ((1,),), ("c",))]
    served = one_by_one(alone, [0, 2, 50])
    assert [one.tokens for one in served] == [((3, 5),), ((5, 6, 7),), ((1,),)]
    figures = Figures.of(served)
    assert (figures.tokens, figures.cycles) == (6, 51)
    assert figures.first[0] == 3 and figures.between == (1, np.percentile([2, 1, 1], 95))


def test_random_trace():
    """The same of a seed; arrivals are one in a unit of time on average."""
    trace = Trace.random(2000, 3)
    assert trace == Trace.random(2000, 3) != Trace.random(2000, 4)
    assert trace.arrivals[0] == 0 and list(trace.arrivals) == sorted(trace.arrivals)
    assert trace.gap == pytest.approx(1, abs=0.1)
    gaps = np.diff(trace.arrivals)
    assert np.std(gaps) == pytest.approx(1, abs=0.1)  # as only an exponential one has


def bench(poblano, server, *arguments):
    return poblano("bench", "serve", server.url, *arguments)


@pytest.fixture
def trace_file(tmp_path):
    def write(content):
        path = tmp_path / "trace.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def test_bench(poblano, server, tmp_path):
    """At a high load batches have more tokens a cycle than one by one, and a first token comes earlier; the
    figures are the same again."""
    figures = tmp_path / "figures.json"
    run = lambda: bench(poblano, server, "--requests", 4, "--load", 1e-5, "--load", 8, "--json", figures)
    status, out, _ = run()
    found = json.loads(figures.read_text())
    assert status == 0 and "together" in out and "one by one" in out and "tokens/Mcycle" in out
    slow, fast = found["loads"]
    assert (slow["load"], fast["load"]) == (1e-5, 8) and found["requests"] == 4
    # Where arrivals are far apart there is no queue: the same as one by one.
    assert slow["together"] == slow["one_by_one"]
    assert fast["together"]["tokens_per_cycle"] > 1.2 * fast["one_by_one"]["tokens_per_cycle"]
    assert fast["together"]["first"][0] < fast["one_by_one"]["first"][0]
    run()
    assert json.loads(figures.read_text()) == found


def test_bench_of_a_trace(poblano, server, trace_file, tmp_path):
    """As it is, without a load; several answers to a prompt."""
    figures = tmp_path / "figures.json"
    path = trace_file(
        [
            dict(arrival=50, prompt="the", max_tokens=3, temperature=1, n=2),
            dict(arrival=10.5, prompt=[1, 2], max_tokens=4),
        ]
    )
    assert bench(poblano, server, "--trace", path, "--json", figures)[0] == 0
    (row,) = json.loads(figures.read_text())["loads"]
    assert row["together"]["tokens"] == 10 and row["arrivals"] == [0, 40]
    path = trace_file([dict(arrival=3, prompt="so", max_tokens=1)])
    status, out, _ = bench(poblano, server, "--trace", path)
    assert status == 0 and "at once" in out


def test_bench_finds_another_answer(poblano, server, monkeypatch):
    """It can fail: an answer that depends on the batch."""
    add = server.engine.add

    def meddled(request, sampler, *, logprobs=None):
        add(request, sampler.other(len(server.engine.scheduler.running)), logprobs=logprobs)

    monkeypatch.setattr(server.engine, "add", meddled)
    random = Trace.random(4, 0)
    warm = tuple(one | {"temperature": 2, "max_tokens": 8} for one in random.requests)
    monkeypatch.setattr(Trace, "random", lambda *_: Trace(warm, random.arrivals))
    status, _, error = bench(poblano, server, "--load", 8)
    assert status == 1 and "has another answer at load 8.0 than alone" in error


class Other(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_):
        pass


def test_bench_without_its_server(poblano, server):
    """One clear line for what is no server, and for one that has other work."""

    def fails(url, message, *arguments):
        status, _, error = poblano("bench", "serve", url, *arguments)
        assert status == 2 and message in error.splitlines()[-1] and "Traceback" not in error

    other = http.server.HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=other.serve_forever).start()
    try:
        fails(f"http://127.0.0.1:{other.server_port}", "this is no server of poblano")
    finally:
        other.shutdown()
        other.server_close()
    fails(f"http://127.0.0.1:{other.server_port}", "no server answers: ")
    fails("nothing", "unknown url type: 'nothing/status'")
    fails(f"{server.url}/v1", "Not Found")
    fails(server.url, "a load is above 0, not -1.0", "--load", -1)
    fails(server.url, "a load is above 0, not nan", "--load", "nan")
    fails(server.url, "at most 256 requests", "--requests", 300)
    stream = server.client.completions.create(model="tiny", prompt="so", max_tokens=80, stream=True)
    next(iter(stream))
    fails(server.url, "the server works for others: 1 sequences")
    stream.close()
    assert server.idle()


@pytest.mark.parametrize(
    "content, message",
    [
        ("[", "no JSON"),
        ("{}", "a trace is a list of requests"),
        ("[]", "a trace is a list of requests"),
        ([{"prompt": "so"}], "request 0: the cycle of its arrival is missing"),
        ('[{"arrival": NaN}]', "request 0: the cycle of its arrival"),
        ([3], "request 0: the cycle of its arrival"),
        ([{"arrival": 0, "prompt": "so", "best_of": 2}], "requests.0.best_of"),
        ([{"arrival": 0, "prompt": ""}], "no token"),
    ],
)
def test_bad_trace_files(poblano, server, trace_file, content, message):
    status, _, error = bench(poblano, server, "--trace", trace_file(content))
    assert status == 2 and message in error.splitlines()[-1]


def test_a_trace_without_load(poblano, server, trace_file):
    path = trace_file([dict(arrival=7, prompt="so")] * 2)
    status, _, error = bench(poblano, server, "--trace", path, "--load", 2)
    assert status == 2 and "all requests arrive at once: there is no load" in error


def test_the_golden_model_knows_no_time(poblano):
    server = Server()
    try:
        status, _, error = bench(poblano, server, "--requests", 2)
        assert status == 2 and "knows nothing of time" in error
    finally:
        server.stop()


def test_a_trace_file_that_is_not_there(poblano, server, tmp_path):
    status, _, error = bench(poblano, server, "--trace", tmp_path / "none.json")
    assert status == 2 and "No such file" in error
    with pytest.raises(ConfigError, match="no JSON"):
        (tmp_path / "bytes.json").write_bytes(b"\xff")
        Trace.read(tmp_path / "bytes.json")
