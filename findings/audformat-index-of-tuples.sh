#!/usr/bin/env bash
# `pandas.DataFrame(index=[(file, start, end)])` is no segmented index of audformat, and a CSV of
# such a table of speech features can't be read again.
#
# Versions: pandas 3.1.1, audformat 1.4.3, numpy 2.4.6, Python 3.11.
#
# Several extractors of nkululeko (`audwav2vec2` for one) make for each file
# `pd.DataFrame([features], index=[(file, start, end)])` and put the rows together with `pd.concat`.
# `pd.Index` of a list of tuples is a MultiIndex of three levels; the same list given to `DataFrame`
# or `Series` becomes a plain index whose entries are tuples, and stays so. Nothing warns. In a pickle
# that is hardly seen. In CSV (nkululeko's `store_format = csv`) file, start and end become one cell
# of text without a name, and `audformat.utils.read_csv`, with which nkululeko reads its store,
# refuses the file. With the MultiIndex made first, and its levels named, it is read.
#
# Seen:
#   pd.Index:            MultiIndex
#   DataFrame(index=…):  Index of tuple
#   after concat:        Index of tuple
#   first cell:          ('dia0_utt0.wav', Timedelta('0 days 00:00:00'), Timedelta('0 days 00:00:01.500000'))
#   audformat:           ValueError: Index not conform to audformat.
#   with named levels:   3 rows read
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  pandas==3.1.1 audformat==1.4.3 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import csv

import audformat
import pandas as pd


def segment(number):
    return [(f"dia0_utt{number}.wav", pd.Timedelta(0), pd.Timedelta(1.5, "s"))]


def kind(index):
    inner = "" if isinstance(index, pd.MultiIndex) else f" of {type(index[0]).__name__}"
    return type(index).__name__ + inner


def read(path):
    try:
        return f"{len(audformat.utils.read_csv(path))} rows read"
    except ValueError as error:
        return f"ValueError: {error}"


collected = pd.DataFrame()
for number in range(3):
    one = pd.DataFrame([[number, 2.0]], index=segment(number))
    collected = pd.concat([collected, one])
collected.to_csv("collected.csv")
with open("collected.csv", newline="") as file:
    cell = list(csv.reader(file))[1][0]
segments = [segment(number)[0] for number in range(3)]
named = pd.MultiIndex.from_tuples(segments, names=["file", "start", "end"])
collected.set_index(named).to_csv("named.csv")
seen = {
    "pd.Index": kind(pd.Index(segment(0))),
    "DataFrame(index=…)": kind(one.index),
    "after concat": kind(collected.index),
    "first cell": cell,
    "audformat": read("collected.csv"),
    "with named levels": read("named.csv"),
}
for name, value in seen.items():
    print(f"{name + ':':20} {value}")
assert seen["pd.Index"] == "MultiIndex"
assert seen["DataFrame(index=…)"] == seen["after concat"] == "Index of tuple"
assert cell.startswith("('dia0_utt0.wav', Timedelta(")
assert seen["audformat"] == "ValueError: Index not conform to audformat.", seen["audformat"]
assert seen["with named levels"] == "3 rows read"
PYTHON
