#!/usr/bin/env bash
# open_clip keeps what weights need with their tag: an architecture alone has CLIP's preprocessing and
# GELU, whatever weights it was made for.
#
# Versions: open_clip_torch 3.3.0, timm 1.0.31, torch 2.11.0, torchvision 0.26.0. No weights are fetched.
# Behaviour: create_model_and_transforms(ARCHITECTURE, pretrained=FILE) builds the preprocessing of an
#   architecture without a tag, silently: for ViT-B-16-SigLIP shortest side, centre crop and mean .48,
#   where its one tag, webli, says squash and .5; and ViT-B-16 with GELU, where the tag openai says
#   QuickGELU. For ViT-B-16 with another tag GELU is right, so the file alone can't tell.
# Why it surprises: the architecture's name says SigLIP, weights load without a word, features are
#   merely worse.
# Output seen:
#   ViT-B-16-SigLIP alone: shortest, mean 0.481; with its tag webli: squash, mean 0.500
#   one picture, prepared both ways: largest difference 2.97
#   ViT-B-16 from a file: GELU; its tag openai asks for QuickGELU: True; laion2b_s34b_b88k: False
#   one picture's embedding, same weights, both ways: off by 0.1% of its largest (the weights are random)
# It exits 1 if this is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.11.0 torchvision==0.26.0 \
  open_clip_torch==3.3.0 timm==1.0.31
"$work/venv/bin/python" - "$work" <<'PYTHON' 2>"$work/err" || { cat "$work/err" >&2; exit 1; }
import sys

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg
from PIL import Image
from safetensors.torch import save_file

torch.manual_seed(0)
picture = Image.effect_noise((320, 180), 60).convert("RGB")
webli = get_pretrained_cfg("ViT-B-16-SigLIP", "webli")
alone = open_clip.create_model_and_transforms("ViT-B-16-SigLIP", pretrained=None)
tagged = open_clip.create_model_and_transforms(
    "ViT-B-16-SigLIP", pretrained=None, image_mean=webli["mean"], image_std=webli["std"],
    image_interpolation=webli["interpolation"], image_resize_mode=webli["resize_mode"],
)
one, other = alone[0].visual.preprocess_cfg, tagged[0].visual.preprocess_cfg
print(f"ViT-B-16-SigLIP alone: {one['resize_mode']}, mean {one['mean'][0]:.3f}; "
      f"with its tag webli: {other['resize_mode']}, mean {other['mean'][0]:.3f}")
apart = float((alone[2](picture) - tagged[2](picture)).abs().max())
print(f"one picture, prepared both ways: largest difference {apart:.2f}")
assert (one["resize_mode"], other["resize_mode"]) == ("shortest", "squash") and apart > 0.5
del alone, tagged

# Weights that stand for OpenAI's, in a file: which activation they get.
made, _, transform = open_clip.create_model_and_transforms("ViT-B-16", pretrained=None,
                                                           force_quick_gelu=True)
for name, parameter in made.visual.named_parameters():
    if name.endswith("c_fc.weight"):  # a new model's activations are too small to tell
        parameter.data *= 20
save_file(made.state_dict(), f"{sys.argv[1]}/openai.safetensors")
loaded, _, _ = open_clip.create_model_and_transforms(
    "ViT-B-16", pretrained=f"{sys.argv[1]}/openai.safetensors"
)
kinds = {type(m).__name__ for m in loaded.visual.modules() if "GELU" in type(m).__name__}
asks = {tag: bool(get_pretrained_cfg("ViT-B-16", tag).get("quick_gelu"))
        for tag in ("openai", "laion2b_s34b_b88k")}
print(f"ViT-B-16 from a file: {', '.join(kinds)}; its tag openai asks for QuickGELU: "
      f"{asks['openai']}; laion2b_s34b_b88k: {asks['laion2b_s34b_b88k']}")
with torch.no_grad():
    pixels = transform(picture)[None]
    one, other = (net.eval().encode_image(pixels) for net in (made, loaded))
apart = float((one - other).abs().max() / one.abs().max())
print(f"one picture's embedding, same weights, both ways: off by {100 * apart:.1f}% of its largest")
assert kinds == {"GELU"} and asks["openai"] and not asks["laion2b_s34b_b88k"] and apart > 1e-4
PYTHON
