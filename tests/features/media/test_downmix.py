"""Sound of any layout keeps its level in mono; what was mixed down by another rule is refused."""

import json
import wave
from pathlib import Path

import av
import h5py
import numpy as np
import pytest
import scipy.io.wavfile
from clips import encode_clip
from corpora import media_corpus, write_rows

from erc_features.corpora.clipping import KIND
from erc_features.doctor.doctor import doctor
from erc_features.errors import CorpusError, ErcError, FeatureFileError
from erc_features.extraction.dry_run import preview
from erc_features.extraction.extract import extract
from erc_features.extraction.items import loader
from erc_features.extraction.job import make_jobs
from erc_features.extraction.verify import verify
from erc_features.media import clipped_share, read_audio, read_clip, write_wav
from erc_features.media.mix import WEIGHTS, weights_of
from erc_features.preparation.decode import Decode
from erc_features.preparation.live_dialogue import make_talk, prepare_talk
from erc_features.preparation.prepare import prepare
from erc_features.utterance import Modality

LAYOUTS = ("mono", "stereo", "2.1", "3.0", "3.0(back)", "4.0", "quad", "quad(side)", "5.0",
           "5.0(side)", "5.1", "5.1(side)", "6.1", "7.0", "7.1", "7.1(wide)")  # fmt: skip
FORMS = {  # codec: the format PyAV writes, how floats become it
    "pcm_s16le": ("s16", np.int16, 2**15), "pcm_s24le": ("s32", np.int32, 2**31),
    "pcm_s32le": ("s32", np.int32, 2**31), "pcm_f32le": ("flt", np.float32, 1),
    "pcm_f64le": ("dbl", np.float64, 1), "pcm_u8": ("u8", np.uint8, 2**7),
    "flac": ("s16", np.int16, 2**15), "libopus": ("flt", np.float32, 1),
    "ac3": ("fltp", np.float32, 1), "aac": ("fltp", np.float32, 1),
}  # fmt: skip


def voice(level, rate=16_000, seconds=1.0):
    """(n,) that peaks at `level`: two partials that come and go."""
    time = np.arange(int(rate * seconds)) / rate
    wanted = np.sin(2 * np.pi * 220 * time) + 0.5 * np.sin(2 * np.pi * 660 * time + 1)
    wanted *= 0.6 + 0.4 * np.sin(2 * np.pi * 3 * time)
    return level * wanted / np.abs(wanted).max()


def encode(path, channels, layout, codec="pcm_s16le", rate=16_000):
    """A real file of (C, n) floats."""
    form, dtype, scale = FORMS[codec]
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        stream.format = form
        if codec in ("aac", "ac3", "libopus"):
            stream.bit_rate = 512_000
        size = {"ac3": 1536, "libopus": 960}.get(codec, 1024)
        for first in range(0, channels.shape[1], size):
            part = channels[:, first : first + size]
            if dtype == np.uint8:
                part = np.clip(np.round(part * scale) + 128, 0, 255)
            elif scale > 1:
                part = np.clip(np.round(part * scale), -scale, scale - 1)
            part = part.astype(dtype)
            if not form.endswith("p"):
                part = part.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), form, layout)
            frame.sample_rate, frame.pts = rate, first
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def swresample(path, form="s16"):
    """What FFmpeg makes of it by itself, 16 kHz mono (n,)."""
    resampler = av.AudioResampler(form, "mono", 16_000)
    with av.open(str(path)) as file:
        parts = [p for frame in file.decode(audio=0) for p in resampler.resample(frame)]
    return np.concatenate([p.to_ndarray()[0] for p in parts + resampler.resample(None)])


