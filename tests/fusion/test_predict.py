"""`erc predict`: on the demo's raw clips, with moved and changed encoders, on the command line."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checkpoints import tiny_bert
from corpora import text_corpus, write_rows
from recordings import record
from typer.testing import CliRunner

import cli
from erc_features.corpora import read_raw
from erc_features.encoders.base import Settings
from erc_features.errors import CorpusError, EncoderError, ErcError, FeatureFileError, RunError
from erc_features.extraction.extract import extract
from erc_features.preparation.decode import Decode
from erc_features.preparation.live_dialogue import make_talk, read_talk
from erc_features.preparation.prepare import prepare
from erc_features.sample.sample import sample
from erc_features.utterance import Split
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse
from erc_fusion.predict import predict, write_answers
from erc_fusion.runs.run import DONE, Run


def fused(folder, corpus, **options):
    config = with_options(
        FuseConfig(corpus=corpus), features=str(folder / "features"), runs=str(folder / "runs"),
        device="cpu", epochs=3, width=16, **options,
    )  # fmt: skip
    return fuse(config).run


def stored(run, split="test"):
    """(keys, probability (S, N, C)) as `fuse` wrote them."""
    frame = run.predictions()
    frame = frame[frame.split == split]
    columns = [f"p_{label}" for label in run.inputs["labels"]]
    by_seed = [part for _, part in frame.groupby("seed")]
    return by_seed[0].key.tolist(), np.stack([part[columns].to_numpy() for part in by_seed])


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A small rendered corpus, raw and fused; its test split as a CSV of raw clips."""
    folder = tmp_path_factory.mktemp("rendered")
    sample(folder / "raw", dialogues=(4, 2, 2))
    prepare(folder / "raw", folder / "data/tiny", decode=Decode(frames=3, height=120))
    extract(folder / "data/tiny", features=folder / "features", encoder="baseline")
    rows = [
        {"dialogue": u.dialogue, "sequence": u.sequence, "speaker": u.speaker, "x_text": u.x_text,
         "label": u.label, "x_visual": row.clip or "", "x_audio": row.clip or ""}
        for row in read_raw(folder / "raw").rows if (u := row.utterance).split == Split.TEST
    ]  # fmt: skip
    write_rows(folder / "scenes.csv", rows)
    return folder


@pytest.mark.parametrize("context", ["none", "gru"])
def test_raw_clips_give_the_probabilities_that_fuse_stored(rendered, context):
    run = fused(rendered, "tiny", context=context, seeds=(0, 1))
    found = predict(run, read_talk(rendered / "scenes.csv"))
    keys, probability = stored(run)
    assert [row.key.replace("new/", "test/") for row in found.rows] == keys
    assert np.abs(found.probability - probability).max() < 1e-4
    first = found.rows[0]
    assert first.emotion == max(first.probability, key=first.probability.__getitem__)
    assert sum(first.probability.values()) == pytest.approx(1, abs=1e-5)
    assert {row.agreement for row in found.rows} <= {0.0, 0.5, 1.0}
    broken = [row for row in found.rows if row.without]
    assert broken  # the sample has clips that are broken on purpose
    assert all(why for row in broken for why in row.without.values())


@pytest.mark.soak
def test_a_csv_of_recordings_with_times(tmp_path):
    root = tmp_path / "data/talks"
    record(root / "r.mp4", 12.0, fps=10)
    for split, first in (("train", 0), ("dev", 6), ("test", 8)):
        rows = [
            {"dialogue": 0, "sequence": i, "x_text": "", "label": "joy" if i % 2 else "fear",
             "x_audio": "r.mp4", "x_visual": "r.mp4", "start": first + i / 2, "end": first + i / 2
             + 0.7} for i in range(6)
        ]  # fmt: skip
        write_rows(root / f"{split}.csv", rows, ("start", "end"))
    extract(root, features=tmp_path / "features", encoder="baseline")
    run = fused(tmp_path, "talks", seeds=(0,))
    found = predict(run, read_talk(root / "test.csv"))
    assert not any(row.without for row in found.rows)
    keys, probability = stored(run)
    assert [row.key for row in found.rows] == keys
    assert np.abs(found.probability - probability).max() < 1e-4
    assert len(np.unique(probability.round(6), axis=1)[0]) == 6  # not one recording six times


