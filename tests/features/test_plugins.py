"""Encoders of other packages: the example of the docs, installed by pip; and every kind of bad one.

The packages are real: on sys.path, with the metadata that pip would have written.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from corpora import media_corpus

from erc_features.encoders import load_encoder
from erc_features.encoders.base import Measures, Settings, measure
from erc_features.errors import EncoderError, ErcError
from erc_features.extraction.batch_plan import plan
from erc_features.extraction.extract import extract
from erc_features.media import read_audio
from erc_features.plugins import with_plugins
from erc_features.store import FeatureFile, Status
from erc_features.utterance import Modality

DOCS = Path(__file__).resolve().parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "erc-loudness"
PAGE = (DOCS / "own-encoder.md").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder into which pip installed the example; from a copy, as pip builds beside it."""
    folder = tmp_path_factory.mktemp("plugin")
    files = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    shutil.copytree(EXAMPLE, folder / "source", ignore=files)
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check",
               "--no-cache-dir", "--no-index", "--no-build-isolation", "--no-deps",
               "--target", folder / "site", folder / "source"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Installs a package: a module of that name and code, and its entry points."""
    modules: list[str] = []

    def install(module: str, code: str, points: str) -> None:
        site = tmp_path / "site" / module
        about = site / f"{module}-1.dist-info"
        about.mkdir(parents=True)
        (site / f"{module}.py").write_text(code)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
        (about / "entry_points.txt").write_text(f"[erc.encoders]\n{points}\n")
        monkeypatch.syspath_prepend(site)
        modules.append(module)

    yield install
    for module in modules:
        sys.modules.pop(module, None)


def mean_and_deviation_of_log_mel(sound: np.ndarray) -> np.ndarray:
    """The example's formula in numpy, step by step: sound (n,) -> (80,)."""
    from torchaudio.functional import melscale_fbanks

    bank = melscale_fbanks(257, 0.0, 8_000.0, 40, 16_000).double().numpy()  # (257, 40)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    window = np.pad(hann, 56)  # 25 ms in the middle of 512 samples
    padded = np.pad(sound.astype(np.float64), 256)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::160]  # (T, 512)
    bands = np.log(np.abs(np.fft.rfft(frames * window)) ** 2 @ bank + 1e-6)  # (T, 40)
    return np.concatenate([bands.mean(0), bands.std(0)])


@pytest.mark.soak
def test_the_example_installed_by_pip_extracts_from_the_command_line(
    installed, tmp_path, monkeypatch
):
    root = media_corpus(tmp_path / "tiny")
    command = [Path(sys.executable).parent / "erc", "extract", "--corpus", root, "--modality",
               "audio", "--encoder", "loudness", "--dtype", "float32"]  # fmt: skip
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(installed)}, cwd=tmp_path,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    monkeypatch.syspath_prepend(installed)
    loudness = load_encoder("loudness", Modality.AUDIO, Settings())
    with FeatureFile(tmp_path / "features/tiny/audio.loudness.h5") as file:
        assert file.complete
        assert file.shape == (6, 1, 80)
        assert file.attributes["encoder"] == "loudness"
        assert file.attributes["revision"] == loudness.revision
        assert re.fullmatch(r"[0-9a-f]{64}", loudness.revision)
        assert file.status.tolist() == [1, 2, 3, 1, 1, 1]
        assert "cannot be opened" in file.reason[2]
        together = file.x(np.arange(6))
    for row in (0, 3, 4, 5):
        wanted = mean_and_deviation_of_log_mel(read_audio(root / f"train/d-0-seq-{row}.wav"))
        assert np.abs(together[row, 0] - wanted).max() < 1e-3
    arguments = {"modality": "audio", "encoder": "loudness", "dtype": "float32"}
    again = extract(root, features=tmp_path / "features", **arguments)
    assert again[0].already
    alone = extract(root, features=tmp_path / "alone", **arguments, batch_size=1, name="quiet")
    assert alone[0].path.name == "audio.quiet.h5"
    with FeatureFile(alone[0].path) as file:
        assert np.abs(file.x(np.arange(6)) - together).max() < 1e-5


