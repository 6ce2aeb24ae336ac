#!/usr/bin/env bash
# The last of `hidden_states` is `last_hidden_state` in one version of transformers and not in another.
#
# Versions: transformers 4.57.3 and 5.23.0, torch 2.13.0, numpy 2.4.6.
# Behaviour: a model that ends in a norm behind its last block gives, as the last of `hidden_states`,
#   the state from before or after that norm, and which one changed between the two versions: for
#   Wav2Vec2 with do_stable_layer_norm (every large one) it was after and is before, for ModernBERT it
#   was before and is after. `last_hidden_state` and all inner states are equal in both versions.
# Why it surprises: a feature that is described as "the last layer" changes with an upgrade that
#   changes no weights; with norms near the identity, as in new models, it is hard to see.
# Output seen (largest difference from last_hidden_state; "same" is last_hidden_state by itself):
#   4.57.3  wav2vec2    hidden_states[-1] off by 0.00
#   4.57.3  modernbert  hidden_states[-1] off by 2.46
#   5.23.0  wav2vec2    hidden_states[-1] off by 1.41
#   5.23.0  modernbert  hidden_states[-1] off by 0.00
#   last_hidden_state and the inner states agree between the versions: True
# It exits 1 if this is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.4.6
for version in 4.57.3 5.23.0; do
  "$work/venv/bin/pip" install -q --disable-pip-version-check --target "$work/$version" \
    --no-deps "transformers==$version"
done
"$work/venv/bin/pip" install -q --disable-pip-version-check --target "$work/4.57.3" --no-deps \
  tokenizers==0.22.1 huggingface-hub==0.36.0
"$work/venv/bin/pip" install -q --disable-pip-version-check --target "$work/5.23.0" --no-deps \
  tokenizers==0.23.3 huggingface-hub==2.4.0
"$work/venv/bin/pip" install -q --disable-pip-version-check safetensors==0.8.0 regex==2026.11.15 \
  pyyaml==6.0.3 requests==2.34.2 tqdm==4.70.1 hf-xet==1.8.0 httpx2==2.16.2 typer==0.29.2 packaging

cat > "$work/show.py" <<'PYTHON'
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
import torch
import transformers
from transformers import AutoModel, ModernBertConfig, Wav2Vec2Config

transformers.logging.set_verbosity_error()
work, version = Path(sys.argv[1]), transformers.__version__
configs = {
    "wav2vec2": Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        conv_dim=(8,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True,
    ),
    "modernbert": ModernBertConfig(
        vocab_size=99, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=32, pad_token_id=0, bos_token_id=1, cls_token_id=1, eos_token_id=2,
        sep_token_id=2,
    ),
}
for name, config in configs.items():
    if not (work / name).exists():  # made once; the other version reads the same weights
        torch.manual_seed(0)
        made = AutoModel.from_config(config)
        for module in made.modules():
            if "norm" in type(module).__name__.lower():
                for parameter in module.parameters(recurse=False):
                    parameter.data = 0.5 + 0.5 * torch.randn(parameter.shape)
        made.save_pretrained(work / name)
    model = AutoModel.from_pretrained(work / name).eval()
    torch.manual_seed(1)
    x = torch.randn(1, 4000) if name == "wav2vec2" else torch.randint(3, 99, (1, 12))
    with torch.no_grad():
        states = model(x, output_hidden_states=True).hidden_states
        last = model(x).last_hidden_state
    print(f"{version}  {name:10}  hidden_states[-1] off by {(states[-1] - last).abs().max():.2f}")
    torch.save([*states[:-1], last], work / f"{name}-{version}.pt")
PYTHON
for version in 4.57.3 5.23.0; do
  PYTHONPATH="$work/$version" "$work/venv/bin/python" "$work/show.py" "$work" 2>"$work/err" \
    | tee -a "$work/seen" || { cat "$work/err" >&2; exit 1; }
done
"$work/venv/bin/python" - "$work" <<'PYTHON' | tee -a "$work/seen"
import sys

import torch

apart = 0.0
for name in ("wav2vec2", "modernbert"):
    old, new = (torch.load(f"{sys.argv[1]}/{name}-{v}.pt") for v in ("4.57.3", "5.23.0"))
    assert len(old) == len(new)
    apart = max(apart, *(float((a - b).abs().max()) for a, b in zip(old, new)))
print("last_hidden_state and the inner states agree between the versions:", apart < 1e-5)
PYTHON
off() { grep -E "^$1 +$2 .* off by 0\.[0-9]*[1-9]|^$1 +$2 .* off by [1-9]" -q "$work/seen"; }
! off 4.57.3 wav2vec2 && off 4.57.3 modernbert && off 5.23.0 wav2vec2 && ! off 5.23.0 modernbert \
  && grep -q "agree between the versions: True" "$work/seen"
