"""What a run predicts: one class, a set of labels, numbers, or a class or a set and numbers.

`--target` names columns of the corpus. `label` is its emotion. Of another column, the cells say
what it is: numbers (`valence`: 3.5) are a regression; names separated by `|` (`joy|surprise`; a
lone `|` is none of them) are a set of labels; other names are classes. Columns of 0 and 1 are
numbers too, unless `--loss bce` is given: then each is a label of a set (as in CMU-MOSEI). An empty
cell is unlabelled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from erc_features.errors import ErcError, choose, listed
from erc_fusion.config.config import DEFAULTS, FuseConfig

if TYPE_CHECKING:
    from erc_fusion.inputs.table import FeatureTable

LABEL = "label"  # the corpus's own classes
SEPARATOR = "|"
CLASS_LOSSES = ("cross-entropy", "focal", "dice")
SET_LOSSES = ("bce",)
NUMBER_LOSSES = ("ccc", "mse")
DEFAULT_LOSS = "cross-entropy"


@dataclass(frozen=True)
class Task:
    """The outputs of a network: C classes or K labels of a set, then T numbers.

    Attributes:
        target: the columns, as they were asked for.
        labels: the C or K names.
        several: whether a row may have several of them, or none.
        numbers: the T columns.
    """

    target: str = LABEL
    labels: tuple[str, ...] = ()
    several: bool = False
    numbers: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        return len(self.labels) + len(self.numbers)

    @property
    def classes(self) -> bool:
        """Whether each row has one of the labels."""
        return bool(self.labels) and not self.several

    @property
    def monitors(self) -> tuple[str, ...]:
        """The scores on dev that can choose an epoch, the usual one first."""
        found: tuple[str, ...] = ("accuracy", "weighted_f1") if self.classes else ()
        if self.labels and self.several:
            found = ("map", "micro_f1", "macro_f1")
        return found + (("ccc",) if self.numbers else ())

    def losses(self, loss: str) -> tuple[str, str]:
        """(loss of the labels, loss of the numbers), of `loss` and defaults; "" without such.

        Raises:
            ErcError: an unknown loss, two of a kind, or one for which there is no target.
        """
        kinds = {"classes": (self.classes, CLASS_LOSSES),
                 "a set of labels": (bool(self.labels) and self.several, SET_LOSSES),
                 "numbers": (bool(self.numbers), NUMBER_LOSSES)}  # fmt: skip
        found = {what: known[0] if there else "" for what, (there, known) in kinds.items()}
        asked = parse_losses(loss)
        for name in asked:
            what = next(what for what, (_, known) in kinds.items() if name in known)
            if kinds[what][0]:
                found[what] = name
            elif loss != DEFAULT_LOSS:
                raise ErcError(f"--loss {name} is for {what}, and --target {self.target} has none.")
        of_labels = found["classes"] or found["a set of labels"]
        return of_labels, found["numbers"]

    def as_dict(self) -> dict[str, Any]:
        """As `inputs.json` keeps it."""
        return {"target": self.target, "labels": list(self.labels), "several": self.several,
                "numbers": list(self.numbers)}  # fmt: skip

    @classmethod
    def of(cls, inputs: dict[str, Any]) -> "Task":
        """That of a run's `inputs.json`; older runs predict their label."""
        kept = inputs.get("task")
        if not kept:
            return cls(labels=tuple(inputs["labels"]))
        return cls(kept["target"], tuple(kept["labels"]), kept["several"], tuple(kept["numbers"]))


def parse_losses(loss: str) -> tuple[str, ...]:
    """`cross-entropy,ccc` as names; raises ErcError for an unknown one, or two of a kind."""
    names = tuple(name.strip() for name in loss.split(",") if name.strip())
    for name in names or ("",):
        choose("loss", name, (*CLASS_LOSSES, *SET_LOSSES, *NUMBER_LOSSES))
    for kind in (CLASS_LOSSES, SET_LOSSES, NUMBER_LOSSES):
        if len(twice := [name for name in names if name in kind]) > 1:
            raise ErcError(f"--loss {loss}: {' and '.join(twice)} are for the same targets.")
    return names


