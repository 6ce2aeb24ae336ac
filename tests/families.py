"""Tiny checkpoints of every family that the encoders accept, with norms that matter.

A new model's norms are the identity but for their scaling, so that a state before a final norm is
hard to tell from the one after it. Here their weights and biases are random.
"""

from pathlib import Path
from typing import Any

import torch
from checkpoints import byte_tokenizer

_B = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
      "max_position_embeddings": 80}  # fmt: skip
_GPT = {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 80}
_PAD = {**_B, "pad_token_id": 0}
_SMALL = {**_B, "embedding_size": 16}
_KV = {**_B, "num_key_value_heads": 1, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_HEAD = {**_KV, "head_dim": 8}
_DEBERTA = {**_B, "relative_attention": True, "pos_att_type": ["p2c", "c2p"],
            "max_relative_positions": 32}  # fmt: skip
_OPT = {**_B, "ffn_dim": 32, "pad_token_id": 1}
_GROUPS = dict.fromkeys(
    [f"{part}_groups" for part in ("q", "k", "v", "post_attention", "intermediate", "output")], 1
)
TEXT: dict[str, dict[str, Any]] = {
    "Albert": {**_B, "embedding_size": 8}, "BigBird": {**_B, "attention_type": "original_full"},
    "Bert": _B, "BioGpt": _B, "Bloom": {"hidden_size": 16, "n_layer": 3, "n_head": 2},
    "Camembert": _PAD, "CodeGen": {**_GPT, "n_head": 4, "rotary_dim": 4}, "Cohere": _KV,
    "ConvBert": {**_SMALL, "head_ratio": 1, "conv_kernel_size": 3}, "Data2VecText": _PAD,
    "Deberta": _DEBERTA, "DebertaV2": {**_DEBERTA, "position_buckets": 8},
    "DistilBert": {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32,
                   "max_position_embeddings": 80},
    "Electra": _SMALL, "Ernie": _B, "Esm": {**_PAD, "mask_token_id": 4,
                                            "position_embedding_type": "absolute"},
    "Falcon": _B,
    "GPT2": _GPT, "GPTJ": {**_GPT, "rotary_dim": 4}, "GPTNeoX": _B,
    "GPTNeo": {"hidden_size": 16, "num_layers": 2, "num_heads": 2,
               "attention_types": [[["global", "local"], 1]], "max_position_embeddings": 80},
    "Gemma": _HEAD, "Gemma2": {**_HEAD, "num_hidden_layers": 4}, "Gemma3Text": _HEAD,
    "Granite": _KV, "Llama": _KV, "Longformer": {**_PAD, "attention_window": [4, 4, 4]},
    "Luke": {**_PAD, "entity_vocab_size": 9, "entity_emb_size": 8}, "Mamba": {
        "hidden_size": 16, "num_hidden_layers": 3, "state_size": 4},
    "MegatronBert": _B, "Mistral": _HEAD, "Mixtral": {**_KV, "num_local_experts": 2},
    "MobileBert": {**_SMALL, "intra_bottleneck_size": 8, "true_hidden_size": 8,
                   "num_feedforward_networks": 1},
    "ModernBert": {**_B, "global_attn_every_n_layers": 2, "local_attention": 8,
                   "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "eos_token_id": 2,
                   "bos_token_id": 1},
    "MPNet": _PAD, "Mpt": {"d_model": 16, "n_layers": 3, "n_heads": 2, "max_seq_len": 80},
    "Nystromformer": _B, "OPT": {**_OPT, "word_embed_proj_dim": 16},
    "OPT-narrow": {**_OPT, "word_embed_proj_dim": 8, "do_layer_norm_before": False},
    "OPT-post-norm": {**_OPT, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
    "Olmo": _KV, "Olmo2": _KV, "OpenAIGPT": _GPT, "Persimmon": _KV,
    "Phi": {**_B, "partial_rotary_factor": 0.5}, "Phi3": _KV, "Qwen2": _KV, "Qwen3": _HEAD,
    "RemBert": {**_B, "input_embedding_size": 8}, "RoFormer": _SMALL, "Roberta": _PAD,
    "RobertaPreLayerNorm": _PAD, "SmolLM3": _KV, "SqueezeBert": {**_SMALL, **_GROUPS},
    "StableLm": _KV, "Starcoder2": _KV,
    "XGLM": {"d_model": 16, "num_layers": 3, "attention_heads": 2, "ffn_dim": 32,
             "max_position_embeddings": 80},
    "XLMRoberta": _PAD, "XLMRobertaXL": _PAD, "XLNet": {
        "d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 32},
}  # fmt: skip
_SOUND = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
          "intermediate_size": 32, "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16,
          "num_conv_pos_embedding_groups": 2, "initializer_range": 0.1}  # fmt: skip
STABLE = {**_SOUND, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
_SEW = {**_SOUND, "conv_stride": (5, 2, 2, 2, 2, 2, 2), "conv_kernel": (10, 3, 3, 3, 3, 2, 2)}
_BERT_SOUND = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
               "intermediate_size": 32, "conv_depthwise_kernel_size": 7,
               "initializer_range": 0.1}  # fmt: skip
SOUND: dict[str, dict[str, Any]] = {
    f"{kind}-{norm}": {
        "group": _SOUND, "stable": STABLE, "layer": {**STABLE, "do_stable_layer_norm": False},
    }[norm]
    for kind in ("Wav2Vec2", "Hubert", "WavLM", "UniSpeech", "UniSpeechSat")
    for norm in ("group", "stable", "layer")
} | {
    "Wav2Vec2-stable-adapters": {**STABLE, "adapter_attn_dim": 4},
    "Data2VecAudio": {**_SOUND, "num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 5},
    "Wav2Vec2Conformer-group": _SOUND, "Wav2Vec2Conformer-relative": {
        **STABLE, "position_embeddings_type": "relative", "conv_depthwise_kernel_size": 7},
    "Wav2Vec2Conformer-rotary": {
        **STABLE, "position_embeddings_type": "rotary", "conv_depthwise_kernel_size": 7},
    "Wav2Vec2Bert": _BERT_SOUND,
    "Wav2Vec2Bert-relative": {**_BERT_SOUND, "position_embeddings_type": "relative"},
    "SEW": {**_SEW, "squeeze_factor": 2}, "SEWD": {**_SEW, "squeeze_factor": 2},
    "SEW-layer": {**_SEW, "squeeze_factor": 2, "feat_extract_norm": "layer"},
}  # fmt: skip

_SEES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32,
         "intermediate_size": 32, "patch_size": 8, "initializer_range": 0.2}  # fmt: skip
_READS = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 60,
          "intermediate_size": 32, "max_position_embeddings": 8, "bos_token_id": 1,
          "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip
_HALVES = {"vision_config": _SEES, "text_config": _READS}
_STAGES = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
_WINDOWS = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1],
            "num_heads": [1, 2], "window_size": 4}  # fmt: skip
