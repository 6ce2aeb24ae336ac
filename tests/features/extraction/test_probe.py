"""The probe: what an encoder gave for a built-in input, kept in its files and compared with what it
gives now. The libraries that change here are plug-ins, installed in two versions; and, of
transformers, a file whose probe and recorded versions are those of another time.
"""

import hashlib
import json
import shutil
import sys
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np
import pytest
from checkpoints import tiny_bert, tiny_clip, tiny_sound
from corpora import media_corpus, text_corpus
from typer.testing import CliRunner

import cli
from erc_features.encoders import load_encoder
from erc_features.encoders.base import Settings, Turn
from erc_features.errors import EncoderError, FeatureFileError, RunError
from erc_features.extraction.dry_run import preview
from erc_features.extraction.extract import extract
from erc_features.extraction.probe import NOT_RECORDED
from erc_features.extraction.probe_input import built_in, face, voice
from erc_features.extraction.verify import verify
from erc_features.interchange.import_features import import_features
from erc_features.preparation.live_dialogue import make_talk
from erc_features.store import FeatureFile, Probe, Status, read_probe
from erc_features.store.inspect import inspect
from erc_features.utterance import Modality
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse
from erc_fusion.predict import predict
from erc_fusion.runs.run import Run

PLAIN = Settings()

GOLDEN = Path(__file__).parents[2] / "golden" / "v1"


