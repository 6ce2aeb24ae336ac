"""N-grams are hashed as scikit-learn does: feature files of one revision hold the same numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import HashingVectorizer

from erc_features.encoders.hashed_ngrams import encode_ngrams

WORDS = HashingVectorizer(
    n_features=1024, ngram_range=(1, 2), token_pattern=r"[a-z']+|[?!.,]+|[0-9]+"
)
CHARACTERS = HashingVectorizer(n_features=1024, ngram_range=(2, 5), analyzer="char_wb")
TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.text("aeIt' .,!?3\n\t", max_size=60)


def expected(text: str) -> np.ndarray:
    return np.hstack([v.transform([text]).toarray()[0] for v in (WORDS, CHARACTERS)])


@given(TEXT)
def test_bits_are_those_of_scikit_learn(text: str) -> None:
    assert encode_ngrams(text, 1024, 1024).tobytes() == expected(text).tobytes()


@pytest.mark.parametrize(
    "text",
    ["", " ", "a", "Oh my god!", "I", "don't  you\u2028dare?!", "İstanbul ß ﬁ", "日本語 です",
     "\x00", "😀 ok", "abcdefghij " * 300],
)  # fmt: skip
def test_odd_texts(text: str) -> None:
    assert encode_ngrams(text, 1024, 1024).tobytes() == expected(text).tobytes()


def test_a_lone_surrogate_is_refused_by_both() -> None:
    for encode in (expected, lambda text: encode_ngrams(text, 1024, 1024)):
        with pytest.raises(UnicodeEncodeError):
            encode("\ud800 a")