def parse_target(target: str) -> tuple[str, ...]:
    """The columns of `valence,arousal`; raises ErcError where it names none, or one twice."""
    names = tuple(name.strip() for name in target.split(",") if name.strip())
    if not names or len(set(names)) < len(names):
        raise ErcError(f"--target {target!r}: name columns, each once: label, or valence,arousal.")
    return names


def with_target(table: "FeatureTable", target: str, loss: str = DEFAULT_LOSS) -> "FeatureTable":
    """The table with the truth of these columns in place of its labels.

    Raises:
        ErcError: no feature file has such a column, it is empty, cells are not what the others are,
            or there are classes and a set, or two columns of classes.
    """
    names = parse_target(target)
    if names == (LABEL,) and not set(parse_losses(loss)) & set(SET_LOSSES):
        return table
    bce = bool(set(parse_losses(loss)) & set(SET_LOSSES))
    kinds: dict[str, list[str]] = {"numbers": [], "flags": [], "set": [], "classes": []}
    cells = {name: _cells(table, name) for name in names}
    for name in names:
        kinds[_kind(name, cells[name], bce)].append(name)
    of_labels = [*kinds["set"], *kinds["classes"]] + ([", ".join(kinds["flags"])] * bool(
        kinds["flags"]))  # fmt: skip
    if len(of_labels) > 1:
        raise ErcError(
            f"--target {target}: a run predicts the labels of one column, not of "
            f"{' and of '.join(of_labels)}. Leave all but one out; numbers may stand beside it."
        )
    sets: np.ndarray | None = None
    label, labels = np.full(len(table), -1, np.int64), ()
    if kinds["set"]:
        labels, sets = _sets(cells[kinds["set"][0]])
    elif kinds["flags"]:
        labels = tuple(kinds["flags"])
        sets = np.stack([_numbers(table, name, cells[name]) for name in labels], -1)
        if len(part := np.flatnonzero(np.isnan(sets).any(-1) & ~np.isnan(sets).all(-1))):
            raise ErcError(
                f"--target {target}: some rows have some of these columns, and not others:"
                f"{listed(table.key[part], 5)}"
            )
    elif kinds["classes"] == [LABEL]:
        label, labels = table.label, table.labels
    elif kinds["classes"]:
        texts = cells[kinds["classes"][0]]
        labels = tuple(sorted(set(texts.tolist()) - {""}))
        places = {name: place for place, name in enumerate(labels)} | {"": -1}
        label = np.array([places[text] for text in texts], dtype=np.int64)
    numbers = [_numbers(table, name, cells[name]) for name in kinds["numbers"]]
    return replace(
        table, target=",".join(names), labels=labels, label=label, sets=sets,
        number_names=tuple(kinds["numbers"]), numbers=np.stack(numbers, -1) if numbers else None,
    )  # fmt: skip


def settle(config: FuseConfig, task: Task) -> FuseConfig:
    """The settings with a score to choose by that this task has.

    Raises:
        ErcError: a loss or a score that does not fit what is predicted.
    """
    task.losses(config.loss.loss)
    if config.loss.contrastive not in ("none", "auto") and not task.classes:
        raise ErcError(
            f"--contrastive {config.loss.contrastive} pulls rows of a class together, and "
            f"--target {task.target} has no classes. Take --contrastive none, and another head "
            "than triplet."
        )
    if task.losses(config.loss.loss)[1] == "ccc" and config.training.batch_size < 2:
        raise ErcError(
            "--loss ccc compares rows of a batch; --batch-size 1 leaves nothing to learn."
        )
    for name, fits in (("label_smoothing", task.classes), ("class_weights", bool(task.labels))):
        if not fits and task.outputs and getattr(config.loss, name) != DEFAULTS[name]:
            option = name.replace("_", "-")
            what = "no classes" if name == "label_smoothing" else "neither classes nor a set"
            raise ErcError(f"--{option}: --target {task.target} has {what}. Leave it out.")
    if config.monitor in task.monitors or not task.outputs:  # no row has a label: said later
        return config
    if config.monitor != DEFAULTS["monitor"]:
        raise ErcError(
            f"--monitor {config.monitor}: --target {task.target} has no such score; "
            f"{', '.join(task.monitors)} {'works' if len(task.monitors) == 1 else 'work'}."
        )
    return replace(config, monitor=task.monitors[0])