def sha(*arrays):
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def test_the_built_in_inputs_are_the_same_bits_everywhere():
    """Whatever else these become is another INPUT: every probe that is kept was made of these."""
    sound, (shut, open_) = built_in(Modality.AUDIO, PLAIN), built_in(Modality.VISUAL, PLAIN)
    assert (sound.shape, sound.dtype) == ((32_000,), np.float32)
    assert (shut.shape, shut.dtype) == ((240, 320, 3), np.uint8)
    assert sha(sound) == sha(voice()) == "9663f3b52c50da82"
    assert sha(shut, open_) == sha(face(4), face(16)) == "ec8a05411dba0685"
    assert np.array_equal(sound * 32_768, np.round(sound * 32_768))
    assert np.abs(sound).max() == 0.5
    assert np.abs(sound).reshape(-1, 1600).max(1).min() > 0.01  # no tenth of a second is silent
    text = "Oh, you can't be serious! I waited 25 minutes for you — and the café was closed."
    assert built_in(Modality.TEXT, PLAIN) == text
    before = (
        ("Ann", "Where have you been all day?"),
        ("Ben", "At work. Why, did something happen?"),
        ("Ann", "We said noon, remember?"),
    )
    said = ("Ben", text)
    assert built_in(Modality.TEXT, Settings(history=2)) == Turn((*before[1:], said), 2)
    for history in (9, "all"):
        assert built_in(Modality.TEXT, Settings(history=history)) == Turn((*before, said), 3)
    whole = Settings(history="all", reach="whole")
    assert built_in(Modality.TEXT, whole) == Turn((*before, said), 2)
    assert built_in(Modality.TEXT, Settings(prompt="{speaker}: {text}")) == Turn((said,), 0)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A corpus of every modality, and an encoder of each."""
    folder = tmp_path_factory.mktemp("probe")
    encoders = {
        "text": tiny_bert(folder / "tiny-bert"),
        "visual": tiny_clip(folder / "tiny-clip"),
        "audio": tiny_sound(folder / "tiny-wav2vec2", "Wav2Vec2"),
    }
    return media_corpus(folder / "tiny"), {name: str(path) for name, path in encoders.items()}


@pytest.mark.parametrize(
    ("modality", "settings"),
    [
        ("text", Settings()),
        ("text", Settings(layers="last", pool="mean+max", history=2)),
        ("text", Settings(precision="bf16")),
        ("visual", Settings()),
        ("audio", Settings()),
        ("audio", Settings(layers="0,2", pool="max")),
    ],
)
def test_a_file_keeps_the_embedding_of_the_built_in_input(tiny, tmp_path, modality, settings):
    root, encoders = tiny
    (made,) = extract(root, features=tmp_path, modality=modality, encoder=encoders[modality],
                      settings=settings, dtype="float16")  # fmt: skip
    assert made.unchecked == ""
    encoder = load_encoder(encoders[modality], Modality(modality), settings)
    wanted = encoder.encode([built_in(Modality(modality), settings)])[0]
    with FeatureFile(made.path) as file:
        assert file.probe is not None
        assert file.probe.dtype == np.float32
        assert file.probe.shape == file.shape[1:] == wanted.shape
        assert np.array_equal(file.probe, wanted)
        assert np.abs(file.probe).max() > 0.01
        assert read_probe(file).device == file.attributes["probe_device"] == "cpu"
        assert file.attributes["probe_input"] == 1
        assert file.attributes["versions"]["transformers"] == version("transformers")
    with h5py.File(made.path) as stored:
        assert stored["probe"].chunks is None
        assert stored["probe"].id.get_offset() > 0  # its bytes stand in one place of the file


@pytest.mark.parametrize("modality", list(Modality))
def test_the_baseline_keeps_one_too(tiny, tmp_path, modality):
    (made,) = extract(tiny[0], features=tmp_path, modality=modality, encoder="baseline")
    with FeatureFile(made.path) as file:
        wanted = load_encoder("baseline", modality, Settings()).encode([built_in(modality, PLAIN)])
        assert np.array_equal(file.probe[None], wanted)


def begun(root, folder, **what):
    """A partial file of one batch: the process is interrupted after it. Its path, and the bytes."""

    class Interrupted(Exception):
        pass

    def stop(stem, done, total):
        raise Interrupted

    with pytest.raises(Interrupted):
        extract(root, features=folder, batch_size=1, progress=stop, **what)
    (partial,) = folder.rglob("*.h5.partial")
    with FeatureFile(partial) as file:
        assert 0 < (file.status == Status.OK).sum() < len(file.status) - 1
    return partial, partial.read_bytes()


def of_another_time(path, *, by=0.0, versions=None, layer=-1):
    """The file as other versions would have left it: with another number in its probe."""
    with h5py.File(path, "r+") as file:
        file["probe"][layer, 0] = file["probe"][layer, 0] + by
        then = json.loads(file.attrs["versions"]) | (versions or {})
        file.attrs["versions"] = json.dumps(then)
    return path


def test_a_partial_file_is_not_gone_on_with_by_a_library_that_changed(tiny, tmp_path):
    root, encoders = tiny
    what = {"modality": "audio", "encoder": encoders["audio"]}
    partial, _ = begun(root, tmp_path / "f", **what)
    of_another_time(partial, by=1.14, versions={"transformers": "4.57.3", "wheel-of-yore": "2.0"})
    before = partial.read_bytes()
    with pytest.raises(EncoderError) as caught:
        extract(root, features=tmp_path / "f", batch_size=1, **what)
    said = str(caught.value)
    assert said.startswith(f"{partial}: the encoder ")
    assert "its weights unchanged, gives other numbers than it did" in said
    assert "of 2 s of a built-in synthetic voice, 1 of 3 layers differ (fp32 on cpu)" in said
    assert "layer 2 by 1.14 where " in said
    assert f"\n  transformers: 4.57.3 then, {version('transformers')} now" in said
    assert "\n  wheel-of-yore: 2.0 then, not installed now" in said
    assert "torch" not in said.partition("Versions")[2]
    assert "Install what it was made with (transformers 4.57.3, wheel-of-yore 2.0)" in said
    assert "or make the file anew with `erc extract --overwrite`." in said
    assert partial.read_bytes() == before
    (seen,) = preview(root, features=tmp_path / "f", batch_size=1, **what)
    assert "transformers: 4.57.3 then" in " ".join(seen.differences)
    (made,) = extract(root, features=tmp_path / "f", batch_size=1, overwrite=True, **what)
    assert verify(made.path, corpus=root).sound


def test_where_no_version_differs_that_is_said(tiny, tmp_path):
    root, encoders = tiny
    what = {"modality": "text", "encoder": encoders["text"]}
    partial, _ = begun(root, tmp_path / "f", **what)
    of_another_time(partial, by=0.01)
    with pytest.raises(EncoderError) as caught:
        extract(root, features=tmp_path / "f", batch_size=1, **what)
    said = str(caught.value)
    assert "No version differs from those recorded (python " in said
    assert f"transformers {version('transformers')}" in said
    assert "the device (cpu then, cpu now), another kind of processor" in said
    assert "Go on where it was made, or make the file anew with `erc extract --overwrite`" in said


@pytest.mark.parametrize(
    ("precision", "by", "refused"),
    [("fp32", 5e-6, False), ("fp32", 1e-4, True), ("bf16", 1e-2, False), ("bf16", 0.5, True)],
)
def test_the_tolerance_is_that_of_the_precision(tiny, tmp_path, precision, by, refused):
    root, encoders = tiny
    what = {"modality": "text", "encoder": encoders["text"],
            "settings": Settings(precision=precision)}  # fmt: skip
    partial, _ = begun(root, tmp_path / "f", **what)
    with FeatureFile(partial) as file:
        assert 0.5 < np.abs(file.probe[-1]).max() < 5
    of_another_time(partial, by=by)
    if refused:
        with pytest.raises(EncoderError, match=f"layer 2 by {by:.1g}.*cosine"):
            extract(root, features=tmp_path / "f", batch_size=1, **what)
        return
    (made,) = extract(root, features=tmp_path / "f", batch_size=1, **what)
    assert made.counts["ok"] == 5 and made.unchecked == ""


def test_a_probe_that_was_damaged_is_no_agreement(tiny, tmp_path):
    root, encoders = tiny
    what = {"modality": "text", "encoder": encoders["text"]}
    partial, _ = begun(root, tmp_path / "f", **what)
    of_another_time(partial, by=np.nan)
    with pytest.raises(EncoderError, match="what is stored holds NaN or infinity"):
        extract(root, features=tmp_path / "f", batch_size=1, **what)


def without_probe(path):
    """The file as an erc without probes left it."""
    with h5py.File(path, "r+") as file:
        del file["probe"], file.attrs["probe_input"], file.attrs["probe_device"]
    return path


def test_an_old_partial_file_is_gone_on_with_gets_no_probe_and_that_is_said(tiny, tmp_path):
    root, encoders = tiny
    what = {"modality": "text", "encoder": encoders["text"]}
    without_probe(begun(root, tmp_path / "f", **what)[0])
    arguments = ["extract", "--corpus", root, "--features", tmp_path / "f", "--batch-size", "1",
                 "--modality", "text", "--encoder", encoders["text"]]  # fmt: skip
    shown = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout.count(NOT_RECORDED) == 1
    (path,) = (tmp_path / "f").rglob("*.h5")
    with FeatureFile(path) as file:
        assert file.complete
        assert file.probe is None  # one of today's library would be a lie about the older rows
    assert verify(path, corpus=root).unchecked == NOT_RECORDED
    looked = CliRunner().invoke(cli.app, ["inspect", str(path)])
    assert "probe          not recorded: made by an older erc" in looked.stdout
    checked = CliRunner().invoke(cli.app, ["verify", str(path), "--corpus", str(root)])
    assert NOT_RECORDED in checked.stdout and checked.exit_code == 0


def test_a_partial_file_of_before_there_were_places_for_notes_is_gone_on_with(tiny, tmp_path):
    """It ended in a KeyError, its last row encoded."""
    root, encoders = tiny
    what = {"modality": "text", "encoder": encoders["text"]}
    partial, _ = begun(root, tmp_path / "f", **what)
    with h5py.File(without_probe(partial), "r+") as file:
        del file.attrs["finished"], file.attrs["notes"]
    (made,) = extract(root, features=tmp_path / "f", batch_size=1, **what)
    with FeatureFile(made.path) as file:
        assert file.complete and (file.status != Status.PENDING).all()
        assert file.attributes["finished"].startswith("20")
    assert [path.name for path in made.path.parent.iterdir()] == [made.path.name]


def test_retry_does_not_mix_libraries_either(tiny, tmp_path):
    root, encoders = tiny
    what = {"modality": "audio", "encoder": encoders["audio"]}
    (made,) = extract(root, features=tmp_path / "f", **what)
    assert made.counts["failed"] == 1
    of_another_time(made.path, by=0.1, versions={"torch": "1.0"})
    before = made.path.read_bytes()
    (again,) = extract(root, features=tmp_path / "f", **what)
    assert again.already  # nothing is written, so nothing is mixed
    with pytest.raises(EncoderError, match=r"torch: 1\.0 then(.|\n)*--overwrite"):
        extract(root, features=tmp_path / "f", retry=True, **what)
    assert made.path.read_bytes() == before
    assert [path.name for path in made.path.parent.iterdir()] == [made.path.name]
    of_another_time(made.path, by=-0.1)
    (mended,) = extract(root, features=tmp_path / "f", retry=True, **what)
    assert not mended.already and mended.unchecked == ""


def test_verify_names_the_library_before_it_calls_rows_damaged(tiny, tmp_path):
    root, encoders = tiny
    what = {"modality": "visual", "encoder": encoders["visual"]}
    (made,) = extract(root, features=tmp_path / "f", **what)
    assert verify(made.path, corpus=root).unchecked == ""
    shown = CliRunner().invoke(cli.app, ["verify", str(made.path), "--corpus", str(root)])
    assert "the probe agrees" in shown.stdout
    of_another_time(made.path, by=0.2, versions={"open_clip_torch": "2.0.0"})
    wrong = CliRunner().invoke(cli.app, ["verify", str(made.path), "--corpus", str(root)])
    assert wrong.exit_code == 1
    said = " ".join(wrong.stderr.split())
    assert f"open_clip_torch: 2.0.0 then, {version('open_clip_torch')} now" in said
    assert "a built-in drawing of a face" in said


def test_inspect_shows_it(tiny, tmp_path, capsys):
    root, encoders = tiny
    (made,) = extract(root, features=tmp_path, modality="text", encoder=encoders["text"])
    with FeatureFile(made.path) as file:
        norms = np.linalg.norm(file.probe, axis=1)
    assert inspect(made.path).probe == pytest.approx(norms.tolist())
    shown = CliRunner().invoke(cli.app, ["inspect", str(made.path)])
    assert f"probe          norm {', '.join(f'{n:.2f}' for n in norms)}; on cpu" in shown.stdout
    as_json = json.loads(CliRunner().invoke(cli.app, ["inspect", str(made.path), "--json"]).stdout)
    assert len(as_json["probe"]) == 3


def test_an_imported_file_never_has_one(tiny, tmp_path):
    root, encoders = tiny
    (made,) = extract(root, features=tmp_path / "f", modality="text", encoder=encoders["text"])
    with FeatureFile(made.path) as file:
        np.savez(tmp_path / "theirs.npz", **dict(zip(file.key, file.x(), strict=True)))
    found = import_features(tmp_path / "theirs.npz", corpus=root, modality="text", name="theirs",
                            features=tmp_path / "f")  # fmt: skip
    with FeatureFile(found.path) as file:
        assert file.probe is None
    shown = CliRunner().invoke(cli.app, ["inspect", str(found.path)])
    assert "probe          none: the file was imported" in shown.stdout


SCALED = """
import numpy as np
from erc_features.utterance import Modality

