"""Figures of embeddings that are made a batch at a time, against those of all at once."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fusion_files import embeddings, make_corpus, write_features

from erc_fusion.config.config import ModelConfig
from erc_fusion.evaluation import bootstrap, paired_test
from erc_fusion.evaluation.bootstrap import Draws, Marginals, resamples, totals, weighted
from erc_fusion.inputs.sources import find_sources
from erc_fusion.inputs.standardise import fit_standardiser
from erc_fusion.inputs.table import load_table
from erc_fusion.model.fusion import build_model
from erc_fusion.training import reduced
from erc_fusion.training.checkpoint import principal
from erc_fusion.training.train import nearest, predict, prototypes


@pytest.mark.parametrize("context", ["none", "gru"])
def test_blocks_give_what_all_rows_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: str
) -> None:
    corpus = make_corpus((30, 5, 5))
    write_features(tmp_path / "tiny", "text.a", corpus, embeddings(corpus, 2, 12))
    table = load_table(find_sources(tmp_path / "tiny"))
    rows = table.rows("train")
    split = fit_standardiser(table, rows).split(table, rows, "cpu")
    model = build_model(ModelConfig(width=16, context=context), {"text.a": (2, 12)}, 3, (0, 1))
    assert reduced.fits(model, len(rows)) and not reduced.fits(model, 10**7)
    for module in (reduced, __import__("erc_fusion.training.train", fromlist=["x"])):
        monkeypatch.setattr(module, "PREDICT_ROWS", 50)
    whole = predict(model, split)
    without = predict(model, split, embeddings=False)
    assert torch.equal(without.logits, whole.logits) and without.embedding.shape[-1] == 0
    np.testing.assert_allclose(
        reduced.principal_in_blocks(model, split), principal(whole.embedding.numpy()), atol=1e-5
    )
    centres = prototypes(whole, split.label, 4)  # the last has no rows
    found = reduced.prototypes_in_blocks(model, split, 4)
    torch.testing.assert_close(found, centres, equal_nan=True)
    assert np.array_equal(reduced.nearest_in_blocks(model, split, centres), nearest(whole, centres))


def test_resamples_made_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, flips = resamples(37, 501), paired_test._flips(37, 301)
    assert isinstance(whole, np.ndarray) and isinstance(flips, np.ndarray)
    drawn = np.random.default_rng(0).integers(37, size=(501, 37))
    assert np.array_equal(whole, [np.bincount(row, minlength=37) for row in drawn])
    assert np.array_equal(flips, np.random.default_rng(0).integers(0, 2, (301, 37)))
    monkeypatch.setattr(bootstrap, "KEPT", 0)
    monkeypatch.setattr(bootstrap, "DRAWN", 37 * 7)
    resamples.cache_clear()
    paired_test._flips.cache_clear()
    try:
        parts, swaps = resamples(37, 501), paired_test._flips(37, 301)
        assert isinstance(parts, Draws) and isinstance(swaps, Draws)
        assert np.array_equal(np.concatenate([*parts.blocks()]), whole)
        assert np.array_equal(np.concatenate([*swaps.blocks()]), flips)
        counts = np.random.default_rng(1).integers(0, 9, (3, 37, 2, 4))
        table = Marginals(*counts)
        for name in ("hits", "truth", "predicted"):
            one, other = (getattr(weighted(each, table), name) for each in (parts, whole))
            assert one.shape == (2, 501, 4) and np.array_equal(one, other)
        assert len(totals(parts, *counts)) == 3
    finally:
        resamples.cache_clear()
        paired_test._flips.cache_clear()
