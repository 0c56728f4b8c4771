"""Bodies of requests to the server: those of OpenAI's API that it answers.

Source: https://platform.openai.com/docs/api-reference (completions and chat).
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = ["ChatBody", "CompletionBody", "TraceBody"]

MOST_STOPS, MOST_ANSWERS, MOST_LOGPROBS = 4, 16, 20
LARGE = 1 << 53
"""Integers below are numbers of JSON in any language."""
HALVES = re.compile("[\ud800-\udfff]")


def _whole(text):
    if HALVES.search(text):
        raise ValueError("half of a character is no text")
    return text


Text = Annotated[str, AfterValidator(_whole)]
"""JSON can hold halves of characters, which UTF-8 and tokenizers have not."""
Stop = Annotated[Text, Field(min_length=1, max_length=256)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False


class Body(BaseModel):
    """What both kinds of requests have. ``user``, ``metadata`` and ``store`` are not looked at;
    ``ignore_eos``, which is not OpenAI's, goes on behind a token that would end the answer."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: str
    temperature: Annotated[float, Field(ge=0, le=2, strict=False)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1, strict=False)] = 1.0
    top_k: Annotated[int, Field(ge=0, lt=LARGE)] = 0
    n: Annotated[int, Field(ge=1, le=MOST_ANSWERS)] = 1
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    ignore_eos: bool = False
    stream: bool = False
    stream_options: StreamOptions | None = None
    timeout: Annotated[float, Field(gt=0, strict=False)] | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0, strict=False)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0, strict=False)] | None = None

    @property
    def stops(self):
        """The strings that end an answer."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


class CompletionBody(Body):
    """``POST /v1/completions``: a prompt, text or token ids, that is gone on from."""

    prompt: Text | list[int]
    max_tokens: Annotated[int, Field(ge=1, lt=LARGE)] = 16
    logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None


class TracedBody(CompletionBody):
    """A request of a trace: it arrives ``arrival`` cycles of the chip's clock after the trace begins."""

    arrival: Annotated[int, Field(ge=0, lt=LARGE)]
    stream: Literal[False] = False
    stop: None = None
    timeout: None = None


class TraceBody(BaseModel):
    """``POST /trace``: requests that arrive by the chip's clock."""

    model_config = ConfigDict(extra="forbid", strict=True)
    requests: Annotated[list[TracedBody], Field(min_length=1)]


class TextPart(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]
    text: Text


class Message(BaseModel):
    """A turn of a conversation, of text alone."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]
    name: str | None = None

    @property
    def turn(self):
        """The turn as a chat template takes it."""
        content = self.content
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatBody(Body):
    """``POST /v1/chat/completions``: a conversation whose next turn is wanted."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1, lt=LARGE)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, lt=LARGE)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None

    @property
    def most(self):
        """The most tokens of an answer, None for as many as there is room for."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
