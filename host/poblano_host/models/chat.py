"""Conversations as text and token ids, by the chat template of a model's own files."""

import json
from pathlib import Path
import signal
import subprocess
import sys

from .chat_renderer import SECONDS
from .config import ModelError

__all__ = ["chat_ids", "render_chat"]

RENDERER = Path(__file__).with_name("chat_renderer.py")
PATIENCE = 60
"""Seconds to wait for a process that is given less time by the processor than it asks for."""


def render_chat(model, messages):
    """The text of ``messages`` (dicts of ``role`` and ``content``) and of the begin of the answer;
    :class:`ModelError` if the model has no template, or one that fails."""
    name, template = model.config.name, model.tokenizer.framing.template
    if template is None:
        raise ModelError(f"{name} has no chat template")
    token = lambda id: "" if id is None else model.tokenizer.token_of(id)
    values = dict(
        messages=messages,
        tools=None,
        documents=None,
        add_generation_prompt=True,
        bos_token=token(model.config.bos_id),
        eos_token=token(model.config.eos_id),
    )
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(RENDERER)],
            input=json.dumps(dict(template=template, values=values)).encode(),
            capture_output=True,
            timeout=PATIENCE,
        )
        answer = json.loads(done.stdout or b"null")
    except subprocess.TimeoutExpired:
        answer = None
    else:
        if answer is None and done.returncode not in (-signal.SIGXCPU, -signal.SIGKILL):
            answer = dict(error="it needs too much memory")
    if answer is None:
        answer = dict(error=f"it takes more than {SECONDS} seconds")
    if "error" in answer:
        raise ModelError(f"{name}: its chat template fails: {answer['error']}")
    return answer["text"]


def chat_ids(model, messages):
    """The token ids of :func:`render_chat`'s text; a begin of text that the files want is there once."""
    ids = list(model.tokenizer.encode(render_chat(model, messages)))
    if model.tokenizer.framing.add_bos and ids[:1] != [model.config.bos_id]:
        ids.insert(0, model.config.bos_id)
    return ids
