"""Texts as counts of hashed n-grams (Weinberger et al. 2009), to the bit scikit-learn's
`HashingVectorizer`, whose import takes three quarters of the time that a small corpus does.
"""

import re
from functools import lru_cache
from itertools import pairwise
from struct import unpack

import numpy as np

_TOKEN = re.compile(r"[a-z']+|[?!.,]+|[0-9]+")
_CHARACTERS = (2, 3, 4, 5)  # lengths of the n-grams of characters
_32 = 0xFFFFFFFF


def encode_ngrams(text: str, words: int, characters: int) -> np.ndarray:
    """A text -> (words + characters,): word 1-2-grams, character 2-5-grams, each of length 1."""
    text = text.lower()
    tokens = _TOKEN.findall(text)
    pairs = map(" ".join, pairwise(tokens))
    hashed = np.array([_murmur(ngram) for ngram in (*tokens, *pairs)], dtype=np.int64)
    within = [np.empty(0, np.int64)]
    for word in text.split():
        # A word of a hundred thousand letters comes once, and would fill the memory.
        known = _of_characters if len(word) <= 40 else _of_characters.__wrapped__
        within.append(known(word))
    return np.concatenate([_counted(hashed, words), _counted(np.concatenate(within), characters)])


def _counted(hashed: np.ndarray, size: int) -> np.ndarray:
    """Hashes (n,) -> (size,) of length 1. Half of the n-grams count downwards, so that those of
    one place cancel rather than pile up."""
    counts = np.bincount(np.abs(hashed) % size, np.where(hashed >= 0, 1.0, -1.0), size)
    norm = np.sqrt((counts**2).sum())
    return counts / norm if norm else counts


@lru_cache(maxsize=2**14)  # some 6 MB; words come again and again
def _of_characters(word: str) -> np.ndarray:
    """Hashes of its n-grams, a space on both sides; where it is shorter than n, of it once."""
    padded = f" {word} "
    ngrams: list[str] = []
    for n in _CHARACTERS:
        ngrams += [padded[start : start + n] for start in range(max(len(padded) - n, 0) + 1)]
        if len(padded) <= n:
            break
    return np.array(list(map(_murmur, ngrams)), dtype=np.int64)


@lru_cache(maxsize=2**14)
def _murmur(text: str) -> int:
    """MurmurHash3 of 32 bits, signed, seed 0."""
    data = text.encode()
    whole = len(data) // 4
    state = 0
    for block in unpack(f"<{whole}I", data[: 4 * whole]):
        state ^= _mix(block)
        state = ((state << 13 | state >> 19) * 5 + 0xE6546B64) & _32
    state ^= _mix(int.from_bytes(data[4 * whole :], "little")) ^ len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B & _32
    state = (state ^ state >> 13) * 0xC2B2AE35 & _32
    state ^= state >> 16
    return state - 2**32 if state >= 2**31 else state


def _mix(block: int) -> int:
    block = block * 0xCC9E2D51 & _32
    return ((block << 15 | block >> 17) & _32) * 0x1B873593 & _32
