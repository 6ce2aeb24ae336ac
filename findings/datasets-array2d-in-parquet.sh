#!/usr/bin/env bash
# `import datasets` changes what pandas reads from a Parquet file.
#
# Versions: datasets 4.4.1, pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6, Python 3.11.
#
# Embeddings (layers x dimensions) in a Hugging Face `Array2D` column are written to Parquet as lists
# of lists, with the name of an Arrow extension type in the field's metadata. Importing `datasets`
# registers that type for the whole process. So the same `pandas.read_parquet` of the same file gives
#  - before the import: a column of dtype object, each cell an object array of shape (3,) that holds
#    arrays of shape (5,); `np.stack` of the column is (6, 3) of dtype object, not (6, 3, 5) floats;
#  - after it: a column of dtype array[float32], each cell a float32 array of shape (3, 5).
# A script that works where `datasets` happens to be imported fails, or stores objects, where it is
# not. Reading the storage of the column in Arrow gives the same numbers either way.
#
# Seen:
#   before: column object, cell object (3,), stacked object (6, 3)
#   after:  column array[float32], cell float32 (3, 5), stacked float32 (6, 3, 5)
#   arrow:  float32 (6, 3, 5), equal to what was written: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  datasets==4.4.1 pandas==3.1.1 pyarrow==26.0.1 numpy==2.4.6
export HF_HOME="$folder/cache" HF_DATASETS_DISABLE_PROGRESS_BARS=1
cd "$folder"

venv/bin/python - <<'PYTHON'
import datasets
import numpy as np

x = np.arange(90, dtype=np.float32).reshape(6, 3, 5)
features = datasets.Features({"hidden": datasets.Array2D((3, 5), "float32")})
datasets.Dataset.from_dict({"hidden": list(x)}, features=features).to_parquet("hidden.parquet")
PYTHON

venv/bin/python - <<'PYTHON'
import numpy as np
import pandas as pd
import pyarrow.parquet as pq


def look(when):
    column = pd.read_parquet("hidden.parquet")["hidden"]
    cell, stacked = column.iloc[0], np.stack(column)
    seen = (str(column.dtype), str(cell.dtype), cell.shape, str(stacked.dtype), stacked.shape)
    print(f"{when:7} column {seen[0]}, cell {seen[1]} {seen[2]}, stacked {seen[3]} {seen[4]}")
    return seen


before = look("before:")
import datasets  # noqa: E402, F401

after = look("after:")
column = pq.read_table("hidden.parquet")["hidden"].combine_chunks()
storage = getattr(column, "storage", column)
x = storage.flatten().flatten().to_numpy().reshape(6, 3, 5)
equal = np.array_equal(x, np.arange(90).reshape(6, 3, 5))
print(f"arrow:  {x.dtype} {x.shape}, equal to what was written: {equal}")
assert before == ("object", "object", (3,), "object", (6, 3)), before
assert after == ("array[float32]", "float32", (3, 5), "float32", (6, 3, 5)), after
assert equal
PYTHON
