"""`make soak`: on the whole sample corpus, each part does what it is there for."""

from dataclasses import replace

import numpy as np
import pytest
from fusion_files import embeddings, make_corpus, write_features

from erc_features.extraction.extract import extract
from erc_features.preparation.decode import Decode
from erc_features.preparation.prepare import prepare
from erc_features.sample.sample import sample
from erc_features.utterance import Split
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse, resolve
from erc_fusion.inputs.table import load_table
from erc_fusion.training.checkpoint import load_weights


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


def lost_by_masking(config, heard, draws):
    """Accuracy (S,) that is lost where `heard` is masked in a third of test; and that unmasked."""
    run = fuse(config).run
    weights, table = load_weights(run), load_table(resolve(config)[1])
    rows = table.rows(Split.TEST)
    rows = rows[table.label[rows] >= 0]
    columns = [m for m, source in enumerate(table.sources) if source.modality in heard]

    def right(present):
        found = weights.predict(replace(table, present=present), rows).probability.argmax(-1)
        return (found == table.label[rows]).mean(1)

    whole, masked = right(table.present), []
    for draw in range(draws):
        present = table.present.copy()
        hidden = np.random.default_rng(draw).random(len(table)) < 1 / 3
        present[np.ix_(hidden, columns)] = False
        masked.append(right(present))
    return whole - np.mean(masked, axis=0), whole


@pytest.mark.soak
def test_masked_modalities_cost_no_more_than_their_information(place):
    """Of a row without sound and picture text alone is left, so some accuracy must go.

    Modality dropout gains nothing here: what stands for an absent file is its mean, and the head
    reads the others as well as text alone does, with it and without.
    """
    text = accuracy(fuse(settings(place, modalities=("text",))).run)
    for share in (0.0, 0.5):
        config = settings(place, modality_dropout=share, name=f"masked-{share}")
        lost, whole = lost_by_masking(config, ("audio", "visual"), 20)
        least = (whole.mean() - text) / 3
        print(f"\nmodality dropout {share}: lost {lost}, text alone would lose {least:.3f}")
        assert lost.mean() < least + 0.03


@pytest.mark.soak
def test_modality_dropout_helps_where_one_modality_explains_another(tmp_path):
    """Half of the text is drowned in noise that the audio knows, the other half clear and weak."""
    folder = tmp_path / "features/tiny"
    folder.mkdir(parents=True)
    corpus = make_corpus((120, 40, 60))
    noise = np.random.default_rng(5).normal(size=(len(corpus.rows), 1, 16)).astype(np.float32)
    drowned = embeddings(corpus, 1, 16, signal=2.0) / 2 + 5 * noise
    clear = embeddings(corpus, 1, 16, signal=0.6, seed=3) / 2
    write_features(folder, "text.small", corpus, np.concatenate([drowned, clear], axis=-1))
    write_features(folder, "audio.small", corpus, noise)
    lost = []
    for share in (0.0, 0.5):
        config = with_options(
            FuseConfig(corpus="tiny"), features=str(folder.parent), runs=str(tmp_path / "runs"),
            device="cpu", head="attention", width=64, modality_dropout=share,
            seeds=tuple(range(10)),
        )  # fmt: skip
        lost.append(lost_by_masking(config, ("audio",), 20)[0])
    gained = lost[0] - lost[1]  # (S,), seed by seed
    print(f"\nlost without {lost[0]}, with {lost[1]}")
    assert gained.mean() > 3 * gained.std(ddof=1) / len(gained) ** 0.5
    assert lost[1].mean() < lost[0].mean() / 2
