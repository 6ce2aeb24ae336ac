"""What `GET /v1/model` says of a run. Paths of this machine and texts of the corpus stay here."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from erc_fusion.runs.scores import scores_of
from erc_fusion.serving.loaded import Loaded

# Sentences of docs/misuse.md, as plain text; a test compares them.
INTENDED_USE = [
    "It is a tool for research on how emotion is annotated in dialogue, and for comparing methods "
    "honestly; it is good at that.",
    "erc does not measure what somebody feels. It measures which label annotators gave to a scene.",
]
LIMITS = [
    "Most of what a model predicts about rare emotions is wrong: it misses them, and finds them "
    "where they are not.",
    "The report shows how well a model's confidence matches its accuracy on the test split. On "
    "other data it usually does not match.",
    "Encoders were trained on pictures, voices and texts of some people more than of others, and "
    "MELD's speakers are few, and most of them white and American.",
    "Recordings of faces and voices are personal data. Ask the people whom you record for their "
    "consent to this purpose, in words that they understand, and let them withdraw it.",
    "Please do not score job interviews, pupils, call-centre staff, asylum seekers, drivers for an "
    "insurer, or anyone who cannot say no.",
    "Do not base any decision about a person on it. Do not sell it as a detector of lies or of "
    "illness.",
]


def card_of(loaded: Loaded) -> dict[str, Any]:
    """The run's name, labels, figures with intervals, hashes, files, and what it is for."""
    run, metrics = loaded.run, loaded.run.metrics
    figures = {
        split: {"rows": found["labelled"]}
        | {name: _figure(found[name]) for name in scores_of(metrics) if name in found}
        for split in ("dev", "test")
        if (found := metrics.get(split))
    }
    files = {
        reader.stem: {
            "modality": str(reader.modality),
            # The last part: the rest may be a path of this machine.
            "encoder": Path(reader.source.encoder).name
            if Path(reader.source.encoder).is_absolute() else reader.source.encoder,
            "weights": reader.source.revision,
            "layers": len(reader.layers),
            "dimensions": reader.encoder.dim,
            "unchecked": loaded.unchecked.get(reader.stem, ""),
        }
        for reader in loaded.readers
    }  # fmt: skip
    return {
        "name": run.name,
        "corpus": run.corpus,
        "target": run.target,
        "labels": list(loaded.labels),
        "numbers": list(loaded.task.numbers),
        "head": metrics.get("head", ""),
        "seeds": len(metrics.get("seeds", ())),
        "figures": figures,
        "hashes": {
            "model.safetensors": loaded.sha256,
            "corpus": run.inputs["fingerprint"],
        },
        "files": files,
        "erc": version("erc"),
        "intended_use": INTENDED_USE,
        "limits": LIMITS,
    }


def _figure(found: dict[str, Any]) -> dict[str, float]:
    """Mean and deviation over seeds, and the 95% interval."""
    return {name: found[name] for name in ("mean", "std", "low", "high") if name in found}
