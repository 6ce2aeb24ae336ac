import numpy as np
from erc_loudness import load_loudness

from erc_features.encoders.base import Settings
from erc_features.utterance import Modality


def test_a_row_does_not_depend_on_its_batch_mates():
    encoder = load_loudness("loudness", Modality.AUDIO, Settings())
    noise = np.random.default_rng(0).uniform(-1, 1, 50_000).astype(np.float32)
    sounds = [noise[:n] for n in (1, 399, 16_000, 16_001, 50_000)]
    alone = np.concatenate([encoder.encode([sound]) for sound in sounds])
    assert alone.shape == (5, encoder.layers, encoder.dim)
    assert alone.dtype == np.float32
    for batch in ([0, 1, 2, 3, 4], [4, 2], [3, 0, 1]):
        together = encoder.encode([sounds[i] for i in batch])
        assert np.abs(together - alone[batch]).max() < 1e-5