def test_a_run_whose_sound_was_mixed_down_by_another_rule(rendered):
    run = fused(rendered, "tiny", seeds=(0,), name="of-before")
    inputs = json.loads((run.path / "inputs.json").read_text())
    (audio,) = (file for file in inputs["files"] if file["modality"] == "audio")
    assert audio["config"].pop("downmix") == "normalised"
    (run.path / "inputs.json").write_text(json.dumps(inputs))
    said = (r"audio.baseline.h5 was made by another rule .* downmix None there, 'normalised' now"
            r".*`erc extract --corpus data/tiny --features .* --modality audio --encoder baseline "
            r"--name baseline --overwrite`.*run `erc fuse` again")  # fmt: skip
    with pytest.raises(FeatureFileError, match=said):
        predict(Run(run.path), read_talk(rendered / "scenes.csv"))


def test_on_the_command_line(rendered, tmp_path):
    run = fused(rendered, "tiny", seeds=(0,), name="one")
    clip = next(path for path in sorted((rendered / "raw").rglob("dia0_utt0.mp4")))
    arguments = ["predict", str(run.path), str(clip), "--text", "I love it!", "--speaker", "Joey"]
    shown = CliRunner().invoke(cli.app, [*arguments, "--to", str(tmp_path / "out.csv")])
    assert shown.exit_code == 0, shown.stderr
    assert "I love it!" in shown.stdout and "seeds agree" in shown.stdout
    lines = CliRunner().invoke(cli.app, [*arguments, "--json"])
    answer = json.loads(lines.stdout)
    table = pd.read_csv(tmp_path / "out.csv")
    assert table.emotion.tolist() == [answer["emotion"]]
    assert table[f"p_{answer['emotion']}"][0] == pytest.approx(
        answer["probability"][answer["emotion"]], abs=1e-6
    )
    silent = CliRunner().invoke(cli.app, ["predict", str(run.path), "--text", "So?", "--json"])
    assert set(json.loads(silent.stdout)["without"]) == {"audio.baseline", "visual.baseline"}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A run on a tiny BERT with history, whose folder can move."""
    folder = tmp_path_factory.mktemp("words")
    bert = tiny_bert(folder / "models/tiny-bert")
    text_corpus(folder / "data/words", (60, 20, 20))
    settings = Settings(layers="last", pool="mean+max", history=1)
    extract(folder / "data/words", features=folder / "features", modality="text",
            encoder=str(bert), name="small", settings=settings)  # fmt: skip
    return folder, fused(folder, "words", context="gru", seeds=(0, 1))


def test_an_encoder_that_moved_or_changed(words, tmp_path):
    folder, run = words
    talk = read_talk(folder / "data/words/test.csv")
    keys, probability = stored(run)
    found = predict(run, talk)
    assert [row.key for row in found.rows] == keys
    assert np.abs(found.probability - probability).max() < 1e-4
    stem = "text.small+layerslast+poolmean-max+history1"
    revision = run.inputs["files"][0]["revision"][:12]
    shutil.move(folder / "models/tiny-bert", folder / "models/moved")
    try:
        with pytest.raises(ErcError, match=f"{revision}.*is not there.*--encoder text.small"):
            predict(run, talk)
        moved = predict(run, talk, encoders={stem: str(folder / "models/moved")})
        assert np.array_equal(moved.probability, found.probability)
        other = tiny_bert(tmp_path / "other-bert", seed=1)
        with pytest.raises(EncoderError, match=f"revision .* {revision} is needed"):
            predict(run, talk, encoders={stem: str(other)})
        with pytest.raises(ErcError, match=r"Unknown feature file 'text'; choose from text\.small"):
            predict(run, talk, encoders={"text": str(other)})
    finally:
        shutil.move(folder / "models/moved", folder / "models/tiny-bert")


def test_texts_read_in_the_whole_dialogue_and_in_a_prompt(words, tmp_path):
    folder, _ = words
    for settings in (
        Settings(layers="last", history="all", reach="whole"),
        Settings(layers="last", pool="mask", prompt="{speaker}: {text} no {mask}!"),
    ):
        features = tmp_path / settings.pool
        extract(folder / "data/words", features=features / "features", modality="text",
                encoder=str(folder / "models/tiny-bert"), settings=settings)  # fmt: skip
        run = fused(features, "words", seeds=(0,))
        found = predict(run, read_talk(folder / "data/words/test.csv"))
        keys, probability = stored(run)
        assert [row.key for row in found.rows] == keys
        assert np.abs(found.probability - probability).max() < 1e-4


def test_a_dialogue_keeps_its_context_and_the_order_asked(words):
    folder, run = words
    talk = read_talk(folder / "data/words/test.csv")
    backwards = predict(run, talk[::-1])
    found = predict(run, talk)
    assert [row.key for row in backwards.rows] == [row.key for row in found.rows][::-1]
    assert np.abs(backwards.probability[:, ::-1] - found.probability).max() < 1e-4
    alone = predict(run, talk[3:4])  # without what was said before
    assert np.abs(alone.probability[:, 0] - found.probability[:, 3]).max() > 1e-4


def test_a_kept_folder_is_no_memory_of_other_texts(words, tmp_path):
    _, run = words
    one = predict(run, make_talk([], ["great lovely"], []), work=tmp_path / "w")
    two = predict(run, make_talk([], ["no hate"], []), work=tmp_path / "w")
    assert np.abs(one.probability - two.probability).max() > 1e-4
    alone = predict(run, make_talk([], ["no hate"], []))
    assert np.abs(two.probability - alone.probability).max() < 1e-6
    curly = predict(run, make_talk([], ["company’s"], []))
    assert curly.rows[0].text == "company's"


def test_wrong_input(words, tmp_path):
    _, run = words
    with pytest.raises(ErcError, match="Nothing to predict"):
        make_talk([], [], ["Ross"])
    with pytest.raises(ErcError, match="2 --text, 1 --speaker"):
        make_talk([], ["a", "b"], ["Ross"])
    with pytest.raises(ErcError, match="No such clip: nowhere.mp4"):
        make_talk([Path("nowhere.mp4")], [], [])
    (tmp_path / "t.csv").write_text("x_text\nhello\n")
    with pytest.raises(CorpusError, match="has no column dialogue"):
        read_talk(tmp_path / "t.csv")
    with pytest.raises(ErcError, match="Unknown ending '.xlsx'; choose from .csv, .jsonl"):
        write_answers(predict(run, make_talk([], ["good"], [])), tmp_path / "a.xlsx")
    copy = tmp_path / "unfinished"
    shutil.copytree(run.path, copy)
    (copy / DONE).unlink()
    with pytest.raises(RunError, match="is not finished"):
        predict(Run(copy), make_talk([], ["good"], []))
    shutil.copytree(run.path, tmp_path / "newer")
    inputs = json.loads((run.path / "inputs.json").read_text()) | {"format_version": 99}
    (tmp_path / "newer/inputs.json").write_text(json.dumps(inputs))
    with pytest.raises(RunError, match="format version 99"):
        predict(Run(tmp_path / "newer"), make_talk([], ["good"], []))


def test_json_lines_and_csv_hold_the_same(words, tmp_path):
    folder, run = words
    found = predict(run, read_talk(folder / "data/words/dev.csv"))
    write_answers(found, tmp_path / "a.jsonl")
    write_answers(found, tmp_path / "a.csv")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    with open(tmp_path / "a.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [line["key"] for line in lines] == [row["key"] for row in table]
    assert [line["emotion"] for line in lines] == [row["emotion"] for row in table]


def test_words_and_poolings_of_a_models_folder_are_the_runs():
    from erc_fusion.predict import must_mean_the_same

    before = {"words": "query: {text}", "modules": "0123"}
    must_mean_the_same("text.e5", before, {**before})
    for now in ({"modules": "0123"}, {**before, "modules": "4567"}):
        with pytest.raises(RunError, match="text.e5 of this run"):
            must_mean_the_same("text.e5", before, now)