_SQUARE = {"height": 32, "width": 32}
_SHORT = {"size": {"shortest_edge": 36}, "crop_size": _SQUARE}
# The configuration; the processor, and what it is made with beside means and deviations.
PICTURES: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "CLIP": ({**_HALVES, "projection_dim": 12}, "CLIP", {**_SHORT, "resample": 3}),
    "CLIPVision": (_SEES, "CLIP", {"size": 32, "crop_size": 32}),
    "MetaClip2": ({**_HALVES, "projection_dim": 12}, "CLIP", _SHORT),
    "Siglip": (_HALVES, "Siglip", {"size": _SQUARE, "resample": 3}),
    "SiglipVision": (_SEES, "Siglip", {"size": _SQUARE, "resample": 2}),
    "Siglip2": (
        {**_HALVES, "vision_config": {**_SEES, "num_patches": 16}},
        "Siglip2",
        {"patch_size": 8, "max_num_patches": 20},
    ),
    "ViT": (_SEES, "ViT", {"size": _SQUARE}),
    "DeiT": (_SEES, "DeiT", {"size": {"height": 36, "width": 36}, "crop_size": _SQUARE}),
    "Beit": (_SEES, "Beit", {"size": _SQUARE}),
    "Beit-class": ({**_SEES, "use_mean_pooling": False}, "Beit", {"size": _SQUARE}),
    "Dinov2": (_SEES, "Bit", _SHORT),
    "Dinov2WithRegisters": (_SEES, "Bit", _SHORT),
    "DINOv3ViT": ({**_SEES, "num_register_tokens": 2}, "DINOv3ViT", {"size": _SQUARE}),
    "DINOv3ConvNext": ({**_STAGES, "image_size": 32}, "DINOv3ViT", {"size": _SQUARE}),
    "ViTMSN": (_SEES, "ViT", {"size": _SQUARE}),
    "IJepa": (_SEES, "ViT", {"size": _SQUARE}),
    "Swin": (_WINDOWS, "ViT", {"size": _SQUARE}),
    "Swinv2": (_WINDOWS, "ViT", {"size": _SQUARE}),
    "ConvNext": (_STAGES, "ConvNext", {"size": {"shortest_edge": 32}, "crop_pct": 0.9}),
    "ConvNextV2": (_STAGES, "ConvNext", {"size": {"shortest_edge": 32}}),
    "ResNet": ({**_STAGES, "embedding_size": 8}, "ConvNext", {"size": {"shortest_edge": 32}}),
}
_COLOURS = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}