class Scaled:
    name, modality, layers, dim = "scaled", Modality.TEXT, 1, 2
    revision, device, cap = "the weights", "cpu", 100.0

    def cost(self, size):
        return size

    def encode(self, texts):
        return np.array([[[len(t), {factor} * t.count("e")]] for t in texts], np.float32)

def load(name, modality, settings):
    return Scaled()
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs erc-scaled, in the place of the version that was there."""

    def run(number, factor, code=SCALED):
        site = tmp_path / f"site-{number}"
        about = site / f"erc_scaled-{number}.dist-info"
        about.mkdir(parents=True, exist_ok=True)
        (site / "erc_scaled.py").write_text(code.replace("{factor}", str(factor)))
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: erc-scaled\nVersion: {number}\n"
        )
        (about / "entry_points.txt").write_text("[erc.encoders]\nscaled = erc_scaled:load\n")
        others = [path for path in sys.path if not path.startswith(str(tmp_path / "site-"))]
        monkeypatch.setattr(sys, "path", [str(site), *others])
        monkeypatch.delitem(sys.modules, "erc_scaled", raising=False)

    return run


def test_a_plugin_of_two_versions(tmp_path, install):
    """The same weights, by their revision; another factor in the code."""
    root = media_corpus(tmp_path / "tiny")
    what = {"modality": "text", "encoder": "scaled"}
    install("1.0", 1)
    partial, before = begun(root, tmp_path / "f", **what)
    with FeatureFile(partial) as file:
        assert file.attributes["versions"]["erc-scaled"] == "1.0"
        assert file.probe.tolist() == [[80, 6]]
    install("2.0", 1.25)
    with pytest.raises(EncoderError) as caught:
        extract(root, features=tmp_path / "f", batch_size=1, **what)
    assert "layer 0 by 1.5 where" in str(caught.value)
    assert "\n  erc-scaled: 1.0 then, 2.0 now" in str(caught.value)
    assert "Install what it was made with (erc-scaled 1.0), or" in str(caught.value)
    assert partial.read_bytes() == before
    install("1.0", 1)  # the first way out
    (made,) = extract(root, features=tmp_path / "f", batch_size=1, **what)
    (whole,) = extract(root, features=tmp_path / "g", **what)
    with FeatureFile(made.path) as one, FeatureFile(whole.path) as other:
        assert np.array_equal(one.x(), other.x())
    install("2.0", 1.25)
    with pytest.raises(EncoderError, match=r"erc-scaled: 1\.0 then, 2\.0 now"):
        verify(made.path, corpus=root)
    (made,) = extract(root, features=tmp_path / "f", overwrite=True, **what)  # the second
    assert verify(made.path, corpus=root).sound
    install("2.1", 1.25)  # another version that gives the same numbers is none of our business
    assert verify(made.path, corpus=root).sound


def test_an_encoder_that_fails_on_the_built_in_input_keeps_none_and_says_so(tmp_path, install):
    root = media_corpus(tmp_path / "tiny")
    code = SCALED.replace("    def encode(self, texts):\n", """    def encode(self, texts):
        if any(len(t) > 50 for t in texts):
            raise ValueError("too long for me")