def test_the_page_holds_the_files_of_the_example_and_they_work(monkeypatch):
    blocks = re.findall(r"```(?:toml|python)\n(.*?)```", PAGE, re.S)
    about, module, check, grouping = blocks
    assert about == (EXAMPLE / "pyproject.toml").read_text()
    assert module == (EXAMPLE / "erc_loudness.py").read_text()
    assert check == (EXAMPLE / "test_erc_loudness.py").read_text()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(EXAMPLE)
    names: dict = {}
    exec(check, names)
    names["test_a_row_does_not_depend_on_its_batch_mates"]()
    exec(grouping, names)
    loudness = names["load_loudness"]("loudness", Modality.AUDIO, Settings())
    assert not isinstance(loudness, Measures)
    assert measure(loudness, [0.5, 2.0]).sizes.tolist() == [0.5, 2.0]
    grouped = type("Grouped", (type(loudness),), {"measure": names["measure"]})
    found = measure(grouped("loudness", "cpu", loudness.mel), [0.305, 1.0, 0.315, 0.325])
    batches = plan(np.arange(4), found.sizes, groups=found.groups, batch_size=64,
                   cost=loudness.cost, cap=loudness.cap)  # fmt: skip
    assert [batch.tolist() for batch in batches] == [[1], [3], [2, 0]]


