"""What another corpus calls the labels that a run predicts."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from erc_features.errors import ErcError, choose
from erc_fusion.inputs.table import FeatureTable
from erc_fusion.inputs.targets import Task


def in_terms_of(
    task: Task, found: FeatureTable, mapped: Mapping[str, str]
) -> tuple[FeatureTable, dict[str, int]]:
    """(the table with its labels as the task calls them, the rows of each label that it has not).

    Rows of a class that the task does not have become unlabelled; of sets, such labels are left
    out of the set.

    Args:
        task: what a run predicts.
        found: the other corpus, with the target of that name.
        mapped: the other corpus's label -> the task's; labels of the same name are the same.

    Raises:
        ErcError: a label that is mapped is not there, or the target is of another kind.
    """
    if found.task.several != task.several or found.number_names != task.numbers:
        raise ErcError(
            f"--target {task.target}: in {found.corpus} these columns are of another kind than in "
            "training."
        )
    for theirs, ours in mapped.items():
        choose(f"label of {found.corpus}", theirs, found.labels)
        choose("label of the run", ours, task.labels)
    names = [mapped.get(name, name) for name in found.labels]
    left_out = {}
    if found.sets is not None:
        sets = np.zeros((len(found), len(task.labels)))
        for k, name in enumerate(names):
            if name in task.labels:
                place = task.labels.index(name)
                sets[:, place] = np.maximum(sets[:, place], np.nan_to_num(found.sets[:, k]))
            else:
                left_out[found.labels[k]] = int((found.sets[:, k] > 0).sum())
        sets[np.isnan(found.sets).any(-1)] = np.nan
        return replace(found, labels=task.labels, sets=sets), left_out
    places = [task.labels.index(name) if name in task.labels else -1 for name in names]
    left_out = {
        found.labels[c]: int((found.label == c).sum())
        for c, place in enumerate(places)
        if place < 0 and (found.label == c).any()
    }
    label = np.array([*places, -1], dtype=np.int64)[found.label]
    return replace(found, labels=task.labels, label=label), left_out
