"""A run with its encoders and weights, loaded once and checked as `erc predict` checks them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from erc_features.corpora.faces import FACE_CROP, FRAME_CROP
from erc_features.encoders import load_encoder, resolve
from erc_features.encoders.base import Encoder, Recorded, Settings, settings_of
from erc_features.errors import EncoderError, RunError
from erc_features.extraction.probe import EncoderProbe
from erc_features.preparation.decode import Decode
from erc_features.utterance import Modality
from erc_fusion.inputs.sources import Source
from erc_fusion.inputs.table import layers_of
from erc_fusion.inputs.targets import Task
from erc_fusion.predict import check_of, decode_of, files_of, must_mean_the_same
from erc_fusion.runs.run import Run
from erc_fusion.serving.media import Wanted
from erc_fusion.serving.together import smallest_shared
from erc_fusion.training.checkpoint import FoldedWeights, Weights, load_weights


@dataclass(frozen=True)
class Reader:
    """One of the run's feature files, with the encoder that makes more of its rows.

    Attributes:
        layers: which of the encoder's layers the run was trained on.
        shared: from how many tokens on a batch may be encoded together with those of other
            requests; infinite where it may not. See :func:`.together.smallest_shared`.
    """

    source: Source
    encoder: Encoder
    settings: Settings
    crop: str
    layers: list[int]
    shared: float

    @property
    def stem(self) -> str:
        return self.source.stem

    @property
    def modality(self) -> Modality:
        return Modality(self.source.modality)

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.stem, self.modality, self.settings, self.crop)


@dataclass(frozen=True)
class Loaded:
    """Everything of a run that an answer needs.

    Attributes:
        unchecked: stem -> why its encoder was not compared with the run's.
    """

    run: Run
    labels: tuple[str, ...]
    task: Task
    readers: tuple[Reader, ...]
    weights: Weights | FoldedWeights
    decode: Decode | None
    unchecked: Mapping[str, str]

    @property
    def media(self) -> tuple[Wanted, ...]:
        """What the run needs of media."""
        return tuple(r.wanted for r in self.readers if r.modality != Modality.TEXT)

    @cached_property
    def sha256(self) -> str:
        """Of `model.safetensors`."""
        return hashlib.sha256((self.run.path / "model.safetensors").read_bytes()).hexdigest()


def load_run(run: Run, encoders: Mapping[str, str] | None = None, device: str = "auto") -> Loaded:
    """Load a run; arguments and errors are those of :func:`erc_fusion.predict.predict`."""
    files, where = files_of(run, encoders or {})
    decode = decode_of(files)
    unchecked: dict[str, str] = {}
    readers = []
    for stem, file in files.items():
        config = file["config"]
        crop = config.get("crop", FRAME_CROP)
        if crop == FACE_CROP and (decode is None or decode.faces is None):
            raise RunError(
                f"{stem} was made from faces that erc did not cut out, so it cannot cut out such "
                "faces here: `erc predict --csv` takes a column x_face that names them."
            )
        readers.append(_reader(run, file, where[stem], crop, device, unchecked))
    labels, task = tuple(run.inputs["labels"]), Task.of(run.inputs)
    return Loaded(run, labels, task, tuple(readers), load_weights(run), decode, unchecked)


def _reader(
    run: Run, file: Mapping[str, Any], where: str, crop: str, device: str,
    unchecked: dict[str, str],
) -> Reader:  # fmt: skip
    stem, config, modality = file["stem"], file["config"], Modality(file["modality"])
    settings = resolve(where, settings_of(config, device))
    encoder = load_encoder(where, modality, settings)
    if encoder.revision != file["revision"]:
        raise EncoderError(
            f"--encoder {where}: its weights have revision {encoder.revision[:12]}, and "
            f"{file['revision'][:12]} is needed: not the weights that {stem} was made with. "
            f"--encoder {stem}=PATH says where those are now."
        )
    check_of(run, file, unchecked)(EncoderProbe(encoder, settings))
    recorded = encoder.recorded if isinstance(encoder, Recorded) else {}
    must_mean_the_same(stem, config, recorded)
    shape = (0, encoder.layers, encoder.dim)
    source = Source(
        stem, Path(file.get("path", f"{stem}.h5")), run.corpus, run.inputs["fingerprint"],
        modality, file["encoder"], file["revision"], config, tuple(run.inputs["labels"]), shape,
        config["dtype"], {}, {},
    )  # fmt: skip
    layers = layers_of(source, run.config.get("layers", "all"))
    shared = smallest_shared(encoder, settings, source.dtype)
    return Reader(source, encoder, settings, crop, layers, shared)
