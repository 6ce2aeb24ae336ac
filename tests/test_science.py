"""`make soak`: on the whole sample corpus, each part does what it is there for."""

from dataclasses import replace

import numpy as np
import pytest

from erc_features.corpora.sample import sample
from erc_features.decode import Decode
from erc_features.extract import extract
from erc_features.prepare import prepare
from erc_features.utterance import Split
from erc_fusion.config import FuseConfig, with_options
from erc_fusion.fuse import fuse, resolve
from erc_fusion.table import load_table
from erc_fusion.weights import load_weights


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    sample(folder / "raw", seed=1)  # another corpus than the one that the demo shows
    prepare(folder / "raw", folder / "data/sample", decode=Decode(height=120))
    extract(folder / "data/sample", features=folder / "features", encoder="baseline")
    return folder


def settings(place, **options):
    return with_options(
        FuseConfig(corpus="sample"), features=str(place / "features"), runs=str(place / "runs"),
        device="cpu", seeds=(0, 1, 2, 3, 4), **options,
    )  # fmt: skip


def accuracy(run):
    return run.metrics["test"]["accuracy"]["mean"]


@pytest.mark.soak
def test_fusion_adds_over_single_modalities_and_context_over_none(place):
    single = [accuracy(fuse(settings(place, modalities=(m,))).run)
              for m in ("text", "audio", "visual")]  # fmt: skip
    fused = accuracy(fuse(settings(place)).run)
    context = accuracy(fuse(settings(place, context="gru")).run)
    print(f"\nsingle {single}, fused {fused:.3f}, with context {context:.3f}")
    assert fused > max(single) + 0.02
    assert context > fused


@pytest.mark.soak
def test_modality_dropout_helps_where_modalities_are_missing(place):
    """A third of the test split's audio and pictures are masked."""
    lost = {}
    for share in (0.0, 0.3):
        config = settings(place, modality_dropout=share, name=f"masked-{share}")
        run = fuse(config).run
        table = load_table(resolve(config)[1])
        rows = table.rows(Split.TEST)
        rows = rows[table.label[rows] >= 0]
        present = table.present.copy()
        hidden = np.random.default_rng(0).random(len(table)) < 1 / 3
        stems = [source.stem for source in table.sources]
        for stem in ("audio.baseline", "visual.baseline"):
            present[hidden, stems.index(stem)] = False
        weights = load_weights(run)
        whole, masked = (
            (weights.predict(t, rows).probability.argmax(-1) == table.label[rows]).mean()
            for t in (table, replace(table, present=present))
        )
        lost[share] = whole - masked
    print(f"\naccuracy lost by masking, by modality dropout: {lost}")
    assert lost[0.3] < lost[0.0]
    assert lost[0.3] < 0.12
