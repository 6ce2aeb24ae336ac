"""Inputs that break other tools: every one a row, with an embedding or a reason."""

import struct
import wave

import numpy as np
import pytest
from checkpoints import tiny_bert
from corpora import write_rows
from mixed import KINDS, tiny_encoders
from PIL import Image, PngImagePlugin
from safetensors.torch import load_file, save_file

from erc_features.extraction.extract import extract
from erc_features.media import write_mosaic, write_wav
from erc_features.store import FeatureFile, Status

MUST_FAIL = "must fail"  # the name of a hostile input begins so where no embedding may come of it


def texts(random):
    """(name, text): what a cell of a CSV may hold."""
    letters = [chr(n) for n in random.integers(0x20, 0x2FFF, 40)]
    return [
        ("plain", " ".join(random.choice(["great", "no", "the", "text"], 9))),
        ("blank", random.choice(["", " ", "\u3000", "\t"])),
        ("long", "a" * int(random.integers(1, 100_000))),
        ("many words", "the " * int(random.integers(1, 25_000))),
        ("emoji", "🙂👩‍👩‍👧🏳️‍🌈" * int(random.integers(1, 200))),
        ("zero width", "\u200b\u200d\ufeff\u2060"),
        ("right to left", "\u202eשלום مرحبا\u202c"),
        ("accents without end", "e" + "\u0301" * 500),
        ("any characters", "".join(letters)),
        ("special tokens", "[CLS] [SEP] [PAD] [MASK] </s> <s>"),
        ("a formula", '=HYPERLINK("x")'),
        ("quotes and lines", 'a "quoted"\nline, and\r\nanother'),
        ("lone surrogate's stand-in", "\ufffd\U0010ffff"),
    ]


def float_wav(path, samples, rate=16_000):
    """A WAV of 32-bit floats, which `wave` can't write."""
    data = np.asarray(samples, "<f4").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 3, 1,
                       rate, rate * 4, 4, 32, b"data", len(data))  # fmt: skip
    path.write_bytes(head + data)


def pcm_wav(path, samples, rate=16_000, channels=1, width=2):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples)


def sounds(random, folder, stem):
    """(name, file): sounds that are no speech, and files that are no sound."""
    path = folder / f"{stem}.wav"
    noise = random.normal(0, 0.1, 4000).astype(np.float32)
    broken = noise.copy()
    broken[random.integers(0, 4000, 3)] = random.choice([np.nan, np.inf, -np.inf])
    makers = [
        ("plain", lambda: write_wav(path, noise)),
        ("silence", lambda: write_wav(path, np.zeros(3200))),
        ("one sample", lambda: write_wav(path, np.ones(1))),
        ("a few samples", lambda: write_wav(path, noise[: random.integers(2, 399)])),
        ("40 seconds", lambda: write_wav(path, np.tile(noise, 160))),
        ("full scale", lambda: write_wav(path, np.sign(noise) + (noise == 0))),
        ("8 bit", lambda: pcm_wav(path, random.bytes(4000), 8000, 1, 1)),
        ("stereo at 44.1 kHz", lambda: pcm_wav(path, random.bytes(4 * 9000), 44_100, 2)),
        ("24 bit at 96 kHz", lambda: pcm_wav(path, random.bytes(3 * 9600), 96_000, 1, 3)),
        ("loud floats", lambda: float_wav(path, noise * 1e6)),
        (f"{MUST_FAIL}: NaN samples", lambda: float_wav(path, broken)),
        (f"{MUST_FAIL}: no samples", lambda: pcm_wav(path, b"")),
        (f"{MUST_FAIL}: garbage", lambda: path.write_bytes(random.bytes(3000))),
        (f"{MUST_FAIL}: empty file", lambda: path.write_bytes(b"")),
        (f"{MUST_FAIL}: text", lambda: path.write_text("not a sound at all")),
        (f"{MUST_FAIL}: a folder", path.mkdir),
        (f"{MUST_FAIL}: no file", lambda: None),
    ]
    return [(name, make, path) for name, make in makers]


