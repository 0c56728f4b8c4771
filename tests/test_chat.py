"""Conversations: what is run of each turn, and the command that keeps one in the terminal."""

import io
import os
import signal
import sys

import pytest

from poblano_host.models.chat import chat_ids
from poblano_host.models.gguf import load_gguf
from poblano_host.runtime.backend import BACKENDS, GoldenBackend
from poblano_host.runtime.conversation import ContextFull, Conversation
from poblano_host.runtime.sampler import Sampler
from poblano_host.runtime.session import Session
from tests.chat_templates import TEMPLATES
from tests.models_text import byte_pairs, scored_pieces, write_gguf
from tests.models_tiny import chip
from tests.programs import SMALL


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    file = tmp_path_factory.mktemp("models") / "chat.gguf"
    return write_gguf(file, byte_pairs("qwen2", add_bos_token=False), template=TEMPLATES["phi3"])


def talk(path, context=200, **options):
    session = Session(load_gguf(path), chip(), backend="golden", context=context)
    return Conversation(session, **options), session


class Says:
    """A sampler whose tokens are given."""

    needs_logits = False

    def choose(self, step):
        return next(self.ids)


def said(conversation, count):
    return [step for step, _ in conversation.answer(count)]


def test_only_what_is_new_is_run(path):
    """The second turn goes on behind the first, and its bits are those of the whole conversation at once."""
    says = Says()
    conversation, session = talk(path, system="Be brief.", sampler=says)
    answer = session.model.tokenizer.encode(" the king said")
    says.ids = iter(answer)
    first = conversation.ask("Hello there")
    assert first == len(chat_ids(session.model, conversation.messages + [conversation._asked]))
    said(conversation, len(answer))
    assert conversation.messages[-1]["content"] == " the king said"
    assert [m["role"] for m in conversation.messages] == ["system", "user", "assistant"]
    assert conversation.ended == "tokens" and session.position == first + len(answer) - 1
    new = conversation.ask("And you?")
    whole = chat_ids(session.model, conversation.messages + [conversation._asked])
    assert len(whole) - new == session.position == first + len(answer) - 1
    conversation._sampler = Sampler()
    steps = said(conversation, 4)
    assert sum(step.count for step in steps if step.phase == "prefill") == new
    fresh = Session(session.model, chip(), backend="golden", context=200)
    expected = [token for _, token in fresh.generate(whole, 4) if token is not None]
    assert conversation._tokens[len(whole) :] == expected


def test_template_that_writes_turns_anew(tmp_path):
    """A template that gives only the last turn: all of it is run, at the places of the one before."""
    last = "{{ messages[-1].content }} {{ messages | length }}>"
    conversation, session = talk(write_gguf(tmp_path / "m.gguf", scored_pieces(), template=last))
    for turn in ("abc def", "xyz"):
        conversation.ask(turn)
        whole = chat_ids(session.model, conversation.messages + [conversation._asked])
        said(conversation, 3)
        assert session.position == len(whole) + 2 and conversation._tokens[: len(whole)] == whole
        assert not conversation.messages[-1]["content"].startswith(" ")


def test_full_context(path):
    conversation, session = talk(path, context=40)
    with pytest.raises(ContextFull, match=r"the conversation has \d+ tokens .*; the context holds 40"):
        conversation.ask("0123456789" * 20)
    assert conversation.messages == []
    new = conversation.ask("Hi")
    steps = said(conversation, 100)
    assert len([step for step in steps if step.phase == "decode"]) == 40 - new
    assert conversation.ended == "full" and session.position == 40
    with pytest.raises(ContextFull):
        conversation.ask("more")
    assert len(conversation.messages) == 2


def test_stop(path):
    """After the step that runs; a prompt that is stopped is no turn."""
    conversation, session = talk(path)
    conversation.ask("Hi")
    for n, _ in enumerate(conversation.answer(50)):
        if n == 3:
            conversation.stop()
    assert n == 3 and conversation.ended == "stopped" and len(conversation.messages) == 2
    conversation.ask("a longer turn " * 10)
    for _ in conversation.answer(50):
        conversation.stop()
    assert conversation.ended == "stopped" and len(conversation.messages) == 2
    assert conversation.ask("x") > 0


def type_in(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_command(poblano, monkeypatch, path):
    """Lines are turns, empty ones none; Ctrl-C stops an answer and not the conversation."""
    command = ("chat", "--backend", "golden", "--model", path, "--tokens", 6)

    class Stopped(GoldenBackend):
        runs = 0

        def run(self, commands, *, progress=None):
            Stopped.runs += 1
            if Stopped.runs == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return super().run(commands, progress=progress)

    monkeypatch.setitem(BACKENDS, "golden", Stopped)
    type_in(monkeypatch, "Hello\n\n  \nAnd you?\n")
    status, out, error = poblano(*command)
    assert status == 0 and "stopping after this step" in error and "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("[")]
    assert len(lines) == 2 and "3 said, stopped]" in lines[0] and "6 said, cut off: --tokens" in lines[1]
    read = [int(line[1:].split()[0]) for line in lines]
    assert 0 < read[1] < 2 * read[0]


def test_command_errors(poblano, monkeypatch, path):
    def fails(message, *arguments):
        status, _, error = poblano("chat", "--backend", "golden", *arguments)
        lines = [line for line in error.splitlines() if line.startswith("poblano: ")]
        assert status == 2 and len(lines) == 1 and message in lines[0] and "Traceback" not in error

    fails("poblano-1m has no chat template", "--model", "default")
    type_in(monkeypatch, "caf\udcff\n")
    fails("the input is not UTF-8: byte 0xff behind 3 characters", "--model", path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n"), "utf-8"))
    fails("the input is not UTF-8: invalid start byte at byte 0", "--model", path)
    type_in(monkeypatch, "word " * 400 + "\nHi\n")
    status, _, error = poblano("chat", "--backend", "golden", "--model", path, "--context", 60, "--tokens", 2)
    assert status == 0 and "the context holds 60, the answer included; a shorter turn may fit" in error
    assert "2 said" in error


@pytest.mark.slow
def test_on_the_rtl(path):
    """Two turns on the RTL, beside the golden model: what is kept between them is the same."""
    session = Session(load_gguf(path), SMALL, context=96, check=True)
    conversation = Conversation(session)
    for turn in ("Hello", "And you?"):
        new = conversation.ask(turn)
        steps = said(conversation, 3)
        assert sum(step.count for step in steps) == new + 2 and steps[-1].result.cycles > 0
    session.close()
