"""The report's mistakes with their media, and other people's figures beside ours."""

from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_runs import LABELS, write_corpus, write_run
from typer.testing import CliRunner

import cli
from erc_features.errors import CorpusError, RunError
from erc_features.media import RATE, read_audio, read_frames
from erc_fusion.report import report
from erc_fusion.report.mistakes import pick
from erc_fusion.report.published import FIGURES, published_for, published_note
from erc_fusion.report.results import row as read_row
from erc_fusion.runs.run import Run


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> tuple[Run, Path]:
    """A run and the corpus it saw, with media for all but one of its surest mistakes."""
    folder = tmp_path_factory.mktemp("seen")
    corpus = folder / "data" / "meld"
    corpus.mkdir(parents=True)
    fingerprint = write_corpus(corpus)
    run = write_run(folder / "runs", "m", skill=0.4, fingerprint=fingerprint)
    keys = [each.key for each in pick(read_row(run), "test", None, sound=False)]
    assert write_corpus(corpus, keys[1:]) == fingerprint
    (corpus / f"{keys[2]}.png").write_bytes(b"\x89PNG garbage")
    (corpus / f"{keys[3]}.wav").unlink()
    return run, corpus


def test_mistakes_are_the_ensembles_surest(seen):
    row = read_row(seen[0])
    table = row.run.predictions().query("split == 'test'")
    shape = (len(row.seeds), -1, len(LABELS))
    mean = table[[f"p_{label}" for label in LABELS]].to_numpy().reshape(shape).mean(0)
    keys, truth = table["key"].to_numpy()[:260], table["label"].to_numpy()[:260]
    said = table["predicted"].to_numpy().reshape(len(row.seeds), -1)
    chosen = np.array(LABELS)[mean.argmax(-1)]
    wrong = np.flatnonzero(chosen != truth)
    found = pick(row, "test", None, sound=False)
    assert len(found) == 8
    surest = np.sort(mean.max(-1)[wrong])[::-1][:8]
    assert [each.confidence for each in found] == pytest.approx(surest, abs=2e-6)
    for each in found:
        i = int(np.flatnonzero(keys == each.key)[0])
        assert (each.label, each.predicted) == (truth[i], chosen[i])
        assert each.label != each.predicted
        assert each.agreeing == pytest.approx((said[:, i] == chosen[i]).mean())
        assert each.text == table["text"].to_numpy()[i].strip()
        assert (each.picture, each.sound) == ("", "")


def test_mistakes_have_a_small_picture_and_sound_on_demand(seen, tmp_path):
    run, corpus = seen
    found = pick(read_row(run), "test", corpus, sound=True)
    assert [bool(each.picture) for each in found] == [False, True, False] + 5 * [True]
    assert [bool(each.sound) for each in found] == [False, True, True, False] + 4 * [True]
    picture = tmp_path / "p.jpg"
    picture.write_bytes(b64decode(found[1].picture.removeprefix("data:image/jpeg;base64,")))
    (pixels,) = read_frames(picture)
    assert pixels.shape == (80, 3 * 430 // 3, 3)  # 240 high, three frames side by side
    assert all(len(each.picture) < 10_000 for each in found)
    sound = tmp_path / "s.wav"
    sound.write_bytes(b64decode(found[1].sound.removeprefix("data:audio/wav;base64,")))
    assert len(read_audio(sound)) == 5 * RATE  # of 11 s
    assert not any(each.sound for each in pick(read_row(run), "test", corpus, sound=False))


def test_another_corpus_gives_no_pictures_but_an_error(seen, tmp_path):
    _, corpus = seen
    row = read_row(write_run(tmp_path, "other"))  # of fingerprint 5f5f…
    with pytest.raises(RunError, match=r"fingerprint .* saw 5f5f5f5f5f5f.*--corpus meld"):
        pick(row, "test", corpus, sound=False)
    with pytest.raises(CorpusError, match="No corpus at"):
        pick(row, "test", tmp_path / "meld", sound=False)


def test_the_command_shows_pictures_of_a_corpus_at_hand(seen, tmp_path):
    run, corpus = seen
    page = tmp_path / "r.html"
    at = ["--corpus", corpus, "--runs", run.path.parents[1], "--to", page]
    done = CliRunner().invoke(cli.app, ["report", *map(str, at), "--media"])
    assert done.exit_code == 0, done.output
    media = (page.read_text().count(f"data:{kind}") for kind in ("image/jpeg", "audio/wav"))
    assert tuple(media) == (6, 6)


def test_named_runs_of_another_corpus_need_no_corpus(seen, tmp_path, monkeypatch):
    """data/meld, which --corpus is unless said, stands there, and is not that of these runs."""
    _, corpus = seen
    monkeypatch.chdir(corpus.parents[1])
    other = write_run(tmp_path, "other", corpus="talks")
    done = CliRunner().invoke(cli.app, ["report", str(other.path), "--corpus", str(corpus), "--to",
                                        str(tmp_path / "r.html")])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "talks" in (tmp_path / "r.html").read_text()


def test_published_figures_only_beside_melds_emotions(seen, tmp_path):
    comparison = report([seen[0]], to=None)
    assert published_for(comparison) == FIGURES
    assert {f.name: f.percent for f in FIGURES} == {
        "HLM12ERC": "57", "MM-DFN": "59.46", "RoBERTa": "62.02", "COSMIC": "65.21",
        "RoBERTa with DialogueRNN": "63.61", "EmoBERTa": "65.61",
    }  # fmt: skip
    assert all(f.source and f.tuned and f.epoch for f in FIGURES)
    assert "260 test rows" in published_note(comparison)  # not MELD's 2,610
    whole = replace(comparison, corpus=replace(comparison.corpus, counts={"test": 2610}))
    assert "not of the same rows" not in published_note(whole)
    other = report([write_run(tmp_path, "r", labels=("joy", "neutral"))], to=None)
    assert published_for(other) == ()
    assert published_note(other) == ""
