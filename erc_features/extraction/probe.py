"""The probe of an encoder: its embedding of a fixed built-in input, compared with an earlier one.

The sha256 of its weights does not cover the libraries that compute with them. Between transformers
4.57.3 and 5.23.0 the last of `hidden_states` of every large wav2vec 2.0 silently became another
tensor: with the same weights, rows differed by 1.14. The price is one more item to encode per file.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, entry_points, version

import numpy as np

from erc_features.encoders.base import Encoder, Settings
from erc_features.errors import EncoderError, listed
from erc_features.extraction.engines.batch import encode_rows
from erc_features.extraction.probe_input import INPUT, KINDS, built_in
from erc_features.extraction.tolerance import compare, in_words, tolerance_of
from erc_features.store import FeatureFile, Probe, Status, read_probe

NOT_RECORDED = (
    "no probe is recorded (an older erc made it), so whether the encoder's libraries still give "
    "the same numbers was not checked"
)
_PACKAGES = (
    "erc", "torch", "transformers", "tokenizers", "open_clip_torch", "timm", "torchvision",
    "torchaudio", "av", "pillow", "scikit-learn", "numpy", "h5py",
)  # fmt: skip


class EncoderProbe:
    """The probe of a loaded `encoder`, computed when it is first needed.

    `unchecked` says why nothing was compared or no probe could be made; otherwise it is empty.
    """

    def __init__(self, encoder: Encoder, settings: Settings) -> None:
        self.encoder, self._settings = encoder, settings
        self._made: Probe | None = None
        self._failure = ""
        self.unchecked = ""

    def make(self) -> Probe | None:
        """The probe; None if the encoder fails on the built-in input, and `unchecked` says why."""
        if self._made is None and not self._failure:
            item = built_in(self.encoder.modality, self._settings)
            x, status, reasons = encode_rows([item], self.encoder, "float32")
            if status[0] == Status.OK:
                self._made = Probe(x[0], INPUT, self.encoder.device)
            else:
                self._failure = reasons[0]
                self.unchecked = f"no probe is kept, {self._what()} cannot be made: {reasons[0]}"
        return self._made

    def must_agree(self, file: FeatureFile) -> None:
        """Compare with the probe of a feature file, if it keeps one; see :meth:`must_be`."""
        self.must_be(
            read_probe(file), file.attributes.get("versions") or {}, str(file.path),
            "make the file anew with `erc extract --overwrite`",
        )  # fmt: skip

    def must_be(
        self, before: Probe | None, versions: Mapping[str, str], what: str, anew: str
    ) -> None:
        """Compare with a probe made `before`, with those versions of libraries.

        Args:
            what: the file or stem that is compared, to begin the message.
            anew: the way out that keeps today's libraries.

        Raises:
            EncoderError: says how the probes differ, which versions differ, and both ways out.
        """
        self.unchecked = ""
        if before is None:
            self.unchecked = NOT_RECORDED
            return
        if before.input != INPUT:
            self.unchecked = (
                f"its probe is of the built-in input {before.input}, and this erc has {INPUT}, so "
                "it was not compared"
            )
            return
        if (how := self._apart(before)) is None:
            return
        changed = [
            (name, then, now or "not installed")
            for name, then in versions.items()
            if (now := _version(name)) != then
        ]
        if changed:
            lines = (f"{name}: {then} then, {now} now" for name, then, now in changed)
            why = f"Versions that changed since:{listed(lines)}"
            back = ", ".join(f"{name} {then}" for name, then, _ in changed)
            again = f"Install what it was made with ({back})"
        else:
            same = ", ".join(f"{name} {number}" for name, number in versions.items())
            why = (
                f"No version differs from those recorded ({same or 'none are'}): it may be the "
                f"device ({before.device} then, {self.encoder.device} now), another kind of "
                "processor, or a library that is not among them."
            )
            again = "Go on where it was made"
        raise EncoderError(
            f"{what}: the encoder {self.encoder.name}, its weights unchanged, gives other numbers "
            f"than it did. Of its probe, {self._what()}, {how}.\n{why}\n{again}, or {anew}."
        )

    def _apart(self, before: Probe) -> str | None:
        """How the probe made before differs from today's; None if it does not."""
        now = self.make()
        if now is None:
            return f"nothing can be compared: {self._failure}"
        if now.x.shape != before.x.shape:
            return f"the shape was {before.x.shape} and is {now.x.shape}"
        if not np.isfinite(before.x).all():
            return "what is stored holds NaN or infinity"
        tolerance = tolerance_of(self._settings.precision, now.device, before.device)
        _, gap = compare(before.x, now.x, tolerance)
        if gap is None:
            return None
        return (
            f"{gap.layers} of {len(now.x)} layers differ ({tolerance.why}), most of all "
            f"{in_words(gap.layer, gap.largest, gap.allowed, gap.cosine)}"
        )

    def _what(self) -> str:
        return f"the embedding of {KINDS[self.encoder.modality]}"


@dataclass(frozen=True)
class Expected:
    """What an encoder must be in every process of an extraction: the revision of its weights, and
    the probe that the driver made with those versions (None if it could not make one)."""

    revision: str
    probe: Probe | None
    versions: Mapping[str, str]

    def check(self, encoder: Encoder, settings: Settings, node: str) -> None:
        """Refuse an encoder that was loaded on another node.

        Raises:
            EncoderError: it has other weights, or gives other numbers than the driver's.
        """
        if encoder.revision != self.revision:
            raise EncoderError(
                f"On node {node} the encoder {encoder.name} has the revision {encoder.revision}; "
                f"here it is {self.revision}. Give every node the same weights."
            )
        if self.probe is not None:
            what = f"On node {node} ('now' below; 'then' is where `erc extract` was started)"
            anew = "give every node the same libraries"
            EncoderProbe(encoder, settings).must_be(self.probe, self.versions, what, anew)


def versions_of(encoder: str) -> dict[str, str]:
    """Versions of Python, of the libraries that encoders use, and of the encoder's plug-in."""
    plugins = [
        point.dist.name for point in entry_points(group="erc.encoders")
        if point.name == encoder and point.dist is not None
    ]  # fmt: skip
    found = {name: _version(name) for name in ("python", *_PACKAGES, *plugins)}
    return {name: number for name, number in found.items() if number is not None}


def _version(name: str) -> str | None:
    if name == "python":
        return platform.python_version()
    try:
        return version(name)
    except PackageNotFoundError:
        return None
