#!/usr/bin/env bash
# How pandas writes a column of times to CSV depends on the other rows of the column.
#
# Versions: pandas 3.1.1, numpy 2.4.6, Python 3.11.
#
# A table of segments has the times `start` and `end`. Where one segment does not begin at 0, pandas
# writes every start with hours, minutes and seconds: "0 days 00:00:00.000000". Where all begin at 0,
# as in every table of whole files with ends (nkululeko's, audformat's), it writes "0 days". A reader
# that was only tried on the first kind (a regular expression, `datetime.strptime`) fails on the
# second, in all rows at once. pandas.to_timedelta reads both. A time that is not given is "".
#
# Seen:
#   one later than 0: 0 days 00:00:00.000000 | 0 days 00:00:01.500000
#   all at 0:         0 days | 0 days
#   not given:        (nothing)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pandas==3.1.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import pandas as pd


def written(*times):
    table = pd.DataFrame({"start": pd.to_timedelta(list(times))})
    return [line.strip('"') for line in table.to_csv(index=False).splitlines()[1:]]


seen = {
    "one later than 0": written("0s", "1.5s"),
    "all at 0": written("0s", "0s"),
    "not given": written("1.5s", None)[1:],
}
for name, cells in seen.items():
    print(f"{name + ':':17} {' | '.join(cell or '(nothing)' for cell in cells)}")
assert seen["one later than 0"] == ["0 days 00:00:00.000000", "0 days 00:00:01.500000"]
assert seen["all at 0"] == ["0 days", "0 days"]
assert seen["not given"] == [""]
assert pd.to_timedelta("0 days") == pd.Timedelta(0)
PYTHON
