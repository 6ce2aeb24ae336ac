"""Sound: any file's as 16 kHz mono, and WAVs as `erc prepare` writes them."""

import wave
from pathlib import Path

import numpy as np

from erc_features.errors import MediaError
from erc_features.media.clip import (
    LONGEST,
    RATE,
    Clip,
    declared_duration,
    first_stream,
    open_clip_file,
    read_clip,
)


def read_audio(path: Path) -> np.ndarray:
    """The sound of any file that PyAV opens, mono at 16 kHz: float32 (n,), n >= 1.

    Raises:
        MediaError: there is no sound; says why.
    """
    pcm = _read_prepared(path)
    return _decode(path).audio if pcm is None else pcm.astype(np.float32) / 32768.0


def clipped_share(path: Path) -> float:
    """The share of samples at full scale in any file's sound: see `Clip.clipped`.

    Raises:
        MediaError: there is no sound; says why.
    """
    pcm = _read_prepared(path)
    if pcm is None:
        return _decode(path).clipped
    most = int((np.abs(pcm.astype(np.int32)) >= 32767).sum())
    return most / len(pcm) if most > 1 else 0.0


def write_wav(path: Path, samples: np.ndarray) -> None:
    """Write samples (n,) in [-1, 1] as 16 kHz mono 16-bit PCM; :func:`read_audio` gives them back.

    In steps of 1/32768, as FFmpeg does it; +1 is one step too many, and becomes 32767.
    """
    pcm = np.clip(np.round(samples * 32768.0), -32768, 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(pcm.tobytes())


def duration(path: Path, kind: str = "", *, longest: float = LONGEST) -> float:
    """The length in seconds that the file declares, without decoding; 0 where it declares none, or
    one above `longest`.

    Args:
        kind: "audio" or "video": the length of its first stream of that kind, if it declares one.
    """
    prepared = open_prepared(path)
    if prepared is not None:
        with prepared:
            return prepared.getnframes() / RATE
    try:
        with open_clip_file(path) as container:
            stream = first_stream(container, kind) if kind else None
            return declared_duration(container, stream, longest)
    except MediaError:
        return 0.0


def _decode(path: Path) -> Clip:
    clip = read_clip(path, frames=0)
    if clip.no_sound:
        raise MediaError(clip.no_sound)
    return clip


def _read_prepared(path: Path) -> np.ndarray | None:
    """The samples (n,) int16 of a WAV as :func:`write_wav` writes it; None for anything else."""
    prepared = open_prepared(path)
    if prepared is None:
        return None
    with prepared:
        data = prepared.readframes(prepared.getnframes())
    return np.frombuffer(data, "<i2") if len(data) == 2 * prepared.getnframes() > 0 else None


def open_prepared(path: Path) -> wave.Wave_read | None:
    """A WAV as :func:`write_wav` writes it, which needs no decoder: 0.1 ms instead of 10.

    None for anything else, and where the file is shorter than its header says.
    """
    try:
        file = wave.open(str(path), "rb")  # noqa: SIM115 - the caller closes it
    except (OSError, EOFError, RuntimeError, ValueError, wave.Error):
        return None  # wave raises all of these on damaged headers
    size = 44 + file.getnframes() * 2
    if file.getparams()[:3] == (1, 2, RATE) and path.stat().st_size >= size:
        return file
    file.close()
    return None
