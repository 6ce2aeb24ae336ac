"""Times in the columns `start` and `end`: how they are written, and their defects.

In raw data, clips are already cut, so times cut nothing and defects are only reported. In a corpus
of recordings, `segments.py` cuts by them.
"""

import re

from erc_features.corpora.raw import Defect
from erc_features.utterance import Utterance

_TIME = re.compile(r"([0-9]{1,2}):([0-5][0-9]):([0-5][0-9])[,.]([0-9]{3})")
# The same with any fraction or none, and as pandas, and so audformat, writes it: "0 days 00:01:02".
_CLOCK = re.compile(
    r"(?:([0-9]{1,3}) days? )?([0-9]{1,3}):([0-5][0-9]):([0-5][0-9](?:[,.][0-9]{1,20})?)"
)
# pandas writes a column whose times are all whole days, such as 0, without hours: "0 days".
_DAYS = re.compile(r"([0-9]{1,3}) days?")
# 0.1 + 0.2 is written as 0.30000000000000004, and a millionth as 1e-06.
_NUMBER = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,2})?")
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


def read_time(cell: str) -> float | None:
    """A time as seconds, from a number of seconds, or hours, minutes and seconds; None where it is
    neither. A time may be negative, which no recording has.

    >>> read_time("12.5"), read_time("0:00:12.5"), read_time("00:20:57,256"), read_time("12:30")
    (12.5, 12.5, 1257.256, None)
    >>> read_time("0 days 00:00:01.5"), read_time("0 days")
    (1.5, 0.0)
    """
    cell = cell.strip()
    if not cell.isascii():
        return None
    sign = -1.0 if cell.startswith("-") else 1.0
    cell = cell.removeprefix("-")
    if _NUMBER.fullmatch(cell):
        return sign * float(cell)
    if match := _CLOCK.fullmatch(cell):
        days, hours, minutes, rest = match.groups()
        whole, _, fraction = rest.replace(",", ".").partition(".")
        clock = ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(whole)
        return sign * float(f"{clock}.{fraction or 0}")  # the nearest float, as for a number
    if match := _DAYS.fullmatch(cell):
        return sign * 86_400.0 * int(match[1])
    return None


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
