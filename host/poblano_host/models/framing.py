"""What a model's files say of text around a prompt: tokens before and behind it, ends, a chat template."""

from dataclasses import dataclass

from .config import ModelError

__all__ = ["ENDS", "Framing"]

ENDS = frozenset(
    "<|eot_id|> <|eom_id|> <|im_end|> <|end|> <|return|> <|call|> <end_of_turn> <|endoftext|> </s> <EOT> "
    "<|end_of_text|> <end_of_utterance> <eos>".split()
)
"""Special tokens that end a reply though files often do not say so."""


@dataclass(frozen=True)
class Framing:
    """What a model's files say of the text around a prompt.

    Parameters
    ----------
    add_bos, add_eos : whether the tokens for the begin and the end of text go around a prompt
    ends : ids of the tokens that end a reply, beside the one for the end of text
    template : the chat template, None if there is none
    """

    add_bos: bool = False
    add_eos: bool = False
    ends: frozenset = frozenset()
    template: str | None = None

    @classmethod
    def of_file(cls, where, tokenizer, *, bos, eos, add_bos, add_eos, ends, template):
        """The checked framing of a file's fields, which are of any type; ``bos`` and ``eos`` are ids or
        None."""
        for name, value, id in (("add_bos_token", add_bos, bos), ("add_eos_token", add_eos, eos)):
            if not isinstance(value, bool):
                raise ModelError(f"{where}: {name} is {value!r}, not true or false")
            if value and id is None:
                raise ModelError(f"{where}: {name} is true, but no such token is named")
        for id in ends:
            if not isinstance(id, int) or tokenizer.token_of(id) is None:
                raise ModelError(f"{where}: an end token is {id!r}, which the tokenizer does not have")
        if template is not None and not isinstance(template, str):
            raise ModelError(f"{where}: the chat template is no text")
        known = {tokenizer.id_of(token) for token in ENDS}
        return cls(
            add_bos, add_eos, frozenset(ends) | {id for id in known if tokenizer.is_added(id)}, template
        )
