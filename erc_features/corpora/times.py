"""Subtitle times, and what is odd about them.

Times are never used to cut anything: clips are cut already. So defects are told, not mended.
"""

import re

from erc_features.corpora.raw import Defect
from erc_features.utterance import Utterance

_TIME = re.compile(r"([0-9]{1,2}):([0-5][0-9]):([0-5][0-9])[,.]([0-9]{3})")
_SHORTEST = 0.1  # seconds: no emotion is heard in less
_LONGEST = 60.0  # seconds: a whole scene


def seconds(time: str) -> float | None:
    """A subtitle time as seconds; None where it is not one.

    >>> seconds("00:20:57,256"), seconds("0:12:32,632"), seconds("later")
    (1257.256, 752.632, None)
    """
    match = _TIME.fullmatch(time.strip())
    if match is None:
        return None
    hours, minutes, whole, thousandths = map(int, match.groups())
    return hours * 3600 + minutes * 60 + whole + thousandths / 1000


def time_defects(utterance: Utterance) -> list[Defect]:
    """What is odd about the columns `start` and `end` of an utterance; nothing without them."""
    if not {"start", "end"} <= set(utterance.more):
        return []
    start, end = utterance.more["start"], utterance.more["end"]
    first, last = seconds(start), seconds(end)
    kept = "kept; the clip is used as it is"
    if first is None or last is None:
        return [Defect("malformed time", utterance.key, f"{start} to {end}", kept)]
    if last <= first:
        return [Defect("no duration", utterance.key, f"{start} to {end}", kept)]
    if last - first < _SHORTEST:
        return [Defect("too short", utterance.key, f"{last - first:.3f} s by its times", kept)]
    if last - first > _LONGEST:
        return [Defect("whole scene", utterance.key, f"{last - first:.0f} s by its times", kept)]
    return []