def processor(kind: str, **given: Any) -> Any:
    """An image processor of transformers that calls Pillow; DINOv3's, which has no such."""
    from importlib import import_module

    import transformers

    if kind == "DINOv3ViT":
        return transformers.DINOv3ViTImageProcessor(**_COLOURS | given)
    place = {"ChineseCLIP": "chinese_clip"}.get(kind, kind.lower())
    module = import_module(f"transformers.models.{place}.image_processing_pil_{place}")
    return getattr(module, f"{kind}ImageProcessorPil")(**_COLOURS | given)


def picture_family(folder: Path, name: str, **more: Any) -> Path:
    """A checkpoint of PICTURES, all of its halves, with its preprocessor_config.json."""
    import transformers

    sizes, kind, given = PICTURES[name]
    plain = name.partition("-")[0]
    config = getattr(transformers, f"{plain}Config")(**sizes, **more)
    torch.manual_seed(0)
    model = getattr(transformers, f"{plain}Model")(config)
    move_norms(model)
    model.save_pretrained(folder)
    processor(kind, **given).save_pretrained(folder)
    return folder


def family(folder: Path, name: str, **more: Any) -> Path:
    """A checkpoint of TEXT or SOUND with what its modality needs beside it."""
    import transformers

    kind = name.partition("-")[0]
    if name in TEXT:
        size = byte_tokenizer(folder, bos="<s>", eos="</s>", pad="<pad>", sep="</s>")
        sizes = {**TEXT[name], "vocab_size": size}
    else:
        folder.mkdir(parents=True)
        banks = kind == "Wav2Vec2Bert"
        extractor = "SeamlessM4TFeatureExtractor" if banks else "Wav2Vec2FeatureExtractor"
        getattr(transformers, extractor)().save_pretrained(folder)
        sizes = SOUND[name]
    config = getattr(transformers, f"{kind}Config")(**sizes, **more)
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config)
    move_norms(model)
    model.save_pretrained(folder)
    return folder


def move_norms(model: torch.nn.Module) -> None:
    """Weights and biases of every norm away from the identity."""
    random = torch.Generator().manual_seed(1)
    for module in model.modules():
        if "norm" in type(module).__name__.lower():
            for parameter in module.parameters(recurse=False):
                parameter.data = 0.5 + 0.5 * torch.randn(parameter.shape, generator=random)
