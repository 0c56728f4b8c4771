"""The server as its clients see it: OpenAI's own client, and whoever sends nonsense."""

import concurrent.futures
import json
import socket
import time
import urllib.error
import urllib.request

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from poblano_host.serve.server import MOST_BODY
from tests.serving import Server


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.stop()


def test_completion(server):
    answer = server.client.completions.create(model="tiny", prompt="so the", max_tokens=5, temperature=0)
    (choice,) = answer.choices
    assert choice.text == server.alone("so the", 5) and choice.finish_reason == "length"
    tokens = len(server.model.framed("so the"))
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (tokens, 5)


def test_stream_is_the_answer_in_pieces(server):
    form = dict(model="tiny", prompt="so the", max_tokens=8, temperature=0)
    whole = server.client.completions.create(**form)
    pieces = list(
        server.client.completions.create(**form, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(piece.choices[0].text for piece in pieces[:-1]) == whole.choices[0].text
    assert [p.choices[0].finish_reason for p in pieces[:-1]].count("length") == 1
    assert pieces[-1].choices == [] and pieces[-1].usage.total_tokens == whole.usage.total_tokens


def test_chat_of_several_answers(server):
    """Each answer of a seed is the same again, streamed or not; the first piece says who speaks."""
    form = dict(
        model="tiny",
        messages=[{"role": "user", "content": "the"}],
        max_completion_tokens=4,
        n=3,
        seed=7,
        logprobs=True,
        top_logprobs=2,
    )
    whole = server.client.chat.completions.create(**form)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in whole.choices}) > 1
    texts = {0: "", 1: "", 2: ""}
    for piece in server.client.chat.completions.create(**form, stream=True):
        for choice in piece.choices:
            texts[choice.index] += choice.delta.content or ""
    assert list(texts.values()) == [choice.message.content for choice in whole.choices]
    first = whole.choices[0].logprobs.content[0]
    assert len(first.top_logprobs) == 2 and first.logprob <= first.top_logprobs[0].logprob <= 0


def test_stop_strings(server):
    """The answer ends before the string, which may come in pieces."""
    text = server.alone("so the", 20)
    stop = text[5:8]
    answer = server.client.completions.create(
        model="tiny", prompt="so the", max_tokens=20, temperature=0, stop=[stop, "\0"]
    )
    assert answer.choices[0].text == text[: text.find(stop)]
    assert answer.choices[0].finish_reason == "stop" and server.idle()


def test_many_at_once(server):
    """More requests than places, streamed and not: nothing is lost, doubled or mixed up."""
    prompts = [f"{'the ' * (n % 5)}so {n}" for n in range(24)]

    def ask(n):
        form = dict(model="tiny", prompt=prompts[n], max_tokens=1 + n % 6, temperature=0)
        if n % 2:
            pieces = server.client.completions.create(**form, stream=True)
            return "".join(piece.choices[0].text for piece in pieces)
        return server.client.completions.create(**form).choices[0].text

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(24)))
    assert answers == [server.alone(prompt, 1 + n % 6) for n, prompt in enumerate(prompts)]
    assert server.idle()


def test_a_client_that_goes_away_frees_its_pages(server):
    stream = server.client.completions.create(
        model="tiny", prompt="so", max_tokens=90, temperature=1, stream=True
    )
    next(iter(stream))
    stream.close()
    assert server.idle()


def test_time_limit(server):
    """An answer whose time is over ends with what it has."""
    answer = server.client.completions.create(
        model="tiny", prompt="so", max_tokens=90, extra_body={"timeout": 0.001}
    )
    assert answer.usage.completion_tokens < 90 and answer.choices[0].finish_reason == "length"


def test_models_health_and_metrics(server):
    assert [model.id for model in server.client.models.list()] == ["tiny"]
    assert server.client.models.retrieve("tiny").max_model_len == 96
    assert json.loads(server.get("/health")) == {"status": "ok"}
    assert server.post(GOOD)[0] == 200
    figures = dict(
        line.rsplit(" ", 1) for line in server.get("/metrics").splitlines() if not line.startswith("#")
    )
    assert float(figures["poblano_pages"]) == 4 and float(figures["poblano_chip_steps"]) >= 1


