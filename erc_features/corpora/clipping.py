"""Sound that was clipped before it came here: cut off at full scale, which nothing can mend.

Measured before channels are mixed down: the share of samples at full scale, of the channel that
has most of them. Full scale is the largest number of the format: 32767/32768 and beyond for 16 bits
and more, and for lossy codecs, which decode to values beyond 1 too.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from erc_features.corpora.manifest import Corpus
from erc_features.corpora.raw import Defect
from erc_features.errors import MediaError
from erc_features.threads import our_cores
from erc_features.utterance import Modality

KIND = "clipped sound"
# A normalised recording touches full scale with single peaks; clipped speech with 1% and more.
_SHARE = 0.001


def is_clipped(share: float) -> bool:
    """Whether so many samples at full scale are more than peaks.

    >>> is_clipped(0.0005), is_clipped(0.002)
    (False, True)
    """
    return share > _SHARE


def clipped_sound(key: str, share: float) -> Defect:
    """The defect of an utterance. The row is kept, and encoded as it is."""
    return Defect(KIND, key, f"{share:.2%} of its samples are at full scale", "kept as it is")


def find_clipped(
    corpus: Corpus,
    files: Mapping[Path, int],
    progress: Callable[[int, int], None] | None = None,
) -> list[Defect]:
    """The utterances of a corpus whose sound is clipped in the file that they name.

    Every sound is read, a clip's decoded: 0.1 ms for a prepared WAV, 40 ms for a clip of MELD.

    Args:
        files: those that are there, with their bytes; no others are opened.
        progress: called with (files done, files).
    """
    paths = [corpus.media_path(u, Modality.AUDIO) for u in corpus.utterances]
    heard = [path for path in dict.fromkeys(paths) if path is not None and files.get(path)]
    shares: dict[Path | None, float] = {}
    with ThreadPoolExecutor(our_cores(), thread_name_prefix="listen") as threads:
        for path, share in zip(heard, threads.map(_share, heard), strict=True):
            shares[path] = share
            if progress:
                progress(len(shares), len(heard))
    return [
        clipped_sound(u.key, share)
        for u, path in zip(corpus.utterances, paths, strict=True)
        if is_clipped(share := shares.get(path, 0.0))
    ]


def _share(path: Path) -> float:
    from erc_features.media import clipped_share

    try:
        return clipped_share(path)
    except (MediaError, OSError, ValueError):
        return 0.0  # extract says why it can't be read
