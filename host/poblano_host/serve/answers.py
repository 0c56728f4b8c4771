"""Requests of the API as requests of the engine, and what comes of them as the API's answers."""

from dataclasses import dataclass, field
import time
import uuid

from ..models.chat import chat_ids
from ..runtime.sampler import Sampler
from .engine import Answered, Chosen, Started
from .request import Ending, Request
from .schemas import ChatBody, CompletionBody
from .service import Asked
from .stop_text import AnswerText

__all__ = ["Call", "chat_call", "completion_call"]

LEAST = -9999.0
"""The logarithm of no probability, which JSON can't hold."""
FINISHED = {Ending.STOP: "stop", Ending.LENGTH: "length", Ending.DEADLINE: "length"}


def chat_call(model, body: ChatBody):
    """The :class:`Call` of a conversation; ModelError if the model has no chat template."""
    tokens = chat_ids(model, [message.turn for message in body.messages])
    most = body.most
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    return Call(model, body, tokens, most, logprobs)


def completion_call(model, body: CompletionBody):
    """The :class:`Call` of a prompt."""
    prompt = body.prompt
    tokens = model.framed(prompt) if isinstance(prompt, str) else prompt
    return Call(model, body, tokens, body.max_tokens, body.logprobs)


@dataclass
class _Answer:
    text: AnswerText
    written: str = ""
    logprobs: list = field(default_factory=list)
    cycles: list = field(default_factory=list)  # of the chip, at which each token was there
    finished: str | None = None


class Call:
    """A request of the API while it is answered.

    ``asked`` is for the service; :meth:`take` gives what an event of it adds to the answers.
    """

    def __init__(self, model, body, tokens, most, logprobs):
        self.model, self.body = model, body
        self.chat = isinstance(body, ChatBody)
        kind = "chatcmpl" if self.chat else "cmpl"
        self.id, self.created = f"{kind}-{uuid.uuid4().hex}", int(time.time())
        seed = uuid.uuid4().int >> 65 if body.seed is None else body.seed & (1 << 63) - 1
        request = Request(
            id=self.id,
            prompt=tuple(tokens),
            tokens=1 << 20 if most is None else most,
            count=body.n,
            stop=frozenset(() if body.ignore_eos else model.ends),
            deadline=None if body.timeout is None else time.monotonic() + body.timeout,
        )
        self.asked = Asked(request, Sampler(body.temperature, body.top_k, seed, body.top_p), logprobs)
        stream = lambda: AnswerText(model.tokenizer.stream(), body.stops)
        self.answers = [_Answer(stream()) for _ in range(body.n)]
        self.started = None

    def take(self, event):
        """[(index, text, logprobs, why it has finished or None)] that an event adds."""
        if isinstance(event, Started):
            self.started = event
            return []
        answer = self.answers[event.index]
        if isinstance(event, Answered):
            if answer.finished is not None:
                return []
            answer.finished = FINISHED.get(event.ending, "stop")
            return [self._add(event.index, answer.text.flush(), [])]
        if answer.finished is not None:
            return []
        answer.cycles.append(event.cycle)
        text = "" if event.token in self.asked.request.stop else answer.text.push(event.token)
        if answer.text.stopped:
            answer.finished = "stop"
        return [self._add(event.index, text, self._logprobs(event))]

    @property
    def finished(self):
        """Whether nothing can be added any more."""
        return all(answer.finished is not None for answer in self.answers)

    def _add(self, index, text, logprobs):
        answer = self.answers[index]
        answer.written += text
        answer.logprobs += logprobs
        return index, text, logprobs, answer.finished

    def _logprobs(self, event: Chosen):
        """The probabilities of a token as the API states them."""
        if not event.logprobs:
            return []
        named = [self._named(token, value) for token, value in event.logprobs]
        return [named[0] | {"top_logprobs": named[1:]}]

    def _named(self, token, value):
        data = self.model.tokenizer.bytes_of(token)
        text = data.decode(errors="replace")
        return {"token": text, "logprob": max(value, LEAST), "bytes": list(data)}

    # What the API answers

    @property
    def usage(self):
        """Tokens, and the chip's time: cycles from the request's arrival on until its first step, until its
        first token, until its last."""
        prompt, cycles = len(self.asked.request.prompt), [n for one in self.answers for n in one.cycles]
        arrived = self.asked.arrived
        started = arrived if self.started is None else self.started.cycle
        first, last = min(cycles, default=started), max(cycles, default=started)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": len(cycles),
            "total_tokens": prompt + len(cycles),
            "prompt_tokens_details": {"cached_tokens": self.started.cached if self.started else 0},
            "chip_cycles": {
                "queueing": started - arrived,
                "prefill": first - started,
                "decode": last - first,
            },
        }

    @property
    def token_cycles(self):
        """Cycles from the request's arrival until each token of each answer."""
        return [[cycle - self.asked.arrived for cycle in answer.cycles] for answer in self.answers]

    def whole(self):
        """The answer to a request that is not streamed."""
        return self._head(False) | {
            "choices": [
                self._choice(n, answer.written, answer.logprobs, answer.finished, False)
                for n, answer in enumerate(self.answers)
            ],
            "usage": self.usage,
        }

    def chunk(self, index, text, logprobs, finished):
        """A piece of a stream."""
        return self._head(True) | {"choices": [self._choice(index, text, logprobs, finished, True)]}

    def last(self):
        """The piece behind all others, with the usage alone."""
        return self._head(True) | {"choices": [], "usage": self.usage}

    def opening(self, index):
        """The first piece of a chat's stream: who speaks."""
        choice = {"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        return self._head(True) | {"choices": [choice | {"logprobs": None}]}

    def _head(self, streamed):
        kind = (
            ("chat.completion.chunk" if streamed else "chat.completion") if self.chat else "text_completion"
        )
        return {"id": self.id, "object": kind, "created": self.created, "model": self.body.model}

    def _choice(self, index, text, logprobs, finished, streamed):
        choice = {"index": index, "finish_reason": finished}
        if self.chat:
            listed = {"content": logprobs} if self.asked.logprobs is not None else None
            said = {"content": text} if streamed else {"role": "assistant", "content": text, "refusal": None}
            return choice | {"delta" if streamed else "message": said, "logprobs": listed}
        return choice | {
            "text": text,
            "logprobs": _legacy(logprobs) if self.asked.logprobs is not None else None,
        }


def _legacy(logprobs):
    """Probabilities as completions have them."""
    return {
        "tokens": [one["token"] for one in logprobs],
        "token_logprobs": [one["logprob"] for one in logprobs],
        "top_logprobs": [{top["token"]: top["logprob"] for top in one["top_logprobs"]} for one in logprobs],
    }
