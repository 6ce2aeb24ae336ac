#!/usr/bin/env bash
# PyAV: what a stream says of itself after its container was closed is read from freed memory.
#
# Versions: av 18.1.0, numpy 2.4.6, Python 3.11.
#
# `stream.duration`, `stream.time_base` and others look in FFmpeg's AVStream, which is freed when the
# container is closed, at the end of its `with` block. Reading them afterwards is no error: mostly the
# right number is still there, and now and then it is whatever the program allocated since. We
# compared the sound that was decoded with the declared length after the block, and so, in two of six
# runs of a test, lost the whole of a sound: "cut off: ends at 0.20 s of 72340172838076672.00 s", which
# is 0x0101010101010101. Read such numbers inside the block.
#
# Seen (the share varies from run to run):
#   inside the block: 3200 of 300 times
#   after it:         3200 in fewer than 300, else other numbers
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import wave
from collections import Counter

import av
import numpy as np

with wave.open("one.wav", "wb") as file:
    file.setparams((1, 2, 16_000, 0, "NONE", ""))
    file.writeframes(bytes(6400))
inside, after = Counter(), Counter()
for _ in range(300):
    with av.open("one.wav") as container:
        stream = container.streams.audio[0]
        for _ in container.decode(stream):
            pass
        inside[stream.duration] += 1
    kept = [np.full(size, 1, np.uint8) for size in range(64, 1600, 16) for _ in range(4)]
    after[stream.duration] += 1
    del kept
print(f"inside the block: {inside.most_common(3)}")
print(f"after it:         {after.most_common(3)}")
assert inside == {3200: 300}
assert after != {3200: 300}
PYTHON