def pcm(path):
    with wave.open(str(path)) as file:
        assert file.getparams()[:3] == (1, 2, 16_000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(int)


def channels_of(layout):
    return [channel.name for channel in av.AudioLayout(layout).channels]


@pytest.mark.parametrize("level", [0.2, 0.9])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_channels_are_that_channel(tmp_path, layout, level):
    one = voice(level)
    path = encode(tmp_path / "a.wav", np.tile(one, (len(channels_of(layout)), 1)), layout)
    assert np.abs(read_audio(path) - one).max() < 1e-3


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_any_number_format(tmp_path, codec, rate):
    one = voice(0.9, rate)
    path = encode(tmp_path / "a.wav", np.tile(one, (6, 1)), "5.1", codec, rate)
    found, wanted = read_audio(path), voice(0.9)
    n = min(len(found), len(wanted)) - 20  # the filter rings at both ends
    assert np.abs(found[20:n] - wanted[20:n]).max() < 1e-3


@pytest.mark.parametrize(("name", "codec", "layout"), [
    ("a.wav", "pcm_u8", "stereo"), ("a.flac", "flac", "5.1"), ("a.mka", "libopus", "7.1"),
    ("a.mka", "ac3", "2.1"), ("a.mp4", "aac", "4.0"), ("a.mp4", "pcm_s16le", "7.1"),
])  # fmt: skip
def test_other_codecs_packed_and_planar(tmp_path, name, codec, layout):
    one = voice(0.9, 48_000)
    names = channels_of(layout)
    sound = np.array([np.zeros_like(one) if n == "LFE" else one for n in names])
    found = read_audio(encode(tmp_path / name, sound, layout, codec, 48_000))
    loud = np.sqrt((found[2000:14_000] ** 2).mean() / (voice(0.9)[2000:14_000] ** 2).mean())
    assert abs(20 * np.log10(loud)) < 0.5  # dB; FFmpeg to float gives 3 to 11.9
    assert np.abs(found).max() < 0.97


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if len(channels_of(name)) < 8])
def test_the_weights_are_those_of_the_usual_conversion(layout):
    names = channels_of(layout)
    steps = np.repeat(np.eye(len(names), dtype=np.float32), 64, axis=1) / 8
    frame = av.AudioFrame.from_ndarray(steps, "fltp", layout)
    frame.sample_rate = 16_000
    (mixed,) = av.AudioResampler("s32", "mono", 16_000).resample(frame)
    wanted = mixed.to_ndarray()[0][32::64] / 2**31 * 8
    assert np.abs(weights_of(av.AudioLayout(layout)) - wanted).max() < 1e-6
    assert all(WEIGHTS.get(name, 0) > 0 or name == "LFE" for name in names)


@pytest.mark.parametrize("layout", ["2.1", "5.1", "7.1"])
def test_lfe_stays_out(tmp_path, layout):
    sound = np.array([voice(0.9) * (name == "LFE") for name in channels_of(layout)])
    assert np.abs(read_audio(encode(tmp_path / "a.wav", sound, layout))).max() == 0


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
def test_a_wav_that_does_not_say_what_its_channels_are(tmp_path, count):
    one = voice(0.9)
    for speaking in (None, count - 1):  # all of them; the last alone
        sound = np.array([one * (speaking in (None, i)) for i in range(count)])
        scipy.io.wavfile.write(
            tmp_path / "a.wav", 16_000, np.round(sound.T * 32767).astype(np.int16)
        )
        # six and eight are 5.1 and 7.1; of others every channel counts alike
        weight = {6: 0.5 / 3.4142, 8: 0.5 / 4.4142}.get(count, 1 / count)
        wanted = one if speaking is None else one * weight
        assert np.abs(read_audio(tmp_path / "a.wav") - wanted).max() < 1e-3


def test_past_full_scale_a_float_file_is_clipped_there_and_nowhere_else(tmp_path):
    one = voice(1.6)
    path = encode(tmp_path / "a.wav", np.array([one, 0 * one]), "stereo", "pcm_f32le")
    assert np.abs(read_audio(path) - one / 2).max() < 1e-3  # half of it fits
    path = encode(tmp_path / "b.wav", np.array([one, one]), "stereo", "pcm_f32le")
    assert np.abs(read_audio(path) - np.clip(one, -1, 1)).max() < 1e-3


