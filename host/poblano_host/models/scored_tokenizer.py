"""SentencePiece's tokenizers as GGUF files have them: tokens with scores, bytes for unknown characters."""

import heapq
import math
import re

from .config import ModelError
from .framing import Framing
from .tokenizer import BYTE, CONTROL, SPACE, UNKNOWN, USER_DEFINED, Tokenizer, byte_of, vocabulary_of

__all__ = ["ScoredTokenizer"]


class ScoredTokenizer(Tokenizer):
    """A tokenizer that merges the neighbours whose token has the highest score, of equal ones the first.

    The ``tokenizers`` package merges by ranks of pairs, which is another order where two pairs make one
    token.

    Parameters
    ----------
    tokens, scores, types : GGUF's lists
    prefixed : whether a space is put before text and behind each token that is found in it whole
    where : the file, for :class:`ModelError`
    """

    def __init__(self, tokens, scores, types, *, prefixed, where):
        if not isinstance(prefixed, bool):
            raise ModelError(f"{where}: add_space_prefix is {prefixed!r}, not true or false")
        self._ids = vocabulary_of(tokens, types, where)
        if len(scores) != len(tokens) or not all(map(math.isfinite, scores)):
            raise ModelError(f"{where}: not a tokenizer: {len(tokens)} tokens need as many finite scores")
        self._tokens, self._scores, self.prefixed = tokens, scores, prefixed
        self.pre, self.framing = None, Framing()
        added = {token for token, kind in zip(tokens, types) if kind in (CONTROL, USER_DEFINED, UNKNOWN)}
        self._added = {self._ids[token]: types[self._ids[token]] != USER_DEFINED for token in added}
        self._bytes = [self._ids.get(f"<0x{byte:02X}>") for byte in range(256)]
        if None in self._bytes:
            raise ModelError(f"{where}: not a tokenizer: token <0x{self._bytes.index(None):02X}> is missing")
        self._byte_of = {id: byte_of(tokens[id]) for id in self._bytes if types[id] == BYTE}
        longest_first = sorted(added - {""}, key=len, reverse=True)
        self._whole = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None

    def __len__(self):
        return len(self._tokens)

    def encode(self, text):
        parts, ids = self._whole.split(text) if self._whole else [text], []
        for n, part in enumerate(parts):
            if n % 2:
                ids.append(self._ids[part])
            elif part:
                part = " " + part if self.prefixed else part
                ids += self._merged(part.replace(" ", SPACE))
        return ids

    def _merged(self, text):
        """The ids of a text that has no added tokens."""
        symbols: list = list(text)
        before, behind = list(range(-1, len(text) - 1)), [*range(1, len(text)), -1]
        heap: list = []

        def offer(left, right):
            if left >= 0 and right >= 0:
                merged = symbols[left] + symbols[right]
                if (id := self._ids.get(merged)) is not None:
                    heapq.heappush(heap, (-self._scores[id], left, right, merged))

        for left in range(len(text) - 1):
            offer(left, left + 1)
        while heap:
            _, left, right, merged = heapq.heappop(heap)
            # Either may have been merged with another since.
            if symbols[left] is None or symbols[right] is None or symbols[left] + symbols[right] != merged:
                continue
            symbols[left], symbols[right], behind[left] = merged, None, behind[right]
            if behind[right] >= 0:
                before[behind[right]] = left
            offer(before[left], left)
            offer(left, behind[left])
        ids = []
        for symbol in symbols:
            if symbol is not None:
                id = self._ids.get(symbol)
                ids += [self._bytes[byte] for byte in symbol.encode()] if id is None else [id]
        return ids

    def bytes_of(self, id):
        token = self.token_of(id) or ""
        if self.is_special(id):
            return token.encode()
        byte = self._byte_of.get(id)
        return token.replace(SPACE, " ").encode() if byte is None else bytes([byte])

    def id_of(self, token):
        return self._ids.get(token)

    def token_of(self, id):
        return self._tokens[id] if 0 <= id < len(self._tokens) else None

    @property
    def around(self):
        return [], []

    @property
    def kind(self):
        return "SentencePiece"
