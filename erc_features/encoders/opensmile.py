"""openSMILE's functionals (Eyben et al. 2010) as an encoder of sound: `opensmile:eGeMAPSv02` (88
numbers, Eyben et al. 2016) and `opensmile:ComParE_2016` (6,373, Schuller et al. 2016).

One row is one sound, whole, mono at 16 kHz: the package itself would take the first channel of
several, and any rate as it comes. L is 1, and there is nothing to pool. openSMILE has a licence of
its own, for research and not for products.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any
from warnings import warn

import numpy as np

from erc_features.encoders.base import Settings
from erc_features.errors import EncoderError, ErcWarning, choose
from erc_features.threads import our_cores
from erc_features.utterance import Modality

PREFIX = "opensmile:"
_RATE = 16_000
_SETS = ("eGeMAPSv02", "ComParE_2016")
_SHORTEST = 0.06  # seconds of the longest frame that its functionals need


@dataclass(frozen=True)
class OpenSmile:
    """A feature set of openSMILE, as an :class:`~erc_features.encoders.base.Encoder`.

    Sounds run in threads, one for each core: openSMILE leaves Python meanwhile.
    """

    name: str
    revision: str
    features: str
    dim: int
    package: str
    modality: Modality = Modality.AUDIO
    layers: int = 1
    device: str = "cpu"
    cap: float = 3600.0  # seconds in a batch
    # Of those that threads have used and given back: to make one takes as long as a sound.
    _idle: list[Any] = field(default_factory=list, compare=False, repr=False)

    @property
    def recorded(self) -> Mapping[str, Any]:
        return {"opensmile": self.package}

    def cost(self, size: float) -> float:
        """Seconds."""
        return max(size, 0.02)

    def encode(self, items: Sequence[np.ndarray]) -> np.ndarray:
        """Sounds (n,) float32 at 16 kHz -> (B, 1, D) float32; NaN where a sound is too short."""
        with ThreadPoolExecutor(max(1, min(our_cores(), len(items)))) as threads:
            return np.stack(list(threads.map(self._functionals, items)))[:, None]

    def why(self, item: np.ndarray) -> str:
        """Why the embedding of a sound is not finite."""
        if len(item) < _SHORTEST * _RATE:
            return f"shorter than 60 ms, which {self.features} needs"
        return f"{self.features} is not defined for this sound"

    def _functionals(self, sound: np.ndarray) -> np.ndarray:
        if len(sound) < _SHORTEST * _RATE or not np.isfinite(sound).all():
            return np.full(self.dim, np.nan, np.float32)
        try:
            smile = self._idle.pop()
        except IndexError:
            smile = _smile(self.features)
        found = smile(sound, _RATE).reshape(-1).astype(np.float32)
        self._idle.append(smile)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_idle"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _idle=[])


def load_opensmile(name: str, modality: Modality, settings: Settings) -> OpenSmile:
    """`opensmile:` and a feature set.

    Raises:
        EncoderError: the package is missing, the set is unknown, or a setting means nothing here.
    """
    features = choose("feature set of openSMILE", name.removeprefix(PREFIX), _SETS)
    if modality != Modality.AUDIO:
        raise EncoderError(f"--encoder {name} takes audio; --modality audio works.")
    if (settings.layers not in ("all", "last") or settings.pool != "mean" or settings.history
            or settings.window != "reference"):  # fmt: skip
        raise EncoderError(
            f"--encoder {name}: it has no layers, nothing to pool, no history and no window; leave "
            "--layers, --pool, --history and --window out."
        )
    if settings.precision not in ("auto", "fp32") or settings.device not in ("auto", "cpu"):
        raise EncoderError(f"--encoder {name}: it runs on the CPU in fp32.")
    try:
        smile = _smile(features)
    except ImportError as error:
        raise EncoderError(
            f"--encoder {name} needs the package opensmile: pip install 'erc[opensmile]'."
        ) from error
    warn(
        "openSMILE is licensed by audEERING for research and not for products; its functionals "
        "are under that licence: https://github.com/audeering/opensmile",
        ErcWarning,
        stacklevel=2,
    )
    package = version("opensmile")
    digest = sha256(f"{features}\t{package}\n".encode())
    for path in sorted(Path(smile.default_config_root).rglob("*.conf*")):
        digest.update(path.read_bytes())
    return OpenSmile(name, digest.hexdigest(), features, smile.num_features, package)


def _smile(features: str) -> Any:
    import opensmile

    return opensmile.Smile(
        feature_set=opensmile.FeatureSet[features],
        feature_level=opensmile.FeatureLevel.Functionals,
        sampling_rate=_RATE,
        num_workers=1,
    )
