"""The command ``poblano serve`` as a process: its address, and how it ends."""

import concurrent.futures
import os
import re
import signal
import socket
import subprocess
import sys
import time

import openai
import pytest

from tests.serving import Server


@pytest.fixture
def serving():
    """The process, and the port that it says it listens on."""
    process = subprocess.Popen(
        [sys.executable, "-m", "poblano_cli.main", "serve", "--backend", "golden", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        for line in process.stderr:
            if said := re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", line):
                break
        yield process, int(said[1])
    finally:
        process.kill()
        process.communicate()


def test_a_signal_ends_it_when_its_requests_have_ended(serving):
    """SIGTERM: a stream and a whole answer are complete, nobody else is let in, and it is gone."""
    process, port = serving
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    form = dict(model="default", prompt="In the beginning", temperature=0, extra_body={"ignore_eos": True})
    alone = client.completions.create(**form, max_tokens=60).choices[0].text
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        stream = client.completions.create(**form, max_tokens=60, stream=True)
        text = next(iter(stream)).choices[0].text
        whole = pool.submit(client.completions.create, **form, max_tokens=50)
        while running(client, port) < 2:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        pieces = list(stream)
        assert text + "".join(piece.choices[0].text for piece in pieces) == alone
        assert pieces[-1].choices[0].finish_reason == "length"
        assert whole.result().usage.completion_tokens == 50
    with pytest.raises(openai.APIConnectionError):
        client.models.list()
    assert process.wait(60) == -signal.SIGTERM and process.stderr.read() == ""


def running(client, port):
    return len(client.get(f"http://127.0.0.1:{port}/status", cast_to=object)["running"])


def test_an_address_that_is_taken(poblano):
    """Said before anything is compiled; so is one that this machine has not."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, error = poblano("serve", "--port", port)
    message = f"poblano: can't listen on 127.0.0.1, port {port}: Address already in use"
    assert status == 2 and error.splitlines() == [message]
    status, _, error = poblano("serve", "--host", "192.0.2.1", "--port", 0)
    assert status == 2 and "can't listen on 192.0.2.1, port 0" in error


def test_a_silent_client_does_not_hold_up_the_end():
    """Half a request is given its time, and no more."""
    server = Server(body_seconds=0.5)
    with socket.create_connection(("127.0.0.1", server.port)) as silent:
        silent.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        while not server.http.server_state.tasks:
            time.sleep(0.01)
        server.stop()
        assert silent.recv(100).startswith(b"HTTP/1.1 408")