def test_an_aac_clip_of_5_1_is_prepared_as_the_usual_conversion_gives_it(tmp_path):
    one = voice(0.7, 48_000)
    sound = np.array([one * (name in ("FL", "FR", "FC")) for name in channels_of("5.1")])
    clip = encode(tmp_path / "a.mp4", sound, "5.1", "aac", 48_000)
    made = prepare_talk(make_talk([clip], [], []), tmp_path / "to", (), Decode(), None)
    found, wanted = pcm(made.utterances[0].x_audio), swresample(clip).astype(int)
    assert len(found) == len(wanted)
    assert np.abs(found - wanted).max() <= 1
    assert (np.abs(found) >= 32767).mean() == 0  # 0.138 before
    write_wav(tmp_path / "again.wav", read_audio(Path(made.utterances[0].x_audio)))
    assert np.array_equal(pcm(tmp_path / "again.wav"), found)


def test_the_real_clip_is_prepared_as_the_usual_conversion_gives_it(real_clips, tmp_path):
    clip = real_clips / "dia1_utt0.mp4"
    write_wav(tmp_path / "a.wav", read_clip(clip, frames=0).audio)
    found, wanted = pcm(tmp_path / "a.wav"), swresample(clip).astype(int)
    assert len(found) == len(wanted)
    assert np.abs(found - wanted).max() <= 1


def test_a_layout_and_a_rate_that_change_on_the_way(tmp_path):
    one = voice(0.9)
    parts = []
    for n, (layout, rate) in enumerate([("stereo", 48_000), ("mono", 48_000), ("mono", 32_000)]):
        source = voice(0.9, rate)
        path = tmp_path / f"{n}.ac3"
        encode(path, np.tile(source, (len(channels_of(layout)), 1)), layout, "ac3", rate)
        parts.append(path.read_bytes())
    (tmp_path / "all.ac3").write_bytes(b"".join(parts))
    found = read_audio(tmp_path / "all.ac3")
    assert len(found) / 16_000 == pytest.approx(3.0, abs=0.25)
    for second in (0.1, 1.2, 2.3):
        piece = found[int(second * 16_000) : int((second + 0.6) * 16_000)]
        assert np.sqrt((piece**2).mean()) == pytest.approx(np.sqrt((one**2).mean()), rel=0.25)


def two_channels(root, info=None):
    """A CSV corpus of one stereo WAV at 0.9, and a clip of the same sound."""
    (root / "train").mkdir(parents=True)
    encode(root / "train/d-0-seq-0.wav", np.tile(voice(0.9), (2, 1)), "stereo")
    encode(root / "train/b.mp4", np.tile(voice(0.9, 48_000), (2, 1)), "stereo", "aac", 48_000)
    write_rows(root / "train.csv", [
        {"dialogue": 0, "sequence": n, "x_text": "so", "label": "joy", "x_audio": name}
        for n, name in enumerate(("train/d-0-seq-0.wav", "train/b.mp4"))
    ])  # fmt: skip
    if info is not None:
        (root / "corpus.json").write_text(json.dumps(info))
    return root


def test_what_a_corpus_names_is_mixed_down_when_it_is_read(tmp_path):
    (job,) = make_jobs(two_channels(tmp_path / "c"), modality="audio", encoder="baseline")
    load = loader(job.corpus, Modality.AUDIO, job.settings)
    assert np.abs(load(0) - voice(0.9)).max() < 1e-3
    assert np.abs(load(1)).max() < 0.95


def rewind(path):
    """Make the feature file what it was before the rule had a name."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["config"])
        assert config.pop("downmix") == "normalised"
        file.attrs["config"] = json.dumps(config, sort_keys=True)


def test_features_of_another_rule_are_not_gone_on_with(tmp_path):
    root = two_channels(tmp_path / "c")
    (made,) = extract(root, features=tmp_path, modality="audio", encoder="baseline")
    assert verify(made.path, corpus=root).sound
    rewind(made.path)
    said = (r"audio.baseline.h5 was made by another rule of mixing sound down .*downmix None "
            r"there, 'normalised' now.*`erc extract --corpus .* --modality audio --encoder "
            r"baseline --name baseline --overwrite`")  # fmt: skip
    for retry in (False, True):
        with pytest.raises(FeatureFileError, match=said):
            extract(root, features=tmp_path, modality="audio", encoder="baseline", retry=retry)
    with pytest.raises(FeatureFileError, match=said):
        verify(made.path, corpus=root)
    (seen,) = preview(root, features=tmp_path, modality="audio", encoder="baseline")
    assert seen.differences == ("downmix: None here, 'normalised' now",)
    partial = made.path.with_name("audio.baseline.h5.partial")
    made.path.rename(partial)
    with pytest.raises(FeatureFileError, match=said.replace("h5 was", "h5.partial was")):
        extract(root, features=tmp_path, modality="audio", encoder="baseline")
    (made,) = extract(root, features=tmp_path, modality="audio", encoder="baseline", overwrite=True)
    assert verify(made.path, corpus=root).sound


def test_sound_prepared_by_another_rule_is_refused_and_the_rest_is_not(tmp_path):
    raw = tmp_path / "raw"
    (raw / "train_splits").mkdir(parents=True)
    header = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID"
    (raw / "train_sent_emo.csv").write_text(f"{header}\nso,A,joy,0,0\n")
    encode_clip(raw / "train_splits/dia0_utt0.mp4", fps=5)
    root = tmp_path / "data/tiny"
    prepare(raw, root, decode=Decode(2, 32))
    info = json.loads((root / "corpus.json").read_text())
    assert info["decode"]["downmix"] == "normalised"
    assert info["prepared_from"]["downmix"] == "normalised"
    for settings in (info["decode"], info["prepared_from"]):
        del settings["downmix"]
    (root / "corpus.json").write_text(json.dumps(info))
    before = (root / "train/d-0-seq-0.wav").read_bytes()
    with pytest.raises(CorpusError, match="downmix: None there, 'normalised' now(.|\n)*--force"):
        prepare(raw, root, decode=Decode(2, 32))
    said = f"downmix None there, 'normalised' now.*`erc prepare {raw} --to {root} --force`"
    for modality in ("audio", None):
        with pytest.raises(CorpusError, match=said):
            extract(root, features=tmp_path, modality=modality, encoder="baseline")
    for modality in ("text", "visual"):
        extract(root, features=tmp_path, modality=modality, encoder="baseline")
    (found,) = doctor(root).by_kind["sound mixed down by another rule"]
    assert "may be clipped" in found.detail
    # A CSV elsewhere that names its WAV
    row = {"dialogue": 0, "sequence": 0, "x_audio": str(root / "train/d-0-seq-0.wav")}
    other = write_rows(tmp_path / "new.csv", [row])
    with pytest.raises(CorpusError, match=said):
        extract(other, features=tmp_path, modality="audio", encoder="baseline")
    prepare(raw, root, decode=Decode(2, 32), force=True)
    extract(root, features=tmp_path, modality="audio", encoder="baseline")
    assert len((root / "train/d-0-seq-0.wav").read_bytes()) == len(before)
    assert "sound mixed down by another rule" not in doctor(root).by_kind


def test_an_unfinished_preparation_of_another_rule_is_begun_anew_and_says_so(tmp_path):
    raw, root = tmp_path / "raw", tmp_path / "tiny"
    (raw / "train_splits").mkdir(parents=True)
    header = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID"
    (raw / "train_sent_emo.csv").write_text(f"{header}\nso,A,joy,0,0\n")
    encode_clip(raw / "train_splits/dia0_utt0.mp4", fps=5)
    prepare(raw, root, decode=Decode(2, 32))
    origin = json.loads((root / "corpus.json").read_text())["prepared_from"]
    del origin["downmix"]
    done = {"key": "train/d-0-seq-0", "no_picture": "", "no_sound": ""}
    (root / ".prepare.jsonl").write_text(f"{json.dumps(origin)}\n{json.dumps(done)}\n")
    (root / "corpus.json").unlink()
    (root / "train/d-0-seq-0.wav").write_bytes(b"old")
    said = []
    prepare(raw, root, decode=Decode(2, 32), say=said.append)
    assert "downmix: None there, 'normalised' now" in said[0] and "begins anew" in said[0]
    assert len(pcm(root / "train/d-0-seq-0.wav")) > 10_000


def test_settings_a_user_wrote_by_hand_say_nothing_of_sound(tmp_path):
    root = media_corpus(tmp_path / "c")
    (root / "corpus.json").write_text(json.dumps({"decode": {"frames": 2}}))
    extract(root, features=tmp_path, encoder="baseline")
    (root / "corpus.json").write_text(json.dumps({"decode": {"frames": 2, "rate": 16_000}}))
    with pytest.raises(ErcError, match="`erc prepare RAW --to .* --force`"):
        extract(root, features=tmp_path / "other", encoder="baseline")


def at_full_scale(share, n=20_000, value=1.0):
    """(n,) of which that share is at full scale, and no more."""
    samples = voice(0.5, 16_000, n / 16_000)
    count = round(share * n)
    samples[5000 : 5000 + count] = value
    samples[5000 : 5000 + count : 2] = -value
    return samples


@pytest.mark.parametrize("value", [1.0, 1.3])
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_u8", "pcm_f32le"])
def test_the_share_at_full_scale_is_of_the_source(tmp_path, codec, value):
    for share in (0.0005, 0.002):
        one = at_full_scale(share, value=value)
        for layout in ("mono", "stereo", "5.1"):
            sound = np.zeros((len(channels_of(layout)), len(one)))
            sound[0] = one  # mixed down it is under full scale; the source is not
            path = encode(tmp_path / f"{layout}.wav", sound, layout, codec)
            assert clipped_share(path) == pytest.approx(share)
    sound = np.array([0 * one, 0 * one, 0 * one, one, 0 * one, 0 * one])
    assert clipped_share(encode(tmp_path / "lfe.wav", sound, "5.1", codec)) == 0


def test_the_doctor_lists_sound_that_is_clipped_in_the_source(tmp_path):
    sounds = {"under": at_full_scale(0.0005), "over": at_full_scale(0.002), "silent": np.zeros(400),
              "peak": np.eye(1, 400)[0]}  # fmt: skip
    for name, samples in sounds.items():
        write_wav(tmp_path / f"{name}.wav", samples)
        encode(tmp_path / f"{name}2.wav", np.tile(samples, (2, 1)), "stereo", rate=44_100)
    names = [f"{name}{more}.wav" for name in sounds for more in ("", "2")]
    names += ["over.wav", "none.wav", "train.csv"]
    write_rows(tmp_path / "train.csv", [
        {"dialogue": 0, "sequence": n, "x_text": f"so {n}", "x_audio": name}
        for n, name in enumerate(names)
    ])  # fmt: skip
    heard = []
    found = doctor(tmp_path, progress=lambda *at: heard.append(at)).by_kind[KIND]
    assert [(d.where, d.detail, d.done) for d in found] == [
        (f"train/d-0-seq-{n}", "0.20% of its samples are at full scale", "kept as it is")
        for n in (2, 3, 8)
    ]
    assert heard[-1] == (9, 9)


def test_prepare_notes_sound_that_is_clipped_in_the_clip(tmp_path):
    raw, root = tmp_path / "raw", tmp_path / "tiny"
    (raw / "train_splits").mkdir(parents=True)
    lines = ["Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID", "so,A,joy,0,0", "no,A,joy,0,1"]
    (raw / "train_sent_emo.csv").write_text("\n".join(lines) + "\n")
    for n, level in enumerate((0.5, 2.0)):  # mixed down, both are under full scale
        sound = np.array([np.clip(voice(level, 48_000), -1, 1) * (i == 2) for i in range(6)])
        encode(raw / f"train_splits/dia0_utt{n}.mp4", sound, "5.1", "aac", 48_000)
    made = prepare(raw, root, decode=Decode(2, 32))
    (noted,) = (d for d in made.defects if d.kind == KIND)
    assert noted.where == "train/d-0-seq-1" and made.sounds == 2
    assert doctor(root).by_kind[KIND] == (noted,)
    assert (np.abs(pcm(root / "train/d-0-seq-1.wav")) >= 32767).mean() == 0
