"""Turning texts, alone or with their dialogue, into token numbers.

With history, the utterances of a dialogue follow each other in one sequence, as in EmoBERTa (Kim
and Vossen 2021, "EmoBERTa: Speaker-Aware Emotion Recognition in Conversation with RoBERTa"):

    [CLS] Ross: Hi. [SEP] Joey: Hey! [SEP] Ross: This guy says hello. [SEP]

each with its speaker's name if there is one, and the tokens of one of them are marked.
"""

import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard
from zlib import crc32

import numpy as np

from erc_features.encoders.base import Turn
from erc_features.encoders.excerpt import excerpt
from erc_features.encoders.prompt import Filled, Prompt

_CAPITAL = re.compile(r"[A-Z][a-z]{2,}")
_WORD = re.compile(r"\w{1,8}|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Tokens:
    """One sequence.

    Attributes:
        ids: of the tokens.
        own: first and last + 1 of those to pool: all, or with history the text's own.
        cut: whether the text itself was too long and lost its end.
        shortened: whether utterances of its dialogue were left out.
        mask: which token the prompt's `{mask}` is; -1 without one.
    """

    ids: "array[int]"
    own: tuple[int, int]
    cut: bool
    shortened: bool
    mask: int = -1


@dataclass(frozen=True, slots=True)
class _Line:
    """One utterance of a sequence: its tokens, and where in the line each ends."""

    ids: list[int]
    spans: list[tuple[int, int]]


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
        prompt: the words around each text to be encoded, not around those of its history.
        alone: whether there is no history, so that a turn of one utterance is a text whose prompt
            asks for its speaker's name; otherwise it is the first of its dialogue.
    """

    inner: Any
    longest: int
    pad: int
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    between: tuple[int, ...] = ()
    prompt: Prompt | None = None
    alone: bool = False

    @property
    def room(self) -> int:
        return self.longest - len(self.prefix) - len(self.suffix)

    def __call__(self, items: Sequence[str | Turn]) -> list[Tokens]:
        """Each text or turn as a sequence of one to `longest` tokens."""
        plain = [item for item in items if isinstance(item, str) and not self.prompt]
        encoded = iter(self.inner(plain, add_special_tokens=False)["input_ids"] if plain else [])
        lines = self._lines(items)
        # Turns of one dialogue hold the same tuple, and each line of it is looked up once.
        of = {id(item.dialogue): item.dialogue for item in items if self._has_dialogue(item)}
        parts = {key: [lines[_line(said)].ids for said in of[key]] for key in of}
        found = []
        for item in items:
            if self._has_dialogue(item):
                found.append(self._in_dialogue(item, lines, parts[id(item.dialogue)]))
            elif self.prompt:
                found.append(self._prompted(self._filled(item), lines))
            else:
                found.append(self._alone(next(encoded)))
        return found

    def _lines(self, items: Sequence[str | Turn]) -> Mapping[str, _Line]:
        """Every line that is part of a sequence, tokenised once."""
        wanted: dict[str, None] = {}
        known: set[int] = set()
        for item in items:
            if self._has_dialogue(item):
                if id(item.dialogue) not in known:
                    known.add(id(item.dialogue))
                    wanted |= dict.fromkeys(map(_line, item.dialogue))
                wanted[self._own(item)[0].line] = None
            elif self.prompt:
                wanted[self._filled(item).line] = None
        if not wanted:
            return {}
        found = self.inner([*wanted], add_special_tokens=False, return_offsets_mapping=True)
        pairs = zip(found["input_ids"], found["offset_mapping"], strict=True)
        return {line: _Line(*pair) for line, pair in zip(wanted, pairs, strict=True)}

    def _alone(self, ids: list[int]) -> Tokens:
        cut = len(ids) > self.room
        # A decoder's tokenizer has no token for an empty text, so padding stands for it.
        whole = [*self.prefix, *ids[: self.room], *self.suffix] or [self.pad]
        return Tokens(array("i", whole), (0, len(whole)), cut, False)

    def _has_dialogue(self, item: str | Turn) -> TypeGuard[Turn]:
        return isinstance(item, Turn) and not (self.alone and len(item.dialogue) == 1)

    def _filled(self, item: str | Turn) -> Filled:
        assert self.prompt is not None
        if isinstance(item, Turn):
            return self.prompt.fill(item.text, item.speaker)
        return self.prompt.fill(item, "")

    def _prompted(self, filled: Filled, lines: Mapping[str, _Line]) -> Tokens:
        assert self.prompt is not None
        line = lines[filled.line]
        ids, mask, cut, lost = self._fitted(line, filled)
        whole = [*self.prefix, *ids, *self.suffix] or [self.pad]
        start = 0
        if not self.prompt.pooled:
            before = sum(end <= filled.text[0] for _, end in line.spans)
            start = min(len(self.prefix) + max(0, before - lost), len(whole) - 1)
        return Tokens(
            array("i", whole), (start, len(whole)), cut, False,
            mask if mask < 0 else mask + len(self.prefix),
        )  # fmt: skip

    def _own(self, turn: Turn) -> tuple[Filled, int]:
        """The utterance's own line, and how much of it is its speaker's name."""
        line = _line(turn.dialogue[turn.at])
        name = len(line) - len(turn.text)
        if not self.prompt:
            return Filled(line, (name, len(line)), -1), name
        filled = self.prompt.fill(turn.text, turn.speaker)
        if self.prompt.names_speaker:
            return filled, 0
        begin, end = (name + n for n in filled.text)
        mask = filled.mask if filled.mask < 0 else filled.mask + name
        return Filled(line[:name] + filled.line, (begin, end), mask), name

    def _fitted(self, line: _Line, filled: Filled) -> tuple[list[int], int, bool, int]:
        """The line's tokens, without the end of its text if there are too many; which of them is
        the mask, or -1; whether there were too many; and how many were lost at the beginning, if a
        speaker's name is so long that all of the text was not enough."""
        first, last = (sum(end <= limit for _, end in line.spans) for limit in filled.text)
        # Spans may be empty at the end of a text; a token of the text ends inside it.
        excess = max(0, len(line.ids) - self.room)
        gone = min(excess, last - first)
        ids = [*line.ids[: last - gone], *line.ids[last:]]
        mask = -1
        if filled.mask >= 0:
            mask = next(i for i, (begin, end) in enumerate(line.spans) if end > filled.mask)
            mask -= gone if mask >= last else 0
        # The end of a prompt may be what it asks for, and its mask always is.
        lost = max(0, len(ids) - self.room) if self.prompt else 0
        lost = lost if mask < 0 else min(lost, mask)
        ids = ids[lost:][: self.room]
        mask -= lost if mask >= 0 else 0
        return ids, mask, excess > 0, lost

    def _in_dialogue(
        self, turn: Turn, lines: Mapping[str, _Line], parts: Sequence[list[int]]
    ) -> Tokens:
        filled, name = self._own(turn)
        own, mask, cut, lost = self._fitted(lines[filled.line], filled)
        # A token is the text's own where it ends after the speaker's name.
        named = max(0, sum(end <= name for _, end in lines[filled.line].spans) - lost)
        gap = len(self.between)
        lengths = [len(part) + gap for part in parts]
        lengths[turn.at] = len(own) + gap
        first, stop = excerpt(lengths, turn.at, self.room + gap)
        before = [token for part in parts[first : turn.at] for token in (*part, *self.between)]
        after = [token for part in parts[turn.at + 1 : stop] for token in (*self.between, *part)]
        ids = [*self.prefix, *before, *own, *after, *self.suffix] or [self.pad]
        begin = len(self.prefix) + len(before)
        end = begin + len(own)
        # An empty text has no token of its own: the one after it stands for it, or the last.
        start = min(begin + named, len(ids) - 1)
        return Tokens(
            array("i", ids), (start, max(end, start + 1)), cut, (first, stop) != (0, len(parts)),
            mask if mask < 0 else mask + begin,
        )  # fmt: skip


def _line(said: tuple[str, str]) -> str:
    speaker, text = said
    return f"{speaker}: {text}" if speaker else text


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


def padded(tokens: Sequence[Tokens], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """ids (B, T) and what is not padding (B, T), int64."""
    longest = max(len(t.ids) for t in tokens)
    ids = np.full((len(tokens), longest), pad)
    seen = np.zeros_like(ids)
    for i, t in enumerate(tokens):
        ids[i, : len(t.ids)] = t.ids
        seen[i, : len(t.ids)] = 1
    return ids, seen


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
