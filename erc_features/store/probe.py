"""The probe that a feature file keeps: its encoder's embedding of a built-in input.

A hash of weights does not cover the library that computes with them; the probe does.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from erc_features.store.file import FeatureFile

INPUT, DEVICE = "probe_input", "probe_device"  # attributes of the root group


@dataclass(frozen=True)
class Probe:
    """The embedding of a built-in input.

    Attributes:
        x: (L, D) float32, as the encoder gave it.
        input: the number of the built-in input; probes of different inputs cannot be compared.
        device: the device that it was computed on.
    """

    x: np.ndarray
    input: int
    device: str

    def as_json(self) -> dict[str, Any]:
        """The form in which a run keeps it, exact to the last bit."""
        packed = b64encode(self.x.astype("<f4").tobytes()).decode()
        return {"input": self.input, "device": self.device, "shape": list(self.x.shape),
                "float32": packed}  # fmt: skip

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Probe":
        """Read what :meth:`as_json` made; ValueError if it is damaged."""
        try:
            x = np.frombuffer(b64decode(found["float32"], validate=True), "<f4")
            layers, dim = found["shape"]
            return cls(x.reshape(layers, dim), int(found["input"]), str(found["device"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no probe: {error!r}") from error


class ProbeMaker(Protocol):
    """What makes the probe of a new file, and compares the probe of a file that is resumed."""

    def make(self) -> Probe | None:
        """The probe; None if the encoder cannot encode the built-in input."""
        ...

    def must_agree(self, file: "FeatureFile") -> None:
        """Raise an ErcError if the encoder gives other numbers than the file's probe."""
        ...


def read_probe(file: "FeatureFile") -> Probe | None:
    """The probe that the file keeps; None if it has none."""
    if (x := file.probe) is None:
        return None
    about = file.attributes
    return Probe(x, int(about.get(INPUT, 0)), str(about.get(DEVICE, "")))
