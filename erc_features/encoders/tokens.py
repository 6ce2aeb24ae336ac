"""Turning texts, alone or with their history, into token numbers.

With history, the utterances of a dialogue follow each other in one sequence, as in EmoBERTa (Kim
and Vossen 2021, "EmoBERTa: Speaker-Aware Emotion Recognition in Conversation with RoBERTa"):

    [CLS] Ross: Hi. [SEP] Joey: Hey! [SEP] Ross: This guy says hello. [SEP]

each with its speaker's name if there is one, and the tokens of the last text are marked.
"""

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from erc_features.encoders.base import Turn

_CAPITAL = re.compile(r"[A-Z][a-z]{2,}")
_WORD = re.compile(r"\w{1,8}|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Tokens:
    """One sequence.

    Attributes:
        ids: of the tokens.
        own: first and last + 1 of those to pool: all, or with history the text's own.
        cut: whether the text itself was too long and lost its end.
        shortened: whether the oldest utterances of its history were left out.
    """

    ids: "array[int]"
    own: tuple[int, int]
    cut: bool
    shortened: bool


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer of transformers, without its padding and truncation.

    Padding to the right, as here, changes nothing in any model: in a decoder no token attends to
    later ones, and positions count from the first token.

    Attributes:
        inner: the tokenizer, or :class:`HashedWords`.
        longest: the maximum number of tokens of a sequence.
        pad: the token to pad with; nothing attends to it.
        prefix, suffix: special tokens around a sequence.
        between: tokens between the utterances of a history.
    """

    inner: Any
    longest: int
    pad: int
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    between: tuple[int, ...] = ()

    @property
    def room(self) -> int:
        return self.longest - len(self.prefix) - len(self.suffix)

    def __call__(self, items: Sequence[str | Turn]) -> list[Tokens]:
        """Each text or turn as a sequence of one to `longest` tokens."""
        plain = [item for item in items if isinstance(item, str)]
        encoded = iter(self.inner(plain, add_special_tokens=False)["input_ids"] if plain else [])
        return [
            self._alone(next(encoded)) if isinstance(item, str) else self._with_history(item)
            for item in items
        ]

    def _alone(self, ids: list[int]) -> Tokens:
        cut = len(ids) > self.room
        # A decoder's tokenizer has no token for an empty text, so padding stands for it.
        whole = [*self.prefix, *ids[: self.room], *self.suffix] or [self.pad]
        return Tokens(array("i", whole), (0, len(whole)), cut, False)

    def _with_history(self, turn: Turn) -> Tokens:
        pairs = [*turn.before, (turn.speaker, turn.text)]
        names = [f"{speaker}: " if speaker else "" for speaker, _ in pairs]
        lines = [name + text for name, (_, text) in zip(names, pairs, strict=True)]
        found = self.inner(lines, add_special_tokens=False, return_offsets_mapping=True)
        *before, own = found["input_ids"]
        # A token is the text's own where it ends after the speaker's name.
        named = sum(end <= len(names[-1]) for _, end in found["offset_mapping"][-1])
        cut = len(own) > self.room
        own = own[: self.room]
        kept: list[int] = []
        count = 0
        for line in reversed(before):
            longer = [*line, *self.between, *kept]
            if len(longer) + len(own) > self.room:
                break
            kept, count = longer, count + 1
        ids = [*self.prefix, *kept, *own, *self.suffix] or [self.pad]
        stop = len(self.prefix) + len(kept) + len(own)
        # An empty text has no token of its own: the one after it stands for it, or the last.
        start = min(stop - len(own) + named, len(ids) - 1)
        return Tokens(array("i", ids), (start, max(stop, start + 1)), cut, count < len(before))


@dataclass(frozen=True)
class HashedWords:
    """Words and punctuation marks by their hash, which is enough for random weights.

    Pieces of at most 8 letters make about as many tokens of English as a vocabulary does. Tokens
    0, 1 and 2 are special ones.
    """

    vocabulary: int

    def __call__(self, texts: Sequence[str], **_: bool) -> dict[str, list[list[Any]]]:
        found = [list(_WORD.finditer(text.lower())) for text in texts]
        count = self.vocabulary - 3
        ids = [[3 + crc32(m[0].encode()) % count for m in matches] for matches in found]
        spans = [[m.span() for m in matches] for matches in found]
        return {"input_ids": ids, "offset_mapping": spans}


def wrap(inner: Any, longest: int) -> Tokenizer:
    """Our form of a tokenizer of transformers, whose special tokens are found by asking it."""
    bare = inner("a", add_special_tokens=False)["input_ids"]
    full = inner("a")["input_ids"]
    at = next(i for i in range(len(full)) if full[i : i + len(bare)] == bare)
    pad = inner.pad_token_id if inner.pad_token_id is not None else inner.eos_token_id
    between = (
        [inner.sep_token_id] if inner.sep_token_id is not None
        else inner("\n", add_special_tokens=False)["input_ids"]
    )  # fmt: skip
    return Tokenizer(
        inner, longest, pad or 0, tuple(full[:at]), tuple(full[at + len(bare) :]), tuple(between)
    )


def lost_capital(inner: Any) -> str:
    """A capitalised word of the vocabulary, if the tokenizer produces none of them: then it makes
    texts lower case, but its model was trained on texts as they are. Otherwise nothing."""
    found = (word for word in sorted(inner.get_vocab()) if _CAPITAL.fullmatch(word))
    words = [word for word, _ in zip(found, range(20), strict=False)]
    kept = any(word in inner.tokenize(word) for word in words)
    return words[0] if words and not kept else ""


def hashed(longest: int, vocabulary: int) -> Tokenizer:
    """A tokenizer for random weights, which needs no vocabulary."""
    return Tokenizer(HashedWords(vocabulary), longest, 0, prefix=(1,), suffix=(2,), between=(2,))