def pictures(random, folder, stem):
    """(name, file): pictures of odd shapes and modes, and files that are none."""
    path = folder / f"{stem}.png"

    def pixels(*shape):
        return random.integers(0, 256, shape, dtype=np.uint8)

    def save(array, mode=None, **more):
        Image.fromarray(array, mode).save(path, "PNG", **more)

    def cut():
        save(pixels(64, 64, 3))
        path.write_bytes(path.read_bytes()[:200])

    def lies():
        note = PngImagePlugin.PngInfo()
        note.add_text("frames", str(random.choice(["7", "0", "-3", "many", "9" * 30])))
        save(pixels(20, 20, 3), pnginfo=note)

    makers = [
        ("plain", lambda: write_mosaic(path, tuple(pixels(5, 24, 32, 3)))),
        ("1 x 1", lambda: write_mosaic(path, tuple(pixels(5, 1, 1, 3)))),
        ("a line", lambda: write_mosaic(path, tuple(pixels(2, 1, 3000, 3)))),
        ("a column", lambda: write_mosaic(path, tuple(pixels(1, 3000, 1, 3)))),
        ("black", lambda: write_mosaic(path, (np.zeros((24, 32, 3), np.uint8),) * 5)),
        ("grey", lambda: save(pixels(40, 30))),
        ("see-through", lambda: save(pixels(40, 30, 4))),
        ("16 bit", lambda: save(pixels(40, 30).astype(np.uint16) * 257)),
        ("palette", lambda: Image.fromarray(pixels(30, 30)).convert("P").save(path)),
        ("a JPEG by another name", lambda: Image.fromarray(pixels(30, 30, 3)).save(path, "JPEG")),
        ("animated", lambda: Image.fromarray(pixels(30, 30)).save(
            path, "GIF", save_all=True, append_images=[Image.fromarray(pixels(30, 30))])),
        (f"{MUST_FAIL}: cut off", cut),
        (f"{MUST_FAIL}: frames that are not", lies),
        (f"{MUST_FAIL}: garbage", lambda: path.write_bytes(random.bytes(3000))),
        (f"{MUST_FAIL}: empty file", lambda: path.write_bytes(b"")),
        (f"{MUST_FAIL}: a folder", path.mkdir),
        (f"{MUST_FAIL}: no file", lambda: None),
    ]  # fmt: skip
    return [(name, make, path) for name, make in makers]


def hostile_corpus(root, count, random):
    """`count` rows of each modality; returns what each row's text, picture and sound are."""
    (root / "train").mkdir(parents=True)
    rows, kinds = [], {kind: [] for kind in KINDS}
    for i in range(count):
        row = {"dialogue": i // 9, "sequence": i % 9, "speaker": f"S{i % 2}", "label": "joy"}
        name, row["x_text"] = texts(random)[i % 13]
        kinds["text"].append(name)
        for modality, make in (("visual", pictures), ("audio", sounds)):
            found = make(random, root / "train", f"d-{i // 9}-seq-{i % 9}")
            name, write, path = found[i % len(found)]
            write()
            kinds[modality].append(name)
            row[f"x_{modality}"] = str(path.relative_to(root))
        rows.append(row)
    write_rows(root / "train.csv", rows)
    return kinds


def check(path, names):
    with FeatureFile(path) as file:
        x, status, reason = file.x().astype(np.float32), file.status, file.reason
        keys = file.key.tolist()
    assert len(set(keys)) == len(keys) == len(names)
    assert (status != Status.PENDING).all() and np.isfinite(x).all()
    for row, name in enumerate(names):
        if name == "plain":
            assert status[row] == Status.OK, reason[row]
        if name.startswith(MUST_FAIL):
            assert status[row] == Status.FAILED, name
        if status[row] == Status.OK:
            assert x[row].any() and not reason[row], name
        else:
            assert reason[row] and not x[row].any(), name
    return status


@pytest.mark.parametrize("count", [34, pytest.param(1000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("modality", KINDS)
def test_hostile_inputs_cost_nobody_else_anything(tmp_path, modality, count):
    names = hostile_corpus(tmp_path / "c", count, np.random.default_rng(0))[modality]
    encoder = tiny_encoders(tmp_path / "models")[modality]
    for each in (encoder, "baseline"):
        (made,) = extract(tmp_path / "c", features=tmp_path / "f", modality=modality, encoder=each)
        status = check(made.path, names)
        assert sum(made.failures.values()) == (status == Status.FAILED).sum()
        with FeatureFile(made.path) as file:
            calm = [row for row, name in enumerate(names) if name == "plain"]
            among = file.x(np.array(calm)).astype(np.float32)
        alone = plain_alone(tmp_path, each, modality, made.path, calm)
        assert np.abs(among - alone).max() < 2e-3  # float16, and sums in another order


def plain_alone(folder, encoder, modality, path, rows):
    """The plain rows' embeddings where they are a corpus of their own."""
    import pandas as pd

    table = pd.read_csv(folder / "c/train.csv", dtype=str, keep_default_na=False)
    calm = folder / "calm"
    if not calm.exists():
        calm.mkdir()
        (calm / "train").symlink_to(folder / "c/train")
    table.iloc[rows].to_csv(calm / "train.csv", index=False)
    (made,) = extract(calm, features=folder / "g", modality=modality, encoder=encoder,
                      overwrite=True)  # fmt: skip
    with FeatureFile(made.path) as file:
        return file.x().astype(np.float32)


def test_values_past_float16_fail_with_the_way_out(tmp_path):
    """A real network whose weights were scaled, as badly trained ones are."""
    folder = tiny_bert(tmp_path / "loud-bert")
    weights = load_file(folder / "model.safetensors")
    for name in weights:
        if name.endswith("layer.1.output.LayerNorm.weight"):
            weights[name] = weights[name] * 1e6
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    rows = [{"dialogue": 0, "sequence": i, "x_text": "great " * (i + 1)} for i in range(4)]
    write_rows(tmp_path / "c/train.csv", rows)
    what = {"features": tmp_path / "f", "modality": "text", "encoder": str(folder)}
    (made,) = extract(tmp_path / "c", **what)
    assert made.counts["failed"] == 4
    assert all("overflows float16; --dtype float32" in reason for reason in made.failures)
    (made,) = extract(tmp_path / "c", **what, dtype="float32", name="wide")
    assert made.counts["ok"] == 4
