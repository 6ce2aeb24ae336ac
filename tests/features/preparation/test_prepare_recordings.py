"""Raw data of recordings: each is decoded once, and every segment becomes files of its own."""

import numpy as np
import pytest
from recordings import record

from erc_features.corpora import CORPORA
from erc_features.corpora.manifest import read_corpus
from erc_features.corpora.raw import RawCorpus, RawUtterance
from erc_features.doctor.doctor import doctor
from erc_features.errors import CorpusError
from erc_features.extraction.extract import extract
from erc_features.media import Pictures, Spool, read_audio, read_frames
from erc_features.preparation.decode import Decode
from erc_features.preparation.prepare import prepare
from erc_features.utterance import Split, Utterance

SPANS = [(0.5, 1.5), (1.0, 2.25), (3.0, None), (3.5, 9.0), (2.0, 1.0), None]


def read_talks(source):
    if not (source / "r.mp4").is_file():
        return None
    rows = tuple(
        RawUtterance(
            Utterance(Split.TRAIN, 0, i, x_text=f"text {i}", label="joy",
                      more={"start": "00:20:57,256", "end": "00:20:58,256"}),
            source / ("r.mp4" if i < 5 else "s.mp4"), segment=span,
        )
        for i, span in enumerate(SPANS)
    )  # fmt: skip
    return RawCorpus("talks", source, rows, ("joy",), ())


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setitem(CORPORA, "talks", f"{__name__}:read_talks")
    record(tmp_path / "raw/r.mp4", 4.0, fps=10)
    record(tmp_path / "raw/s.mp4", 1.0, fps=10)
    return tmp_path / "raw"


def test_segments_become_files_of_their_own(tmp_path, raw, monkeypatch):
    found = prepare(raw, tmp_path / "c", decode=Decode(frames=3, height=32), jobs=1)
    assert (found.pictures, found.sounds) == (4, 4)
    whole = read_audio(raw / "r.mp4")
    spans = [span for span in SPANS[:3] if span]
    pictures = Pictures(raw / "r.mp4", spans, 3, 32, Spool())
    for i, (start, end) in enumerate(spans):
        u = found.corpus.utterances[i]
        sound = whole[round(start * 16_000) : None if end is None else round(end * 16_000)]
        assert np.abs(read_audio(tmp_path / "c" / u.x_audio) - sound).max() <= 0.5 / 32768
        frames = read_frames(tmp_path / "c" / u.x_visual)
        assert all(map(np.array_equal, frames, pictures.segment(start, end)))
    missing = found.corpus.info["missing"]["audio"]
    assert "ends at 9.00 s, but r.mp4 lasts 4." in missing["train/d-0-seq-3"]
    assert "shorter than one sample" in missing["train/d-0-seq-4"]
    # The prepared files are whole utterances, whatever the times of the raw data are.
    (made,) = extract(read_corpus(tmp_path / "c"), features=tmp_path / "f", modality="audio",
                      encoder="baseline")  # fmt: skip
    assert made.counts == {"ok": 4, "missing": 2, "failed": 0}
    assert prepare(raw, tmp_path / "c", decode=Decode(frames=3, height=32)).already
    monkeypatch.setattr(f"{__name__}.SPANS", [(0.5, 1.6), *SPANS[1:]])
    with pytest.raises(CorpusError, match="segments: "):  # other times, another preparation
        prepare(raw, tmp_path / "c", decode=Decode(frames=3, height=32))


def test_the_doctor_of_raw_recordings(raw):
    kinds = {(d.where[-1], d.kind) for d in doctor(raw).defects if "segment" in d.kind}
    assert kinds == {
        ("1", "overlapping segments"),
        ("3", "overlapping segments"),
        ("3", "segment past the end"),
        ("4", "segment that cannot be cut"),
    }
