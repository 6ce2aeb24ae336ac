"""Which texts of different requests may be encoded together without a change of any bit.

A matrix product of few rows may be summed in another order than one of many: on a CPU with MKL,
MiniLM gives a text of 3 tokens other bits alone than beside others, and from 8 tokens on the same
(`benchmarks/LOG.md`). An answer must not depend on who else asks, so it is measured, when a server
starts, from how many tokens on a batch has the same bits alone and in company, and smaller batches
stay alone.
"""

import numpy as np

from erc_features.encoders.base import Encoder, Measures, Settings, measure
from erc_features.extraction.engines.batch import encode_rows
from erc_features.utterance import Modality

_WORDS = ("you", "no", "what", "me", "they", "said", "why", "this", "is", "good", "so", "we")
_LENGTHS = (1, 2, 3, 4, 6, 9, 14, 21, 40)  # words
_FEW = (1, 2, 3, 5, 8, 17)  # rows
_MANY = 32
_MARGIN = 2.0


def smallest_shared(encoder: Encoder, settings: Settings, dtype: str) -> float:
    """From how many tokens, rows times length, a batch of texts may have company; infinite for
    what is not a text, for texts that are read with their dialogue, and where bits differ."""
    # Only an encoder that groups texts by their tokens pads none of them beside another.
    alone = encoder.modality != Modality.TEXT or not isinstance(encoder, Measures)
    if alone or settings.history or "{speaker}" in settings.prompt:
        return float("inf")
    differs, same = 0.0, 0.0
    random = np.random.default_rng(0)
    for length in _LENGTHS:
        texts = [" ".join(random.choice(_WORDS, length)) for _ in range(_MANY)]
        found = measure(encoder, texts)
        kind = max(set(found.groups.tolist()), key=found.groups.tolist().count)
        own = [text for text, group in zip(texts, found.groups, strict=True) if group == kind]
        tokens = float(found.sizes[found.groups == kind].max())
        whole, _, _ = encode_rows(own, encoder, dtype)
        for rows in _FEW:
            if rows > len(own):
                continue
            alone, _, _ = encode_rows(own[:rows], encoder, dtype)
            if alone.tobytes() == whole[:rows].tobytes():
                same = max(same, rows * tokens)
            else:
                differs = max(differs, rows * tokens)
    limit = _MARGIN * differs + 1
    return limit if limit <= same else float("inf")
