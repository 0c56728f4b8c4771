"""A conversation with a model on a chip: turns of text, of which only what is new is run."""

from poblano.config import ConfigError

from ..models.chat import chat_ids
from .sampler import Sampler

__all__ = ["ContextFull", "Conversation"]


class ContextFull(ConfigError):
    """A conversation that is longer than the session's context."""


class Conversation:
    """A conversation by the model's own chat template.

    The KV cache stays between turns: of each the tokens that are new are run, from the first on that differs
    from what the chip has seen (a template may write turns that have been otherwise than they were given).

    Parameters
    ----------
    session : :class:`~poblano_host.runtime.session.Session`, which has seen nothing
    system : text of a system turn, None for none
    sampler : Sampler

    Members
    -------
    messages : the turns so far, dicts of ``role`` and ``content``
    ended : what ended the last answer: ``end`` (the model), ``stopped``, ``tokens`` (their most), ``full``
        (the context)
    """

    def __init__(self, session, *, system=None, sampler=Sampler()):
        self._session, self._sampler = session, sampler
        self.messages = [] if system is None else [{"role": "system", "content": system}]
        self.ended = None
        self._tokens: list = []  # those that the session has seen, and of a turn to come
        self._asked: dict = {}
        self._stopping = False

    def ask(self, text):
        """The user's turn; the number of tokens that are to be run before the answer. :class:`ContextFull`
        if there is no room, and the turn is none then."""
        asked = {"role": "user", "content": text}
        tokens = chat_ids(self._session.model, [*self.messages, asked])
        context = self._session.compiled.context
        if len(tokens) >= context:
            raise ContextFull(
                f"the conversation has {len(tokens)} tokens with this turn; the context holds {context}, the "
                "answer included"
            )
        seen = self._tokens[: self._session.position]
        pairs = zip(tokens[:-1], seen)
        kept = next((n for n, (new, old) in enumerate(pairs) if new != old), min(len(tokens) - 1, len(seen)))
        self._session.rewind(kept)
        self._tokens, self._asked = tokens, asked
        return len(tokens) - kept

    def stop(self):
        """Stop the answer after the step that is running."""
        self._stopping = True

    def answer(self, count):
        """Run what :meth:`ask` has left and at most ``count`` tokens of the answer: (step, text that it
        completes) of each step. The turns are in ``messages`` then, unless it was stopped before the
        first token."""
        session, ends = self._session, self._session.model.ends
        new, stream, text, begun = (
            self._tokens[session.position :],
            session.model.tokenizer.stream(),
            "",
            False,
        )
        self.ended, self._stopping = "tokens", False
        for step, token in session.generate(new, count, self._sampler, stop=ends):
            piece = ""
            if token is not None:
                self._tokens.append(token)
                piece = "" if token in ends else stream.push(token)
                if not begun and session.model.tokenizer.prefixed:
                    piece = piece.removeprefix(" ")
                begun, text = True, text + piece
            yield step, piece
            if token in ends:
                self.ended = "end"
            elif session.position == session.compiled.context:
                self.ended = "full"
            elif self._stopping:
                self.ended = "stopped"
                break
        if begun:
            self.messages += [self._asked, {"role": "assistant", "content": text + stream.flush()}]
