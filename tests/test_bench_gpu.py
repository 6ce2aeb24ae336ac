"""`benchmarks/gpu.sh`: what it says of parts that fail or are not reached, and where it writes."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "benchmarks"))

import bench_gpu  # noqa: E402
import gpu_models  # noqa: E402
import measure  # noqa: E402
import media  # noqa: E402
from gpu_memory import lengthened, short_of_memory  # noqa: E402
from gpu_trial import SMALL, Budget, Line, Part, Report, Sizes, Trial, absent  # noqa: E402

from erc_features.media import duration, read_clip  # noqa: E402

GPU = {"cpu": "EPYC", "cores": 16, "gpu": "NVIDIA H200"}


def make_trial(folder: Path, seconds: float = 60, *, small: bool = True) -> Trial:
    return Trial("cpu", small, SMALL if small else Sizes(), folder, Budget(seconds), 2)


def test_a_part_that_fails_or_lacks_a_module_or_time_stops_no_other(tmp_path, capsys):
    def works(trial):
        yield Line(("a", "1"), {"name": "a"})
        yield "a remark"

    def breaks(trial):
        yield Line(("b", "2"), {"name": "b"})
        raise SystemExit("3 rows failed")

    parts = [
        Part("Lacks", ("x", "y"), ("json", "no_such_module"), 0, works),
        Part("Breaks", ("x", "y"), (), 0, breaks),
        Part("Works", ("x", "y"), (), 10, works),
        Part("Long", ("x", "y"), (), 1e6, works),
    ]
    report, written = Report(parts), []
    report.run(make_trial(tmp_path, small=False), lambda: written.append(report.body()))
    assert report.failed
    assert "Traceback" in capsys.readouterr().err
    lacks, breaks, works, long = report.body().split("### ")[1:]
    assert "Not measured: no no_such_module (No module named" in lacks
    assert "make gpu-wheels" in lacks and "| a | 1 |" not in lacks
    assert "| b | 2 |" in breaks and "**failed**: SystemExit: 3 rows failed." in breaks
    assert works.endswith("| a | 1 |\n\nA remark.\n\n")
    assert long.endswith("Long\n\nNot reached in time.")
    assert json.loads(report.document())["Works"]["lines"] == [{"name": "a"}]
    # What was written in between is true as it stands.
    at = next(text for text in written if "| a | 1 |" in text)
    assert "The rest: not reached in time." in at.split("### ")[3]


def test_the_time_counts_from_when_the_script_began(tmp_path):
    trial = make_trial(tmp_path, small=False)
    trial.budget = Budget(100, began=time.time() - 90)
    assert 5 < trial.budget.left() < 11
    assert trial.has(5) and not trial.has(20)
    assert absent("json") == ""


def test_no_trial_gets_into_the_results(tmp_path, capsys):
    for arguments in (["--device", "cpu"], ["--small"]):
        with pytest.raises(SystemExit):
            bench_gpu.main([*arguments, "--out", str(measure.RESULTS)])
        assert "it does not go into RESULTS.md" in capsys.readouterr().err
    results, parser = tmp_path / "RESULTS.md", bench_gpu.options()
    for name, where, error in (
        ("trial", GPU | {"note": bench_gpu.TRIAL}, "a trial of the script"),
        ("cpu", {"cpu": "EPYC", "cores": 2, "gpu": "none", "torch": "2"}, "it does not go into"),
    ):
        file = tmp_path / f"{name}.md"
        measure.write_section(bench_gpu.SCRIPT, [], where, "figures", file)
        with pytest.raises(SystemExit):
            bench_gpu.merge(file, parser, results)
        assert error in capsys.readouterr().err
    measure.write_section("bench_fuse.py", [], GPU, "other", tmp_path / "other.md")
    with pytest.raises(SystemExit):
        bench_gpu.merge(tmp_path / "other.md", parser, results)
    assert "no section of benchmarks/gpu.sh" in capsys.readouterr().err
    assert not results.exists()


def test_a_section_that_came_back_takes_the_place_of_the_cards_earlier_one(tmp_path):
    results, file = tmp_path / "RESULTS.md", tmp_path / "gpu.md"
    measure.write_section("bench_fuse.py", [], GPU, "other", results)
    for body in ("### First\n\nold", "### First\n\nnew"):
        measure.write_section(bench_gpu.SCRIPT, [], GPU, body, file)
        bench_gpu.merge(file, bench_gpu.options(), results)
    text = results.read_text()
    assert "\n## NVIDIA H200, 16 cores: `benchmarks/gpu.sh`\n" in text
    assert "other" in text and "new" in text and "old" not in text


@pytest.mark.soak  # it imports transformers
def test_a_batch_out_of_memory_is_halved_and_the_rows_are_equal(tmp_path):
    from erc_features.encoders import load_encoder
    from erc_features.encoders.base import Settings
    from erc_features.extraction.engines.batch import encode_rows

    bert = gpu_models.make_bert(tmp_path / "bert", True)
    encoder = load_encoder(str(bert), gpu_models.Modality.TEXT, Settings(device="cpu"))
    texts = [u.x_text for u in lengthened(6, 5)]
    assert {len(text.split()) for text in texts} == {5, 6}
    expected, _, _ = encode_rows(texts, encoder, "float32")
    with short_of_memory(False, None, 0.5, 2) as short:
        found, status, reasons = encode_rows(texts, encoder, "float32")
    assert short.times == 3  # 6 rows, 3 and 3; then 1, and 2
    assert set(reasons) == {""} and set(status.tolist()) == {1}
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert encode_rows(texts, encoder, "float32")[0].tolist() == expected.tolist()


def test_clips_have_pictures_and_sound(tmp_path):
    corpus = media.make_clips(tmp_path / "clips", media.generated(18), 0.5, (160, 90))
    path = tmp_path / "clips" / corpus.utterances[17].x_visual
    assert path.samefile(tmp_path / "clips" / corpus.utterances[1].x_audio)
    clip = read_clip(path, frames=3)
    assert [frame.shape for frame in clip.frames] == [(240, 426, 3)] * 3
    assert (clip.frames[0] != clip.frames[-1]).any()
    assert 0.4 < duration(path) < 0.7 and np.abs(clip.audio).max() > 0.01


@pytest.mark.soak
def test_all_of_it_on_the_cpu_with_small_sizes(tmp_path):
    command = ["bash", "benchmarks/gpu.sh", "--device", "cpu", "--small", "--seconds", "3000",
               "--out", str(tmp_path / "new" / "gpu.md")]  # fmt: skip
    before = measure.RESULTS.read_bytes()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert measure.RESULTS.read_bytes() == before
    text = (tmp_path / "new" / "gpu.md").read_text()
    assert "not reached" not in text.lower() and "failed**" not in text
    assert bench_gpu.TRIAL in text and ", gpu none," in text
    found = json.loads((tmp_path / "new" / "gpu.json").read_text())["parts"]
    assert len(found) == 8
    for model in gpu_models.MODELS:
        lines = found[f"`erc extract`, {model.name}"]["lines"]
        assert [line["precision"] for line in lines] == ["fp32", "bf16", "fp16"]
        assert all(line["of_bound"] > 0 and line["minutes"] > 0 for line in lines)
        assert lines[0]["alone"] <= 1e-5
    assert len(found["`erc fuse`, ten seeds at once"]["lines"]) == 3
    memory = found["Out of memory on purpose"]["lines"]
    assert all(line["times"] and not line["failed"] for line in memory)
    assert memory[0]["difference"] <= 1e-5
