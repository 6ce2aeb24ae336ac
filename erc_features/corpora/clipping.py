"""Sound that was clipped in its source: cut off at full scale, which cannot be repaired.

It is measured before channels are mixed down, as the share of samples at full scale in the channel
that has most of them. Full scale is the largest number of the format: 32767/32768 and above for 16
bits and more, and for lossy codecs, which also decode to values above 1.
"""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from posixpath import normpath

from erc_features.corpora.manifest import Corpus
from erc_features.corpora.raw import Defect
from erc_features.errors import MediaError
from erc_features.threads import our_cores
from erc_features.utterance import Modality

KIND = "clipped sound"
# In a normalised recording only single peaks reach full scale; in clipped speech 1% and more do.
_SHARE = 0.001


def clipped_sound(key: str, share: float) -> list[Defect]:
    """A defect where the share of samples at full scale is more than peaks can explain.

    >>> len(clipped_sound("train/d-0-seq-0", 0.0005)), len(clipped_sound("train/d-0-seq-0", 0.002))
    (0, 1)
    """
    detail = f"{share:.2%} of its samples are at full scale"
    return [Defect(KIND, key, detail, "kept as it is")] if share > _SHARE else []


def find_clipped(
    corpus: Corpus,
    files: Mapping[Path, int],
    cut: Collection[tuple[str, str]] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[Defect]:
    """A defect for each utterance whose sound is clipped in the file that it names.

    Every sound is read and every clip decoded: 0.1 ms for a prepared WAV, 40 ms for MELD's clips.

    Args:
        files: the files that exist, with their bytes; no others are opened.
        cut: key and cell of each utterance that is a part of a recording: one defect a recording.
        progress: called with (files done, files).
    """
    paths = [corpus.media_path(u, Modality.AUDIO) for u in corpus.utterances]
    sounds = [path for path in dict.fromkeys(paths) if path is not None and files.get(path)]
    shares: dict[Path | None, float] = {}
    with ThreadPoolExecutor(our_cores(), thread_name_prefix="listen") as threads:
        for path, share in zip(sounds, threads.map(_share, sounds), strict=True):
            shares[path] = share
            if progress:
                progress(len(shares), len(sounds))
    places: dict[str, float] = {}
    for u, path in zip(corpus.utterances, paths, strict=True):
        cell = normpath(u.cell(Modality.AUDIO)) if path is not None else ""
        places[cell if (u.key, cell) in cut else u.key] = shares.get(path, 0.0)
    found = (clipped_sound(place, share) for place, share in places.items())
    return [defect for defects in found for defect in defects]


def _share(path: Path) -> float:
    from erc_features.media import LONGEST, Sound, Spool, clipped_share, duration

    try:
        if duration(path, longest=float("inf")) > LONGEST:  # a recording: not all in memory
            sound = Sound(path, Spool(keep=False))
            sound.decode()
            return sound.clipped
        return clipped_share(path)
    except (MediaError, OSError, ValueError):
        return 0.0  # `erc extract` says why it cannot be read