""")  # fmt: skip
    install("1.0", 1, code)
    (made,) = extract(root, features=tmp_path / "f", modality="text", encoder="scaled")
    assert made.counts["ok"] == 5
    assert made.unchecked == (
        "no probe is kept, the embedding of a fixed built-in sentence cannot be made: the encoder "
        "failed: ValueError: too long for me"
    )
    with FeatureFile(made.path) as file:
        assert file.probe is None
    install("2.0", 1)
    (made,) = extract(root, features=tmp_path / "g", modality="text", encoder="scaled")
    install("1.0", 1, code)
    with pytest.raises(EncoderError, match="nothing can be compared: the encoder failed: Value"):
        verify(made.path, corpus=root)


@pytest.fixture(scope="module")
def fused(tmp_path_factory):
    """A run on a tiny BERT, whose feature files are gone since."""
    folder = tmp_path_factory.mktemp("fused")
    bert = tiny_bert(folder / "tiny-bert")
    root = text_corpus(folder / "words", (36, 12, 12))
    (made,) = extract(root, features=folder / "f", modality="text", encoder=str(bert))
    with FeatureFile(made.path) as file:
        kept = read_probe(file)
    config = with_options(FuseConfig(corpus="words"), features=str(folder / "f"), epochs=2,
                          runs=str(folder / "runs"), device="cpu", width=8)  # fmt: skip
    run = fuse(config).run
    shutil.rmtree(folder / "f")
    return run, kept


def changed(run, folder, change):
    """A copy of the run, the entry of its one file changed."""
    shutil.copytree(run.path, folder)
    inputs = json.loads((folder / "inputs.json").read_text())
    change(inputs["files"][0])
    (folder / "inputs.json").write_text(json.dumps(inputs))
    return Run(folder)


def test_a_run_keeps_the_probe_to_the_last_bit(fused):
    run, kept = fused
    found = Probe.from_json(run.inputs["files"][0]["probe"])
    assert np.array_equal(found.x, kept.x) and found.x.dtype == np.float32
    assert (found.input, found.device) == (1, "cpu")


def test_predict_compares_with_the_probe_that_the_run_keeps(fused, tmp_path):
    run, kept = fused
    talk = make_talk([], ["great lovely"], [])
    assert predict(run, talk).unchecked == {}

    def another_time(file):
        x = kept.x.copy()
        x[1, 3] += 0.01
        file["probe"] = replace(kept, x=x).as_json()
        file["versions"]["tokenizers"] = "0.1"

    other = changed(run, tmp_path / "other", another_time)
    with pytest.raises(EncoderError) as caught:
        predict(other, talk)
    said = str(caught.value)
    assert said.startswith(f"{other.path}, text.tiny-bert: the encoder ")
    assert "layer 1 by 0.01 where" in said
    assert f"tokenizers: 0.1 then, {version('tokenizers')} now" in said
    assert "make the file and the run anew: `erc extract --overwrite`, `erc fuse" in said
    damaged = changed(run, tmp_path / "damaged", lambda file: file["probe"].pop("float32"))
    with pytest.raises(RunError, match="is damaged .the probe of text.tiny-bert: no probe"):
        predict(damaged, talk)


def test_predict_with_an_old_run_goes_on_and_says_so_once(fused, tmp_path):
    old = changed(fused[0], tmp_path / "old", lambda file: file.pop("probe"))
    found = predict(old, make_talk([], ["great lovely", "no"], []))
    assert found.unchecked == {"text.tiny-bert": NOT_RECORDED}
    shown = CliRunner().invoke(cli.app, ["predict", str(old.path), "--text", "no hate", "--json"])
    assert shown.exit_code == 0
    assert shown.stderr.count(NOT_RECORDED) == 1
    assert json.loads(shown.stdout)["emotion"]


def test_probes_of_another_built_in_input_are_not_compared(tiny, tmp_path):
    root, encoders = tiny
    (made,) = extract(root, features=tmp_path, modality="text", encoder=encoders["text"])
    with h5py.File(of_another_time(made.path, by=1), "r+") as file:
        file.attrs["probe_input"] = 2
    found = verify(made.path, corpus=root)
    assert found.sound
    assert "of the built-in input 2, and this erc has 1, so it was not compared" in found.unchecked
    json.dumps(asdict(found), default=str)


def test_a_probe_of_another_shape_is_refused(tmp_path):
    path = Path(shutil.copy(GOLDEN / "visual.tiny.h5", tmp_path))
    with h5py.File(path, "r+") as file:
        del file["probe"]
        file["probe"] = np.ones((2, 3), np.float32)
    with pytest.raises(FeatureFileError, match=r"its probe \(2, 3\) is not of the shape \(1, 3\)"):
        FeatureFile(path)
