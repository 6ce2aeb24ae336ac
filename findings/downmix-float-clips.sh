#!/usr/bin/env bash
# FFmpeg's resampler (through PyAV 18.1.0, libswresample 6.3, numpy 2.4.6) mixes channels down to
# mono at another level when it converts to float than when it converts to integers.
#
# To 16- or 32-bit integers the weights of the channels are divided by their sum. To float they are
# not: 0.7071 for left and right, 1 for the centre, 0.5 for each surround; 3.41 for 5.1. So two equal
# stereo channels at 0.9 come out at 1.27, and 5.1 with one voice at 0.7 in left, right and centre at
# 1.69. Whoever then limits them to [-1, 1], or writes them as PCM, clips ordinary sound without a
# word, although the same call with "s16" doesn't. The option rematrix_maxval=1 makes float the same.
#
# Seen:
#   stereo at 0.9                  flt 1.2728  s16 0.9000  flt with rematrix_maxval=1 0.9000
#   5.1, 0.7 in left, right, centre flt 1.6899  s16 0.4950  flt with rematrix_maxval=1 0.4950
#
# Exits with 1 where this is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import sys

import av
import numpy as np


def peak(channels, layout, form, options=None):
    """Of the mono mix of (C, n) floats, as a share of full scale."""
    frame = av.AudioFrame.from_ndarray(channels.astype(np.float32), "fltp", layout)
    frame.sample_rate = 48_000
    resampler = av.AudioResampler(form, "mono", 48_000, options=options)
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    mixed = np.concatenate([part.to_ndarray()[0] for part in parts]).astype(float)
    return np.abs(mixed).max() / (32768 if form == "s16" else 1)


voice = np.sin(2 * np.pi * 200 * np.arange(4800) / 48_000)
voice /= np.abs(voice).max()
stereo = np.array([0.9 * voice, 0.9 * voice])
film = np.array([0.7 * voice * on for on in (1, 1, 1, 0, 0, 0)])  # FL FR FC LFE BL BR
same = True
for name, sound, layout, wanted in (
    ("stereo at 0.9", stereo, "stereo", (1.2728, 0.9, 0.9)),
    ("5.1, 0.7 in left, right, centre", film, "5.1", (1.6899, 0.495, 0.495)),
):
    found = (
        peak(sound, layout, "flt"),
        peak(sound, layout, "s16"),
        peak(sound, layout, "flt", {"rematrix_maxval": "1"}),
    )
    print(f"{name:31} flt {found[0]:.4f}  s16 {found[1]:.4f}  "
          f"flt with rematrix_maxval=1 {found[2]:.4f}")
    same &= np.allclose(found, wanted, atol=2e-3)
sys.exit(0 if same else 1)
PYTHON