def _cells(table: "FeatureTable", name: str) -> np.ndarray:
    """(N,) object, the texts of a column."""
    if name == LABEL:
        return np.array([*table.labels, ""], dtype=object)[table.label]
    if name not in table.more:
        known = ", ".join((LABEL, *sorted(table.more)))
        raise ErcError(
            f"--target {name}: no feature file has that column; {known} work. If the corpus has "
            "it, run the same `erc extract` again: it adds columns, and encodes nothing."
        )
    found = np.array([str(text).strip() for text in table.more[name]], dtype=object)
    if not (found != "").any():
        raise ErcError(f"--target {name}: that column is empty in every row.")
    return found


def _kind(name: str, cells: np.ndarray, bce: bool) -> str:
    filled = cells[cells != ""].tolist()
    if name != LABEL and any(map(_is_number, filled)):
        return "flags" if bce and {*map(_as_number, filled)} <= {0.0, 1.0} else "numbers"
    return "set" if bce or (name != LABEL and any(SEPARATOR in c for c in filled)) else "classes"


def _numbers(table: "FeatureTable", name: str, cells: np.ndarray) -> np.ndarray:
    """(N,) float64, NaN where unlabelled."""
    wrong = [i for i, cell in enumerate(cells) if cell and not np.isfinite(_as_number(cell))]
    if wrong:
        lines = (f"{table.key[i]}: {cells[i]!r}" for i in wrong)
        raise ErcError(
            f"--target {name}: most of its cells are numbers, and {len(wrong)} are not:"
            f"{listed(lines, 5)}\nLeave a cell empty where it is not known."
        )
    return np.array([_as_number(cell) if cell else np.nan for cell in cells])


def _sets(cells: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """(names, sorted; (N, K) of 0 and 1, NaN where unlabelled)."""
    parts = [[part.strip() for part in cell.split(SEPARATOR) if part.strip()] for cell in cells]
    labels = tuple(sorted({part for own in parts for part in own}))
    places = {label: place for place, label in enumerate(labels)}
    found = np.zeros((len(cells), len(labels)))
    for row, (cell, own) in enumerate(zip(cells, parts, strict=True)):
        found[row, [places[part] for part in own]] = 1
        if not cell:
            found[row] = np.nan
    return labels, found


def _is_number(cell: str) -> bool:
    return not np.isnan(_as_number(cell))


def _as_number(cell: str) -> float:
    """NaN where it is none; Python also reads 1_2 as one, which is a name."""
    try:
        return float("nan" if "_" in cell else cell)
    except ValueError:
        return float("nan")


def set_names(labels: Sequence[str], chosen: np.ndarray) -> np.ndarray:
    """Sets (…, K) bool as the corpus writes them: "joy|surprise", "|" for none: (…,) object."""
    flat = chosen.reshape(-1, len(labels))
    names = np.array(labels, dtype=object)
    found = np.empty(len(flat), dtype=object)
    found[:] = [SEPARATOR.join(names[row]) or SEPARATOR for row in flat]
    return found.reshape(chosen.shape[:-1])


def sets_of(names: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """The inverse of :func:`set_names`: (…,) text to (…, K) bool; raises KeyError for others."""
    places = {label: place for place, label in enumerate(labels)}
    found = np.zeros((names.size, len(labels)), bool)
    for row, text in enumerate(names.ravel()):
        found[row, [places[name] for name in text.split(SEPARATOR) if name]] = True
    return found.reshape(*names.shape, len(labels))
