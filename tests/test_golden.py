"""Feature files of format version 1, as they were written once: every later erc reads them.

The numbers stand here, and are not taken from `golden/make_golden.py`. docs/reference/format.md
is the prose.
"""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from erc_features.errors import FeatureFileError
from erc_features.store import (
    FeatureFile,
    Probe,
    Provenance,
    Rows,
    Shape,
    Status,
    open_writer,
    read_probe,
)
from erc_fusion.inputs.sources import describe
from erc_fusion.inputs.table import load_table

GOLDEN = Path(__file__).with_name("golden") / "v1"
PROBED, PROBED_PARTIAL = "visual.tiny.h5", "text.probed.h5.partial"
FINISHED, PARTIAL = "audio.tiny.h5", "text.tiny+bf16.h5.partial"
KEYS = ["train/d-0-seq-0", "train/d-0-seq-1", "train/d-2-seq-0", "dev/d-0-seq-0", "dev/d-0-seq-1",
        "test/d-0-seq-0", "test/d-1-seq-0"]  # fmt: skip
TEXTS = ["Hello there.", "I got the job — really!", "NA", "何？ 😮", "", 'He said, "no".', "Fine."]
COLUMNS = ("key", "split", "dialogue", "sequence", "speaker", "text", "label")
LABELS = ("neutral", "joy", "Überraschung")


def check_columns(file: FeatureFile) -> None:
    assert file.key.tolist() == KEYS
    assert file.split.tolist() == ["train"] * 3 + ["dev"] * 2 + ["test"] * 2
    assert file.dialogue.tolist() == [0, 0, 2, 0, 0, 0, 1]
    assert file.sequence.tolist() == [0, 1, 0, 0, 1, 0, 0]
    assert file.speaker.tolist() == ["Ann", "Ben", "Zoë", "Ann", "", "Ben", "Ann"]
    assert file.text.tolist() == TEXTS
    assert file.label.tolist() == [*LABELS, LABELS[2], "", LABELS[0], LABELS[1]]
    assert file.labels == LABELS


def test_a_finished_file():
    with FeatureFile(GOLDEN / FINISHED) as file:
        check_columns(file)
        assert file.complete
        assert file.shape == (7, 2, 3)
        assert file.dtype == np.float16
        assert file.status.tolist() == [1, 1, 1, 3, 2, 1, 1]
        assert file.reason[3] == "the clip is truncated: “moov” fehlt"
        assert file.reason[[0, 4]].tolist() == ["", "no sound"]
        assert file.x()[0].tolist() == [[-2, -1.875, -1.75], [-1.625, -1.5, -1.375]]
        assert file.x()[6, 1].tolist() == [2.875, 3, 3.125]
        assert not file.x()[3:5].any()
        about = file.attributes
        assert about["corpus"] == "tiny"
        assert about["fingerprint"] == "0f" * 32
        assert (about["modality"], about["encoder"]) == ("audio", "tiny-wav2vec2")
        assert about["revision"] == "ab" * 32
        assert about["config"] == {"layers": "all", "pool": "mean", "precision": "fp32",
                                   "dtype": "float16", "rate": 16_000}  # fmt: skip
        assert about["versions"] == {"erc": "0.1.0"}
        assert about["notes"] == {"sounds cut to 30 s": 1}
        assert about["finished"].startswith("20")


def test_an_unfinished_file_is_read_and_gone_on_with(tmp_path):
    shutil.copy(GOLDEN / PARTIAL, tmp_path)
    with FeatureFile(tmp_path / PARTIAL) as file:
        check_columns(file)
        assert not file.complete
        assert (file.shape, file.dtype) == ((7, 1, 3), np.float32)
        assert file.status.tolist() == [1, 0, 1, 0, 2, 0, 0]
        assert file.reason[4] == "blank text"
        made = file.provenance
        rows = Rows(*(getattr(file, name).tolist() for name in COLUMNS))
    assert made == Provenance(
        "tiny", "0f" * 32, "text", "tiny-bert", "cd" * 32,
        {"layers": "all", "pool": "mean", "precision": "bf16", "dtype": "float32", "history": 2},
    )  # fmt: skip
    path = tmp_path / PARTIAL.removesuffix(".partial")
    with open_writer(path, rows, LABELS, made, Shape(1, 3, "float32"), {}) as writer:
        assert writer is not None
        todo = np.flatnonzero(writer.status == Status.PENDING)
        writer.write(todo, np.ones((4, 1, 3), np.float32), np.ones(4), [""] * 4)
        writer.finish({})
    with FeatureFile(path) as file:
        assert file.complete
        assert file.x()[:3, 0].tolist() == [[-2, -1.875, -1.75], [1, 1, 1], [-0.5, -0.375, -0.25]]


def test_files_of_before_there_were_probes_have_none():
    for name in (FINISHED, PARTIAL):
        with FeatureFile(GOLDEN / name) as file:
            assert file.probe is None
            assert read_probe(file) is None


def test_a_finished_file_with_a_probe():
    with FeatureFile(GOLDEN / PROBED) as file:
        check_columns(file)
        assert file.complete
        assert file.shape == (7, 1, 3)
        assert file.status.tolist() == [1, 1, 2, 1, 1, 1, 1]
        assert file.x()[1, 0].tolist() == [-0.25, 0, 0.25]
        assert file.probe is not None
        assert file.probe.dtype == np.float32
        assert file.probe.tolist() == [[float(np.float32(v)) for v in (0.1, -2.5, 1e-30)]]
        assert file.attributes["format_version"] == 1
        assert (file.attributes["probe_input"], file.attributes["probe_device"]) == (1, "cuda")
    with h5py.File(GOLDEN / PROBED) as file:
        assert file["probe"].shape == (1, 3)
        assert file["probe"].chunks is None
    table = load_table(describe([GOLDEN / PROBED]), "all")
    assert table.present[:, 0].tolist() == [True] * 2 + [False] + [True] * 4


