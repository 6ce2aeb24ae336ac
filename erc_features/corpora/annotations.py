"""What readers of annotations in CSVs share: one file per split, with labels in a column."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from erc_features.corpora.cells import plain_text, read_table
from erc_features.corpora.raw import RawUtterance
from erc_features.errors import CorpusError, listed
from erc_features.utterance import Split, Utterance

SPLITS = (Split.TRAIN, Split.DEV, Split.TEST)


def labelled_rows(
    path: Path, needed: Sequence[str], labels: Sequence[str], problems: list[str]
) -> Iterator[tuple[int, dict[str, str], str]]:
    """The line, the cells and the label (or "") of each row; what is wrong goes to `problems`."""
    table = read_table(path)
    problems += table.ragged
    if absent := [name for name in needed if name not in table.columns]:
        problems.append(f"{path}:1: has no column {', '.join(absent)}")
        return
    for line, cells in table.rows:
        label = cells["Emotion"].strip().lower()
        if label and label not in labels:
            problems.append(f"{path}:{line}: Emotion {label!r} is not one of {', '.join(labels)}")
        else:
            yield line, cells, label


def raw_utterance(
    key: tuple[Split, int, int],
    speaker: str,
    label: str,
    cells: Mapping[str, str],
    more: Mapping[str, str],
    clip: Path | None = None,
) -> RawUtterance:
    """The utterance of a row, in plain form; `more` maps further columns to their new names."""
    text = cells["Utterance"].strip()
    further = {new: plain_text(cells[old]) for old, new in more.items() if old in cells}
    utterance = Utterance(
        *key, speaker=speaker, x_text=plain_text(text).strip(), label=label, more=further
    )
    return RawUtterance(utterance, clip, text)


def refuse_if_wrong(source: Path, problems: Sequence[str]) -> None:
    """Raise a CorpusError that names every problem, if there are any."""
    if problems:
        raise CorpusError(
            f"{source}: {len(problems)} rows of the annotations are wrong:{listed(problems)}"
        )
