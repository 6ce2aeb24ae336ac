"""The errors that a user can cause and correct.

Every message says what is wrong, where, and what would work. `cli.py` is the one
place that catches :class:`ErcError`; it prints the message and exits with 1.
"""

from collections.abc import Iterable


class ErcError(Exception):
    """Something that a user can correct: a path, a choice, a file, a full disk.

    >>> import erc_features
    >>> try:
    ...     erc_features.open("features/meld/audio.hubert.h5")
    ... except erc_features.ErcError as error:
    ...     print(error)
    features/meld/audio.hubert.h5: no such file. `erc extract` writes feature files.
    """


class ErcWarning(UserWarning):
    """Something that costs time or is probably not intended; the work goes on."""


class CorpusError(ErcError):
    """A corpus, or the raw data it is made from, cannot be used as it is."""


class MediaError(ErcError):
    """One clip, sound or picture cannot be decoded. It costs one cell, never the whole run."""


class FeatureFileError(ErcError):
    """A feature file is invalid, truncated, of a newer format, or of another provenance.

    >>> import erc_features
    >>> issubclass(erc_features.FeatureFileError, erc_features.ErcError)
    True
    """


class EncoderError(ErcError):
    """An encoder is unknown, or its weights cannot be loaded."""


class RunError(ErcError):
    """A run directory is unfinished, of a newer format, or not one."""


def choose(kind: str, name: str, choices: Iterable[str]) -> str:
    """Return `name` if it is among `choices`.

    Raises:
        ErcError: names the kind, the wrong value and every choice:
            "Unknown head 'mpl'; choose from attention, linear, mlp, triplet."
    """
    known = sorted(choices)
    if name in known:
        return name
    raise ErcError(f"Unknown {kind} {name!r}; choose from {', '.join(known)}.")


def listed(items: Iterable[object], most: int = 20) -> str:
    """One item a line, indented: at most `most` of them, and then the number of the others."""
    lines = [str(item) for item in items]
    shown = "".join(f"\n  {line}" for line in lines[:most])
    return shown + (f"\n  … and {len(lines) - most} more" if len(lines) > most else "")
