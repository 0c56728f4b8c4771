"""The server's page in a browser: what it shows, and that it needs nobody but the server."""

import concurrent.futures
import json
import os
import shutil
import threading
import time

import pytest

from tests.serving import Server, TimedBackend

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in NAMES if name and (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium: apt-get install chromium, or its path in CHROMIUM"
)

# The rows of the table of units, name, title and width of the bar, in one look: the page puts new rows into
# it at every poll, and a row that is out of it is 0 wide.
UNITS = """table => [...table.rows].slice(1).map(row => [
  row.innerText.trim(), row.querySelector(".bar").title, row.querySelector("b").getBoundingClientRect().width
])"""


class Gate:
    """An engine that takes as many steps as it is given."""

    def __init__(self, engine):
        self.engine, self.step, self.open = engine, engine.step, threading.Semaphore(0)
        engine.step = self.gated

    def gated(self, now=None):
        if self.engine.scheduler.running or self.engine.scheduler.waiting:
            self.open.acquire()
        return self.step(now)

    def give(self, count):
        self.open.release(count)


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def server():
    server = Server(backend=TimedBackend)
    server.gate = Gate(server.engine)
    yield server
    server.gate.give(1 << 16)
    server.stop()


@pytest.fixture
def page(chromium, server):
    """The page; it may ask nobody else, and has no errors."""
    page = chromium.new_page()
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(server.url)
    yield page
    page.close()
    assert {url for url in asked if not url.startswith(server.url)} == set() and len(asked) > 1
    assert not errors


def ask(page, text):
    page.fill("#text", text)
    page.press("#text", "Enter")


def test_what_it_shows(page, server):
    """The chip, the sequences of a step, the pages that they hold and the units at work, as they are."""
    expect = playwright.expect
    expect(page.locator("#title")).to_have_text(f"Poblano: tiny on {server.engine.config.name}")
    expect(page.locator("#chip")).to_have_text("0 steps, 0 tokens, 0 cycles; 0 waiting")
    expect(page.locator("#pages i")).to_have_count(4)
    expect(page.locator("#pages .held")).to_have_count(0)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ask(page, "so the")
        server.gate.give(1)
        expect(page.locator("#chip")).to_contain_text("1 steps")
        expect(page.locator("#batch td")).to_have_count(4)
        others = pool.submit(
            server.post, dict(model="tiny", prompt="he", max_tokens=90, ignore_eos=True, n=2)
        )
        while server.service.requests < 2:
            time.sleep(0.01)
        server.gate.give(3)
        expect(page.locator("#chip")).to_contain_text("4 steps")
        shown = page.locator("#batch tr").all_inner_texts()
        running = json.loads(server.get("/status"))["running"]
        wanted = [[r["id"][-6:], str(r["index"]), str(r["tokens"]), str(r["left"])] for r in running]
        assert [row.split("\t") for row in shown[1:]] == wanted and len(wanted) == 3
        expect(page.locator("#pages .held")).to_have_count(3)
        busy = json.loads(server.get("/status"))["busy"]
        assert len(busy) > 1 and all(0 < part <= 1 for part in busy.values())
        units = page.locator("#units").evaluate(UNITS)
        assert [row[:2] for row in units] == [[unit, f"{100 * part:.1f} %"] for unit, part in busy.items()]
        assert all(width > 0 for _, _, width in units)
        server.gate.give(1000)
        assert others.result()[0] == 200
    expect(page.locator("#stop")).to_be_disabled()
    expect(page.locator("#pages .held")).to_have_count(0)
    expect(page.locator("#batch td")).to_have_count(0)


def test_a_conversation(page, server):
    """The answer comes piece by piece; a second turn has the first one; an error is told."""
    server.gate.give(1 << 16)
    lines, sent = page.locator("#talk > div"), []

    def greedy(route):
        sent.append(route.request.post_data_json | {"temperature": 0, "max_tokens": 8})
        route.continue_(post_data=json.dumps(sent[-1]))

    page.route("**/v1/chat/completions", greedy)
    for turn in range(2):
        ask(page, f"so {turn}")
        playwright.expect(lines).to_have_count(2 * turn + 2)
        playwright.expect(page.locator("#stop")).to_be_disabled()
        assert lines.nth(2 * turn).text_content() == f"so {turn}"
        roles = [message["role"] for message in sent[turn]["messages"]]
        assert roles == ["user", "assistant"] * turn + ["user"] and sent[turn]["stream"]
        _, whole = server.post(sent[turn] | {"stream": False}, "/v1/chat/completions")
        text = whole["choices"][0]["message"]["content"]
        assert lines.nth(2 * turn + 1).text_content() == text and text
    ask(page, "<b>so</b> " * 60)
    playwright.expect(page.locator("#talk .failed")).to_contain_text("the context holds 96")
    assert page.locator("#talk b").count() == 0


def test_the_answer_is_stopped(page, server):
    """And its sequence ends."""
    ask(page, "so")
    server.gate.give(3)
    playwright.expect(page.locator("#chip")).to_contain_text("3 steps")
    page.click("#stop")
    playwright.expect(page.locator("#stop")).to_be_disabled()
    server.gate.give(2)  # it may be waiting at the gate for one
    assert server.idle() and server.engine.steps <= 5


def test_a_server_that_is_gone(page, server):
    server.gate.give(1 << 16)
    server.stop()
    playwright.expect(page.locator("#chip")).to_have_text("the server does not answer")