def test_the_example_refuses_what_means_nothing_to_it(installed, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(installed)
    load_encoder("loudness", Modality.AUDIO, Settings(device="cpu"))
    for settings in (Settings(layers="last"), Settings(pool="max"), Settings(precision="bf16"),
                     Settings(history=2)):  # fmt: skip
        with pytest.raises(EncoderError, match="loudness is one formula.* has no --layers"):
            load_encoder("loudness", Modality.AUDIO, settings)
    root = media_corpus(tmp_path / "tiny")
    with pytest.raises(EncoderError, match="loudness takes sound; --modality audio works"):
        extract(root, features=tmp_path / "f", modality="text", encoder="loudness")
    with pytest.raises(ErcError, match="--encoder loudness needs --modality: choose from text"):
        extract(root, features=tmp_path / "f", encoder="loudness")
    with pytest.raises(EncoderError, match="'loudnes'; choose from baseline, loudness, or"):
        load_encoder("loudnes", Modality.AUDIO, Settings())


def test_two_packages_of_one_name_are_an_error_that_names_both(package):
    package("first_voices", "", "voices = first_voices:load")
    package("second_voices", "", "voices = second_voices:load")
    with pytest.raises(ErcError, match="'voices'") as caught:
        load_encoder("voices", Modality.AUDIO, Settings())
    assert "Two plug-ins of erc.encoders" in str(caught.value)
    assert "first_voices:load" in str(caught.value)
    assert "second_voices:load" in str(caught.value)


def test_a_package_that_comes_or_goes_meanwhile_is_seen(tmp_path, monkeypatch):
    """What is installed is remembered, and looked for again where a folder of the path changed."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    assert "late" not in with_plugins("erc.encoders", {})
    about = site / "late-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[erc.encoders]\nlate = late:load\n")
    os.utime(site, ns=(1, 1))  # a clock may be coarse
    assert with_plugins("erc.encoders", {})["late"] == "late:load"
    shutil.rmtree(about)
    assert "late" not in with_plugins("erc.encoders", {})


def test_none_may_take_the_name_of_ours(package):
    package("usurper", "", "baseline = usurper:load")
    with pytest.raises(ErcError, match=r"'baseline': erc_features\S+:load_baseline and usurper"):
        load_encoder("baseline", Modality.TEXT, Settings())


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import not_installed_anywhere", "No module named 'not_installed_anywhere'"),
        ("lode = None", "has no attribute 'load'"),
        ("def load(:", "SyntaxError"),
        ("raise RuntimeError('needs a licence')", "RuntimeError: needs a licence"),
        ("table = {}['key']", "KeyError: 'key'"),
    ],
)
def test_a_package_that_cannot_be_imported_is_named_and_harms_no_other(package, code, reason):
    package("bad_import", code, "bad = bad_import:load")
    with pytest.raises(ErcError, match="plug-in bad_import:load can't be loaded") as caught:
        load_encoder("bad", Modality.TEXT, Settings())
    assert reason in str(caught.value)
    assert load_encoder("baseline", Modality.TEXT, Settings()).dim == 2048


ODD = """
import numpy as np
import torch
from erc_features.utterance import Modality

def right(texts):
    return np.array([[[len(t), 1, 0], [0, 1, 2]] for t in texts], np.float32)

def nan(texts):
    x = right(texts)
    x[[t == "text 3" for t in texts], 1, 2] = np.nan
    return x

def raises(texts):
    if "text 3" in texts:
        raise ValueError("3 is too many\\nfor me")
    return right(texts)

WAYS = {
    "right": right,
    "nan": nan,
    "raises": raises,
    "no_layers": lambda texts: right(texts)[:, 0],
    "one_layer": lambda texts: right(texts)[:, :1],
    "wide": lambda texts: right(texts)[..., :2],
    "narrow": lambda texts: right(texts)[..., :1],
    "short": lambda texts: right(texts)[:-1],
    "double": lambda texts: right(texts).astype(np.float64),
    "rows": lambda texts: right(texts).tolist(),
    "tensor": lambda texts: torch.from_numpy(right(texts)),
    "nothing": lambda texts: None,
    "first": lambda texts: right(texts)[:1],
}

class Odd:
    layers, dim, revision, device, cap = 2, 3, "1", "cpu", 100.0

    def __init__(self, name, modality):
        self.name, self.modality = name, modality

    def cost(self, size):
        return size

    def encode(self, items):
        return WAYS[self.name](items)

def load(name, modality, settings):
    return Odd(name, Modality.AUDIO if name == "deaf" else modality)
"""
NAMES = ("right", "nan", "raises", "no_layers", "one_layer", "wide", "narrow", "short", "double",
         "rows", "tensor", "nothing", "first", "deaf")  # fmt: skip


@pytest.fixture
def odd(package, tmp_path):
    """Extracts text with an encoder of that name, all rows in one batch."""
    package("odd_encoders", ODD, "\n".join(f"{name} = odd_encoders:load" for name in NAMES))
    root = media_corpus(tmp_path / "tiny")

    def run(name: str, **more) -> FeatureFile:
        made = extract(root, features=tmp_path / "f", modality="text", encoder=name, **more)
        return FeatureFile(made[0].path)

    return run


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nan", "the embedding holds NaN or infinity"),
        ("raises", "the encoder failed: ValueError: 3 is too many"),
    ],
)
def test_a_bad_row_is_failed_and_the_others_are_as_ever(odd, name, reason):
    with odd("right") as file:
        right = file.x(np.arange(6))
        assert file.status.tolist() == [1, 2, 1, 1, 1, 1]
    with odd(name) as file:
        assert file.status.tolist() == [1, 2, 1, 3, 1, 1]
        assert file.reason[3] == reason
        right[3] = 0
        assert np.array_equal(file.x(np.arange(6)), right)


@pytest.mark.parametrize("name", ["double", "rows", "tensor"])
def test_what_numpy_makes_float32_of_is_taken(odd, name):
    with odd("right") as right, odd(name) as file:
        assert file.status.tolist() == right.status.tolist()
        assert np.array_equal(file.x(np.arange(6)), right.x(np.arange(6)))


@pytest.mark.parametrize(
    ("name", "gave"),
    [
        ("no_layers", "(1, 3)"),
        ("one_layer", "(1, 1, 3)"),
        ("wide", "(1, 2, 2)"),
        ("narrow", "(1, 2, 1)"),
        ("short", "(0, 2, 3)"),
        ("nothing", "()"),
    ],
)
def test_another_shape_shows_at_the_probe_before_there_is_a_file(odd, tmp_path, name, gave):
    with pytest.raises(EncoderError) as caught:
        odd(name)
    assert f"encoder {name} gave {gave} for 1 item;" in str(caught.value)
    assert "(B, L, D) = (1, 2, 3)" in str(caught.value)
    assert [path.name for path in (tmp_path / "f/tiny").iterdir()] == []


def test_another_shape_of_a_batch_ends_the_extraction_and_nothing_is_stored(odd, tmp_path):
    with pytest.raises(EncoderError) as caught:
        odd("first")
    assert "encoder first gave (1, 2, 3) for 5 items" in str(caught.value)
    assert "(B, L, D) = (5, 2, 3)" in str(caught.value)
    with FeatureFile(tmp_path / "f/tiny/text.first.h5.partial") as file:
        assert not file.complete
        assert not (file.status == Status.OK).any()


def test_a_mended_encoder_goes_on_where_it_was(odd, monkeypatch):
    with pytest.raises(EncoderError):
        odd("first")
    module = sys.modules["odd_encoders"]
    monkeypatch.setitem(module.WAYS, "first", module.right)
    with odd("first") as file:
        assert file.status.tolist() == [1, 2, 1, 1, 1, 1]


def test_an_encoder_of_another_modality_is_refused(odd):
    with pytest.raises(EncoderError, match="--encoder deaf takes audio; --modality audio works"):
        odd("deaf")
