"""The networks that `gpu.sh` measures: checkpoints with random weights, in the published sizes.

They are saved as their libraries save them and loaded as any folder is, so nothing is fetched; the
time of a forward pass does not depend on what the weights are. Small ones are for trials.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from media import WORDS

from erc_features.utterance import Modality

_VOCABULARY = 30_522  # BERT's


@dataclass(frozen=True)
class Model:
    """A network to be measured.

    Attributes:
        name: the published model whose size it has.
        needs: modules that it cannot do without.
        make: writes the checkpoint into a folder; with True, a small one of the same kind.
        share: of the rows of its modality that it gets.
        other: made in its place where a module that it needs is missing.
    """

    name: str
    modality: Modality
    needs: tuple[str, ...]
    make: Callable[[Path, bool], Path]
    share: float = 1.0
    other: "Model | None" = None


def make_bert(folder: Path, small: bool) -> Path:
    """BertModel and a WordPiece tokenizer that knows the words of :func:`media.generated`."""
    from tokenizers.implementations import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = [chr(c) for c in range(97, 123)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *map(str.lower, WORDS), *letters,
              *("##" + c for c in letters), "."]  # fmt: skip
    tokens = list(dict.fromkeys(tokens))
    if not small:
        tokens += [f"[unused{i}]" for i in range(_VOCABULARY - len(tokens))]
    words = BertWordPieceTokenizer(vocab={token: i for i, token in enumerate(tokens)})
    PreTrainedTokenizerFast(
        tokenizer_object=words._tokenizer, model_max_length=512,
        pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
    ).save_pretrained(folder)  # fmt: skip
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 64}  # fmt: skip
    return _save(folder, BertModel, BertConfig(vocab_size=len(tokens), **(sizes if small else {})))


def make_open_clip(folder: Path, small: bool) -> Path:
    """A ViT-B-32 of open_clip; of its text tower, which erc drops, there is next to nothing."""
    import open_clip
    import torch
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    from safetensors.torch import save_file

    vision = {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32}
    if small:
        vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    wide = 24 if small else 512
    config = {
        "model_cfg": {"embed_dim": wide, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD,
                           "interpolation": "bicubic", "resize_mode": "shortest"},
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.model.CLIP(wide, vision, text)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def make_clip(folder: Path, small: bool) -> Path:
    """The same tower in the format of transformers."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    sizes = {"hidden_size": 64, "intermediate_size": 128, "projection_dim": 24,
             "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32,
             "patch_size": 8}  # fmt: skip
    config = CLIPVisionConfig(**(sizes if small else {"projection_dim": 512}))
    _save(folder, CLIPVisionModelWithProjection, config)
    side = config.image_size
    (folder / "preprocessor_config.json").write_text(json.dumps({
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side}, "resample": 3, "do_resize": True,
        "do_center_crop": True, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "do_convert_rgb": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }))  # fmt: skip
    return folder


def make_wav2vec2(folder: Path, small: bool) -> Path:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    folder.mkdir(parents=True)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)
    sizes: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
    }  # fmt: skip
    return _save(folder, Wav2Vec2Model, Wav2Vec2Config(**(sizes if small else {})))


def make_whisper(folder: Path, small: bool) -> Path:
    """Of the decoder, which erc drops, there is one layer."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    folder.mkdir(parents=True)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    sizes = {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8,
             "encoder_ffn_dim": 2048, "decoder_attention_heads": 8,
             "decoder_ffn_dim": 512}  # fmt: skip
    if small:
        sizes = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2,
                 "encoder_ffn_dim": 32, "decoder_attention_heads": 2,
                 "decoder_ffn_dim": 32}  # fmt: skip
    config = WhisperConfig(
        **sizes, decoder_layers=1, vocab_size=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1, num_mel_bins=80,
    )  # fmt: skip
    return _save(folder, WhisperModel, config)


def _save(folder: Path, cls: Any, config: Any) -> Path:
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.manual_seed(0)
    cls(config).save_pretrained(folder)
    return folder


_TRANSFORMERS = ("torch", "transformers", "h5py")
MODELS = (
    Model("BERT-base", Modality.TEXT, (*_TRANSFORMERS, "tokenizers"), make_bert),
    Model(
        "ViT-B-32", Modality.VISUAL, (*_TRANSFORMERS, "av", "open_clip", "PIL"), make_open_clip,
        other=Model("CLIP ViT-B/32 of transformers", Modality.VISUAL, (*_TRANSFORMERS, "av", "PIL"),
              make_clip),
    ),
    Model("wav2vec2-base", Modality.AUDIO, (*_TRANSFORMERS, "av"), make_wav2vec2),
    # It reads 30 s whatever the sound, eight times the work.
    Model("Whisper-base", Modality.AUDIO, (*_TRANSFORMERS, "av"), make_whisper, share=1 / 3),
)  # fmt: skip
