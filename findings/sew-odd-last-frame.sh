#!/usr/bin/env bash
# SEW and SEW-D of transformers end in a frame of zeros for half of all sounds.
#
# Versions: transformers 5.23.0, torch 2.11.0, Python 3.11.
# Behaviour: SEW (Wu et al. 2022) squeezes its frames by two, runs the transformer on pairs and doubles the
# frames again. Where the number of frames is odd, the one that is left over gets no partner: the last frame of
# `last_hidden_state` is exactly zero, without a warning. A mean over the frames of such a sound is smaller than
# of the same sound with one frame less, and a max never falls below zero; the other hidden states have half as
# many frames, so a mean over all layers mixes two lengths. A sound of 13 frames (4,240 samples) shows it, one of
# 14 does not.
# Seen: "13 frames: norms of the last two 0.10, 0.00; inner layers have 6" and "14 frames: norms of the last two
# 0.13, 0.16; inner layers have 7" (random weights).
# Exit code: 0 while it is so; 1 once the last frame is not zero any more, or the even one is.
set -eu
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3.11 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check "transformers==5.23.0" "torch==2.11.0" "numpy<3"
"$work/env/bin/python" - <<'PY'
import sys
import torch
import transformers

torch.manual_seed(0)
config = transformers.SEWConfig(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
    conv_dim=(8,) * 7, conv_stride=(5, 2, 2, 2, 2, 2, 2), conv_kernel=(10, 3, 3, 3, 3, 2, 2),
    num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, squeeze_factor=2,
)
model = transformers.SEWModel(config).eval()
zero = {}
for samples in (4_240, 4_560):
    with torch.no_grad():
        found = model(torch.randn(1, samples), output_hidden_states=True)
    frames = found.last_hidden_state[0]
    norms = [frames[i].norm().item() for i in (-2, -1)]
    print(f"{len(frames)} frames: norms of the last two {norms[0]:.2f}, {norms[1]:.2f}; "
          f"inner layers have {found.hidden_states[0].shape[1]}")
    zero[len(frames)] = norms[1] == 0
sys.exit(zero != {13: True, 14: False})
PY
