"""docs/protocols.md from raw data to folds: who is heard in test is not in train."""

import numpy as np
import pytest
from clips import encode_clip, tone

from erc_features.extraction.extract import extract
from erc_features.media import write_wav
from erc_features.preparation.decode import Decode
from erc_features.preparation.prepare import prepare
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse


def scores(tmp_path, corpus, folds):
    """Prepared and extracted, then learned in folds: the run's predictions."""
    made = prepare(tmp_path / "raw", tmp_path / corpus, decode=Decode(2, 32), jobs=1)
    extract(made.corpus, features=tmp_path / "features", modality="audio", encoder="baseline")
    config = with_options(
        FuseConfig(), corpus=corpus, features=str(tmp_path / "features"), folds=folds,
        runs=str(tmp_path / "runs"), seeds=(0,), epochs=2,
    )  # fmt: skip
    return made, fuse(config).run.columns()


@pytest.mark.soak
def test_iemocap_by_session(tmp_path):
    for session in (1, 2, 3):
        dialog = tmp_path / f"raw/Session{session}/dialog"
        for folder in ("EmoEvaluation", "wav"):
            (dialog / folder).mkdir(parents=True)
        for gender, scenario in (("F", "impro01"), ("M", "script02_1")):
            name = f"Ses0{session}{gender}_{scenario}"
            write_wav(dialog / f"wav/{name}.wav", tone(8.0, 16_000)[0])
            labels = ("neu", "ang", "sad", "exc")
            lines = [f"[{i}.0 - {i}.9]\t{name}_{'FM'[i % 2]}{i:03d}\t{label}\t[2.5, 3, 1]"
                     for i, label in enumerate(labels * 2)]  # fmt: skip
            (dialog / f"EmoEvaluation/{name}.txt").write_text("\n".join(lines))
    made, found = scores(tmp_path, "iemocap", "session")
    session = {u.key: u.more["session"] for u in made.corpus.utterances}
    assert sorted(found["key"]) == sorted(session)  # each row once
    fold_of = dict(zip(found["key"], found["fold"], strict=True))
    assert len({(session[key], fold) for key, fold in fold_of.items()}) == 3


@pytest.mark.soak
def test_crema_d_by_speaker(tmp_path):
    for actor in (1001, 1002, 1003, 1004):
        for sentence, emotion in (("DFA", "ANG"), ("IEO", "SAD"), ("DFA", "SAD"), ("IEO", "ANG")):
            name = f"{actor}_{sentence}_{emotion}_XX"
            (tmp_path / "raw/AudioWAV").mkdir(parents=True, exist_ok=True)
            write_wav(tmp_path / f"raw/AudioWAV/{name}.wav", tone(0.5, 16_000)[0])
            encode_clip(tmp_path / f"raw/VideoFlash/{name}.flv", seconds=0.5)
    made, found = scores(tmp_path, "crema-d", "speaker")
    assert (made.pictures, made.sounds) == (16, 16)
    assert len(set(found["fold"])) == 4
    assert np.array_equal(np.sort(found["key"]), np.sort([u.key for u in made.corpus.utterances]))