def test_page_and_status(server):
    """The page asks for what the status has."""
    page, status = server.get("/"), json.loads(server.get("/status"))
    assert "<title>Poblano</title>" in page
    assert status["model"] == "tiny" and status["template"] and status["pages"] == [0] * 4
    for name in ("steps", "tokens", "cycles", "waiting", "running", "pages", "busy", "name", "preset"):
        assert name in status and f"s.{name}" in page


GOOD = dict(model="tiny", prompt="so", max_tokens=2)


@pytest.mark.parametrize(
    "body, path, status, message",
    [
        (GOOD | dict(model="other"), "/v1/completions", 404, "the model 'other' does not exist"),
        (GOOD | dict(response_format={"type": "json"}), "/v1/completions", 400, "response_format"),
        (GOOD | dict(max_tokens=0), "/v1/completions", 400, "max_tokens"),
        (GOOD | dict(max_tokens="2"), "/v1/completions", 400, "max_tokens"),
        (GOOD | dict(temperature=-1), "/v1/completions", 400, "temperature"),
        (GOOD | dict(prompt=[]), "/v1/completions", 400, "no token"),
        (GOOD | dict(prompt="\ud800"), "/v1/completions", 400, '"prompt: Value error, half of a character'),
        (GOOD | dict(prompt=[1, 2.5]), "/v1/completions", 400, "prompt"),
        (GOOD | dict(prompt=[1, 400]), "/v1/completions", 400, "there is no token 400"),
        (GOOD | dict(prompt="so " * 400), "/v1/completions", 400, "the context holds 96"),
        (GOOD | dict(prompt="so", n=9), "/v1/completions", 400, "9 answers"),
        (b"{", "/v1/completions", 400, ""),
        (b"\xff\xfe", "/v1/completions", 400, ""),
        (b" " * (MOST_BODY + 1), "/v1/completions", 413, "at most"),
        (dict(model="tiny", messages=[]), "/v1/chat/completions", 400, "messages"),
        (dict(model="tiny", messages=[{"role": "user"}]), "/v1/chat/completions", 400, "content"),
        (dict(model="tiny", messages=[], tools=[]), "/v1/chat/completions", 400, ""),
        ({}, "/v1/nothing", 404, ""),
    ],
)
def test_bad_requests(server, body, path, status, message):
    """An answer of 4xx with the API's error object, which names what is wrong."""
    found, answer = server.post(body, path)
    assert found == status and set(answer["error"]) == {"message", "type", "param", "code"}
    assert message in json.dumps(answer["error"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["model", "prompt", "max_tokens", "temperature", "top_p", "n", "stop", "seed", "logprobs", "stream"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from([*FIELDS, "other"]), JSON, max_size=3), st.booleans())
def test_nonsense(server, fields, base):
    """Whatever is asked: an answer or an error, and the server serves others."""
    status, answer = server.post((GOOD if base else {}) | fields | {"stream": False})
    assert status in (200, 400, 404, 413) and ("error" in answer) == (status != 200)


def test_others_go_on_beside_nonsense(server):
    """A connection that sends half a request, and is silent, holds up nobody."""
    with socket.create_connection(("127.0.0.1", server.port)) as silent:
        silent.sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        assert server.post(GOOD | dict(temperature=0))[1]["choices"][0]["text"] == server.alone("so", 2)


def test_too_many_wait():
    """429, and those that are taken are served."""
    server = Server(waiting=2)
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda _: server.post(GOOD | dict(max_tokens=20))[0], range(8)))
        assert set(statuses) == {200, 429}
    finally:
        server.stop()


def test_what_runs_is_finished_when_the_server_stops():
    server = Server()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.post, GOOD | dict(max_tokens=12, temperature=0))
        while not server.service.requests:
            time.sleep(0.01)
        server.stop()
        status, found = answer.result()
    assert status == 200 and found["usage"]["completion_tokens"] == 12


def test_a_chip_that_fails_is_told_to_all(monkeypatch):
    """503 for those that wait and those that come; nobody waits for ever."""
    server = Server()
    try:
        monkeypatch.setattr(server.engine, "step", lambda now: np.zeros(1)[2])
        status, answer = server.post(GOOD)
        assert status == 503 and "the chip has failed" in answer["error"]["message"]
        assert server.post(GOOD)[0] == 503
        with pytest.raises(urllib.error.HTTPError, match="503"):
            server.get("/health")
    finally:
        server.stop()
