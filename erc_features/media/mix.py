"""Mixes the channels of a sound down to one without making it louder.

FFmpeg's resampler divides its weights by their sum for integers only. In float, two equal channels
add up to 1.41 times either of them, and those of 5.1 to 3.41 times, most of which is then clipped.
"""

import av
import numpy as np

RATE = 16_000
# libswresample's weight of each channel in mono, which `Mixer` divides by their sum. As there, LFE,
# which holds only bass, and channels that are not named here are left out.
_FRONT, _BACK = 0.5**0.5, 0.5
WEIGHTS = {
    "FC": 1.0, "FL": _FRONT, "FR": _FRONT, "FLC": _FRONT, "FRC": _FRONT, "DL": _FRONT,
    "DR": _FRONT, "TFL": _FRONT, "TFR": _FRONT, "BL": _BACK, "BR": _BACK, "BC": _BACK,
    "SL": _BACK, "SR": _BACK, "AMBI0": 1.0,  # of ambisonics, the omnidirectional channel
}  # fmt: skip
# Plain WAVs and PCM in Matroska do not say what their channels are. Six and eight channels are
# taken for 5.1 and 7.1, in the order that WAV, FFmpeg and Windows agree on. Otherwise all channels
# have equal weights, because FFmpeg takes three for 2.1 and would leave out the third speaker.
_ASSUMED = {6: "5.1", 8: "7.1"}

# The largest value of codecs that do not reach the last 16-bit step below 1.
_FULL_SCALE = {"pcm_u8": 127 / 128, "pcm_mulaw": 32124 / 32768, "pcm_alaw": 32256 / 32768}
_STEP = 1 / 32768


class Mixer:
    """Turns the decoded frames of one sound into 16 kHz mono float32.

    Layout, rate and format may change on the way. Samples are not limited to [-1, 1], which lossy
    codecs and float files can exceed.

    Args:
        codec: its name in FFmpeg, which decides what full scale is.
    """

    def __init__(self, codec: str) -> None:
        self._full = _FULL_SCALE.get(codec, 1.0 - _STEP)
        self._kind: tuple[str, str, int] | None = None
        self._rate = 0
        self._total = 0
        self._at_full_scale = np.zeros(0, np.int64)  # (C,)

    def mix(self, frame: av.AudioFrame) -> list[np.ndarray]:
        """The samples that this frame finishes, in pieces (n,)."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        done = self._begin(frame) if kind != self._kind else []
        self._kind = kind
        for packed in self._pack.resample(frame):
            samples = packed.to_ndarray().reshape(-1, len(self._weights))  # (n, C)
            self._count(samples)
            mono = samples @ self._weights if len(self._weights) > 1 else samples[:, 0]
            one = av.AudioFrame.from_ndarray(mono[None], "flt", "mono")
            one.sample_rate = self._rate
            done += [part.to_ndarray()[0] for part in self._to_rate.resample(one)]
        return done

    def flush(self) -> list[np.ndarray]:
        """What the resampler still holds, after the last frame."""
        if self._kind is None:
            return []
        return [part.to_ndarray()[0] for part in self._to_rate.resample(None)]

    @property
    def clipped(self) -> float:
        """The share of samples at full scale, in the channel that has most of them: 0 to 1.

        A single sample is a peak, not clipping. Channels that are left out, like LFE, do not count.
        """
        most = int(self._at_full_scale.max(initial=0))
        return most / self._total if most > 1 else 0.0

    def _begin(self, frame: av.AudioFrame) -> list[np.ndarray]:
        """Prepare for frames of this kind; returns the samples that the kind before still held."""
        self._weights = weights_of(frame.layout)
        # Packed by FFmpeg: PyAV 18 reads past the planes of a frame that has eight or more.
        self._pack = av.AudioResampler("flt", frame.layout, frame.sample_rate)
        if frame.sample_rate == self._rate:
            return []
        done = self.flush()
        self._rate = frame.sample_rate
        self._to_rate = av.AudioResampler("flt", "mono", RATE)
        return done

    def _count(self, samples: np.ndarray) -> None:
        self._total += len(samples)
        loud = np.abs(samples) >= self._full
        if loud.any():
            counts = (loud & (self._weights > 0)).sum(0)  # (C,)
            self._at_full_scale.resize(max(len(counts), len(self._at_full_scale)), refcheck=False)
            self._at_full_scale[: len(counts)] += counts


def weights_of(layout: av.AudioLayout) -> np.ndarray:
    """The weight of each channel in mono: (C,) float32, of sum 1.

    >>> weights_of(av.AudioLayout("2.1")).tolist()
    [0.5, 0.5, 0.0]
    """
    names = [channel.name for channel in layout.channels]
    if set(names) == {"NONE"} and len(names) in _ASSUMED:
        names = [channel.name for channel in av.AudioLayout(_ASSUMED[len(names)]).channels]
    weights = np.array([WEIGHTS.get(name, 0.0) for name in names])
    if not weights.any():
        weights[:] = 1.0
    return (weights / weights.sum()).astype(np.float32)