class Given:
    """A probe that agrees with a file's if it is that one."""

    def __init__(self, *layers):
        self.x = np.array(layers, np.float32)

    def make(self):
        return Probe(self.x, 1, "cuda")

    def must_agree(self, file):
        if not np.array_equal(file.probe, self.x):
            raise FeatureFileError(f"other numbers than {file.probe.tolist()}")


def test_an_unfinished_file_with_a_probe_is_gone_on_with_if_that_agrees(tmp_path):
    partial = Path(shutil.copy(GOLDEN / PROBED_PARTIAL, tmp_path))
    path = tmp_path / PROBED_PARTIAL.removesuffix(".partial")
    with FeatureFile(partial) as file:
        check_columns(file)
        assert file.status.tolist() == [0, 1, 0, 0, 0, 1, 0]
        made = file.provenance
        rows = Rows(*(getattr(file, name).tolist() for name in COLUMNS))
    before = partial.read_bytes()
    what = (path, rows, LABELS, made, Shape(2, 3, "float32"), {})
    other = Given([1, 2, 3], [4, 5, 7])
    with pytest.raises(FeatureFileError, match="other numbers"), open_writer(*what, probe=other):
        pass
    assert partial.read_bytes() == before
    with open_writer(*what, probe=Given([1, 2, 3], [4, 5, 6])) as writer:
        assert writer is not None
        todo = np.flatnonzero(writer.status == Status.PENDING)
        writer.write(todo, np.ones((5, 2, 3), np.float32), np.ones(5), [""] * 5)
        writer.finish({})
    with FeatureFile(path) as file:
        assert file.probe is not None
        assert file.probe.tolist() == [[1, 2, 3], [4, 5, 6]]
        assert file.x()[1].tolist() == [[-0.25, 0, 0.25]] * 2


def test_fusion_takes_it():
    table = load_table(describe([GOLDEN / FINISHED]), "all")
    assert table.key.tolist() == KEYS
    assert table.labels == LABELS
    assert table.label.tolist() == [0, 1, 2, 2, -1, 0, 1]
    assert table.present[:, 0].tolist() == [True] * 3 + [False] * 2 + [True] * 2


def layout(path: Path) -> dict[str, object]:
    """Names, types and places of all that is in a file, without the sizes of texts."""
    found: dict[str, object] = {}
    with h5py.File(path) as file:
        for name, dataset in file.items():
            kind = h5py.check_string_dtype(dataset.dtype) or h5py.check_enum_dtype(dataset.dtype)
            found[name] = (str(dataset.dtype), str(kind), dataset.shape, dataset.chunks)
        for name in file.attrs:
            found["@" + name] = str(file.attrs.get_id(name).dtype)
    return found


def test_what_is_written_today_has_the_same_layout(tmp_path):
    """Else it is another format version, or the golden files lack what version 1 has."""
    with FeatureFile(GOLDEN / FINISHED) as file:
        made, x = file.provenance, file.x()
        rows = Rows(*(getattr(file, name).tolist() for name in COLUMNS))
        status, reasons = file.status, file.reason.tolist()
        more = {name: file.attributes[name] for name in ("device", "engine", "workers")}
    path = tmp_path / FINISHED
    record = more | {"versions": json.dumps({"erc": "99"})}
    with open_writer(path, rows, LABELS, made, Shape(2, 3), record) as writer:
        assert writer is not None
        writer.write(np.arange(7), x, status, reasons)
        writer.finish({})
    assert layout(path) == layout(GOLDEN / FINISHED)
    folder = tmp_path / "probed"
    with open_writer(folder / PROBED, rows, LABELS, made, Shape(1, 3), record,
                     probe=Given([1, 2, 3])) as writer:  # fmt: skip
        assert writer is not None
        writer.write(np.arange(7), x[:, :1], status, reasons)
        writer.finish({})
    found, golden = layout(folder / PROBED), layout(GOLDEN / PROBED)
    assert found == golden
    assert golden["probe"] == ("float32", "None", (1, 3), None)
    assert set(golden) - set(layout(GOLDEN / FINISHED)) == {
        "probe", "@probe_input", "@probe_device"}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (lambda file: file.attrs.update(unheard_of=1), None),
        (lambda file: file.create_dataset("frames", data=[1, 2]), None),
        (lambda file: [file.attrs.pop(name) for name in ("engine", "workers")], None),
        (lambda file: file.attrs.pop("revision"), "an attribute of the feature file is absent"),
        (lambda file: file.attrs.update(format_version=2), "is of format version 2; this erc rea"),
        (lambda file: file.attrs.update(format="other"), "not a feature file"),
        (lambda file: file.attrs.pop("format"), "not a feature file"),
        (lambda file: file.pop("status"), "it has no status"),
        (lambda file: file.create_dataset("probe", data=np.ones((2, 3), "f4")), None),
        (lambda file: file.create_dataset("probe", data=np.ones((2, 3))), "its probe is of type"),
        (
            lambda file: file.create_dataset("probe", data=np.ones((1, 3), "f4")),
            r"its probe \(1, 3",
        ),
        (lambda file: file.update(probe=h5py.ExternalLink("x.h5", "x")), "its probe is a link"),
    ],
)
def test_what_a_reader_may_ignore_and_must_refuse(tmp_path, change, refused):
    path = Path(shutil.copy(GOLDEN / FINISHED, tmp_path))
    with h5py.File(path, "r+") as file:
        change(file)
    if refused is None:
        with FeatureFile(path) as file:
            check_columns(file)
    else:
        with pytest.raises(FeatureFileError, match=refused):
            FeatureFile(path)
