"""Tiny random checkpoints of real architectures, saved as their models save themselves."""

import json
from pathlib import Path
from typing import Any

import torch

WORDS = ["the", "a", "great", "lovely", "happy", "yay", "hate", "stupid", "angry", "no", "text"]
_BLOCKS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def tiny_bert(folder: Path, *, seed: int = 0) -> Path:
    """BertModel of 2 layers of 16, with its tokenizer, as model.safetensors."""
    from tokenizers.implementations import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder.mkdir(parents=True)
    letters = [chr(c) for c in range(97, 123)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters,
                  *("##" + c for c in letters), *"0123456789!:'"]  # fmt: skip
    numbers = {token: i for i, token in enumerate(dict.fromkeys(vocabulary))}
    PreTrainedTokenizerFast(
        tokenizer_object=BertWordPieceTokenizer(vocab=numbers)._tokenizer, model_max_length=64,
        pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(numbers), hidden_size=16, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def tiny_roberta(folder: Path) -> Path:
    """RobertaModel as published ones are: no pooler, positions that count from 2."""
    from transformers import RobertaConfig, RobertaModel

    size = byte_tokenizer(folder, bos="<s>", eos="</s>", pad="<pad>", sep="</s>")
    config = RobertaConfig(**_BLOCKS, vocab_size=size, intermediate_size=32, pad_token_id=0,
                           max_position_embeddings=65, initializer_range=0.3)  # fmt: skip
    return _save(folder, RobertaModel, config, add_pooling_layer=False)


def tiny_gpt2(folder: Path) -> Path:
    """GPT2Model: absolute positions, no padding token, no special token around a text."""
    from transformers import GPT2Config, GPT2Model

    size = byte_tokenizer(folder, eos="<|endoftext|>")
    config = GPT2Config(vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=64,
                        initializer_range=0.3, bos_token_id=0, eos_token_id=0)  # fmt: skip
    return _save(folder, GPT2Model, config)


def tiny_llama(folder: Path, *, side: str = "left") -> Path:
    """LlamaModel: rotary positions; its tokenizer pads on the left and begins with a token."""
    from transformers import LlamaConfig, LlamaModel

    size = byte_tokenizer(folder, bos="<s>", eos="</s>", side=side)
    config = LlamaConfig(**_BLOCKS, vocab_size=size, intermediate_size=32, num_key_value_heads=1,
                         max_position_embeddings=64, initializer_range=0.3)  # fmt: skip
    return _save(folder, LlamaModel, config)


def byte_tokenizer(
    folder: Path,
    *,
    bos: str | None = None,
    eos: str | None = None,
    pad: str | None = None,
    sep: str | None = None,
    side: str = "right",
) -> int:
    """A byte-level BPE tokenizer of a few merges, as RoBERTa and GPT-2 have; its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = [token for token in dict.fromkeys((pad, bos, eos, sep)) if token]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        [" ".join(WORDS)] * 3,
        trainers.BpeTrainer(
            vocab_size=300, special_tokens=special, show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )  # fmt: skip
    if bos:
        end = f" {eos}" if sep else ""
        ids = [(token, made.token_to_id(token)) for token in (bos, eos) if token]
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A{end}", special_tokens=ids
        )
    folder.mkdir(parents=True)
    tokens = {"bos_token": bos, "eos_token": eos, "pad_token": pad, "sep_token": sep}
    PreTrainedTokenizerFast(
        tokenizer_object=made, padding_side=side, **{k: v for k, v in tokens.items() if v}
    ).save_pretrained(folder)
    return made.get_vocab_size()


def tiny_sound(folder: Path, kind: str, norm: str = "group", *, normalise: bool = True) -> Path:
    """Wav2Vec2, HuBERT, WavLM or data2vec-audio with their own strides: 400 samples, 20 ms.

    kind: `Wav2Vec2`, `Hubert`, `WavLM` or `Data2VecAudio`.
    """
    import transformers

    sizes: dict[str, Any] = {
        **_BLOCKS, "intermediate_size": 32, "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 5,
        "num_conv_pos_embedding_groups": 2, "initializer_range": 0.1, "conv_bias": norm == "layer",
    }  # fmt: skip
    if kind == "Data2VecAudio":
        sizes["conv_pos_kernel_size"] = 5
    else:
        sizes |= {"feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer",
                  "num_conv_pos_embeddings": 16}  # fmt: skip
    folder.mkdir(parents=True)
    transformers.Wav2Vec2FeatureExtractor(
        do_normalize=normalise, return_attention_mask=norm == "layer"
    ).save_pretrained(folder)
    config = getattr(transformers, f"{kind}Config")(**sizes)
    return _save(folder, getattr(transformers, f"{kind}Model"), config)


def tiny_whisper(folder: Path, **more: Any) -> Path:
    """A whole Whisper, decoder too, that reads 30 s of 80 mel bands: L = 3, D = 16."""
    import transformers

    sizes: dict[str, Any] = {
        "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32,
        "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32,
        "vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 1, "init_std": 0.2, "num_mel_bins": 80,
    } | more  # fmt: skip
    folder.mkdir(parents=True)
    transformers.WhisperFeatureExtractor(feature_size=sizes["num_mel_bins"]).save_pretrained(folder)
    return _save(folder, transformers.WhisperModel, transformers.WhisperConfig(**sizes))


def _save(folder: Path, cls: Any, config: Any, **more: Any) -> Path:
    torch.manual_seed(0)
    cls(config, **more).save_pretrained(folder)
    return folder


def tiny_clip(folder: Path, *, side: int = 32, mode: str = "shortest") -> Path:
    """A CLIP of open_clip, as open_clip's own repositories are: its configuration and weights."""
    import open_clip
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    from safetensors.torch import save_file

    vision = {"image_size": side, "layers": 2, "width": 64, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    config = {
        "model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"resize_mode": mode, "mean": OPENAI_DATASET_MEAN,
                           "std": OPENAI_DATASET_STD},
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(1)  # 0 is what `random:` draws
    model = open_clip.model.CLIP(24, vision, text)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder
