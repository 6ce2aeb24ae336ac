"""The benchmarks run, and their ratios are those of their lines; speed is not a test's to say."""

import json
import statistics
import sys
from pathlib import Path

import pytest
from checkpoints import tiny_bert, tiny_clip, tiny_sound

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "benchmarks"))

import bench_extract  # noqa: E402
import bench_startup  # noqa: E402
import measure  # noqa: E402
import media  # noqa: E402
import resident  # noqa: E402

from erc_features.media import duration, read_frames  # noqa: E402
from erc_features.utterance import Modality  # noqa: E402

ENCODERS = {
    "text": tiny_bert,
    "visual": tiny_clip,
    "audio": lambda folder: tiny_sound(folder, "Wav2Vec2"),
}


@pytest.mark.parametrize(
    "modality", ["text", "audio", pytest.param("visual", marks=pytest.mark.soak)]
)
def test_its_ratios_are_those_of_its_lines(modality, tmp_path, capsys):
    encoder = ENCODERS[modality](tmp_path / "tiny")
    bench_extract.main(
        ["--modality", modality, "--encoder", str(encoder), "--device", "cpu", "--rows", "6",
         "--turns", "2", "--precision", "fp32", "--no-peer", "--to", str(tmp_path)]
    )  # fmt: skip
    *printed, last = capsys.readouterr().out.splitlines()
    document = json.loads(last)
    (found,) = document["results"]
    assert (found["modality"], found["encoder"], found["rows"]) == (modality, "tiny", 6)
    for name, line in (("end", "end_to_end"), ("forward", "bare_forward"),
                       ("decode", "bare_decode"), ("loop", "one_by_one")):  # fmt: skip
        assert len(found["turns"][name]) == 2
        assert found[line] == statistics.median(found["turns"][name]) > 0
    assert found["bound"] == min(("forward", "decode"), key=lambda b: found[f"bare_{b}"])
    pairs = zip(found["turns"]["end"], found["turns"][found["bound"]], strict=True)
    assert found["of_bound"] == pytest.approx(statistics.median(e / b for e, b in pairs))
    assert (found["peer"], found["of_peer"]) == (None, None)
    assert found["call"] >= 6 / max(found["turns"]["end"])
    assert any(f"{found['of_bound']:.2f} of {found['bound']}" in line for line in printed)
    assert {"cpu", "cores", "memory_gib", "gpu", "torch", "load"} <= set(document["machine"])
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_each_precision_against_the_peer_in_its_own():
    turns = {"decode": [900.0, 1000.0, 950.0], "peer": [100.0, 125.0, 90.0]}
    turns |= {f"{name} bf16": [rate] * 3
              for name, rate in (("end", 250.0), ("forward", 260.0), ("loop", 40.0))}  # fmt: skip
    found = bench_extract.result("text", "MiniLM", "bf16", 13_708, turns, [60.0])
    assert (found.peer, found.of_peer, found.bound) == (100.0, 2.5, "forward")
    assert "| 2.50 (2.3) |" in bench_extract.table([found])
    # 60 s of which 13,708 / 250 were work.
    assert bench_extract.estimate([found]).endswith("text 1.0; 1.0 minutes.")
    quicker = bench_extract.result("text", "MiniLM", "bf16", 1000, turns, [9.0])  # 5 s of loading
    assert bench_extract.estimate([found, quicker]).endswith("text 1.0; 1.0 minutes.")
    slow = bench_extract.result("audio", "w", "bf16", 1000, turns, [65.0])  # 61 s of loading
    assert bench_extract.estimate([found, slow]).endswith("text 1.0, audio 1.9; 2.9 minutes.")


def test_a_section_takes_the_place_of_its_own_earlier_one(tmp_path):
    path = tmp_path / "RESULTS.md"
    cpu = {"cpu": "EPYC", "cores": 2, "gpu": "none"}
    more = ["--turns", "5"]
    for where, arguments, body in (
        (cpu, ["--write"], "first"), (cpu, more, "second"), (cpu | {"gpu": "H200"}, [], "third"),
        (cpu, [], "fourth"),
    ):  # fmt: skip
        measure.write_section("bench.py", arguments, where, body, path)
    text = path.read_text()
    assert text.startswith("# Results\n")
    assert "first" not in text
    assert [text.count(f"\n\n{word}\n") for word in ("fourth", "second", "third")] == [1, 1, 1]
    assert text.index("fourth") < text.index("second") < text.index("third")


def test_media_are_like_those_of_meld(tmp_path):
    rows = media.generated(300)
    words = [len(u.x_text.split()) for u in rows]
    assert 6 < statistics.mean(words) < 10
    assert len({u.key for u in rows}) == 300
    sound = media.make_corpus(tmp_path / "sound", rows, Modality.AUDIO)
    lengths = [duration(path) for u in sound.utterances
               if (path := sound.media_path(u, Modality.AUDIO))]  # fmt: skip
    assert len(lengths) == 300
    assert 3.0 < statistics.mean(lengths) < 4.2
    pictures = media.make_corpus(tmp_path / "pictures", rows[:2], Modality.VISUAL)
    path = pictures.media_path(pictures.utterances[1], Modality.VISUAL)
    assert path is not None
    assert [frame.shape for frame in read_frames(path)] == [(240, 426, 3)] * 5


def test_resident_memory_of_an_extraction(tmp_path, capsys):
    media.make_corpus(tmp_path / "corpus", media.generated(8), Modality.TEXT)
    bert = media.tiny_bert(tmp_path / "bert")
    resident.main(str(tmp_path / "corpus"), str(tmp_path / "features"), "text", str(bert))
    assert 50 < float(capsys.readouterr().out) < 10_000


@pytest.mark.soak
def test_the_peer_and_memory_in_full(tmp_path, capsys, minilm):
    pytest.importorskip("sentence_transformers")
    bench_extract.main(["--modality", "text", "--encoder", str(minilm), "--device", "cpu",
                        "--rows", "40", "--turns", "1", "--to", str(tmp_path)])  # fmt: skip
    both = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    assert [found["precision"] for found in both] == ["fp32", "bf16"]
    assert both[0]["peer"] == both[1]["peer"]
    for found in both:
        assert found["of_peer"] == pytest.approx(found["end_to_end"] / found["peer"])
    bench_extract.main(["--memory", "--rows", "50", "--turns", "1", "--to", str(tmp_path)])
    for found in json.loads(capsys.readouterr().out.splitlines()[-1])["memory"]:
        assert found["growth"] == pytest.approx(found["most"][1] / found["most"][0] - 1)
        assert found["growth"] < 0.2


def test_startup_in_turns_on_nine_rows(tmp_path):
    trees = {"this": ROOT, "other": ROOT}
    said: list[str] = []
    found = bench_startup.measured(trees, tmp_path, 1, ["help", "inspect"], said.append)
    assert set(found) == {"help", "inspect"} and len(said) == 2
    for by_tree in found.values():
        for ((seconds, memory),) in by_tree.values():
            assert 0 < seconds < 60 and 10 < memory < 4000
    assert sorted(path.name for path in (tmp_path / "work-this/features/nine").iterdir()) == [
        "text.baseline.h5"
    ]


def test_startup_ratios_are_those_of_the_medians():
    figures = {"fuse": {"this": [(1.0, 50.0), (3.0, 60.0), (2.0, 70.0)],
                        "abc": [(4.0, 80.0), (5.0, 90.0), (9.0, 80.0)]}}  # fmt: skip
    (row,) = bench_startup.summary(figures, "abc")
    assert (row["this_cpu_s"], row["other_cpu_s"], row["cpu_ratio"]) == (2.0, 5.0, 0.4)
    assert (row["memory_ratio"], row["target_cpu"], row["target_memory"]) == (0.75, 0.6, 0.75)
    assert "| fuse | 5.00 | 2.00 | 0.40 | 0.60 | 80 | 60 | 0.75 | 0.75 |" in bench_startup.table(
        [row]
    )
