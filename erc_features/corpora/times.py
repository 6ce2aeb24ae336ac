"""Subtitle times and their defects.

Times are never used to cut anything, because clips are already cut: defects are only reported.
"""

import re

from erc_features.corpora.raw import Defect
from erc_features.utterance import Utterance

_TIME = re.compile(r"([0-9]{1,2}):([0-5][0-9]):([0-5][0-9])[,.]([0-9]{3})")
_SHORTEST = 0.1  # seconds; no emotion is heard in less
_LONGEST = 60.0  # seconds; more is a whole scene


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
    """The defects of an utterance's columns `start` and `end`; none without these columns."""
    if not {"start", "end"} <= set(utterance.more):
        return []
    start, end = utterance.more["start"], utterance.more["end"]
    first, last = seconds(start), seconds(end)
    duration = None if first is None or last is None else max(0.0, last - first)
    kind, detail = judge(duration, f"{start} to {end}")
    done = "kept; the clip is used as it is"
    return [Defect(kind, utterance.key, detail, done)] if kind else []


def judge(duration: float | None, times: str) -> tuple[str, str]:
    """The kind and the detail of a duration's defect; ("", "") if it has none.

    Args:
        duration: in seconds; None where `times` cannot be read.
        times: the times as they are written.
    """
    if duration is None:
        return "malformed time", times
    if duration <= 0:
        return "end before start" if duration else "no duration", times
    if duration < _SHORTEST:
        return "too short", f"{duration:.3f} s by its times"
    if duration > _LONGEST:
        return "whole scene", f"{duration:.0f} s by its times"
    return "", ""
