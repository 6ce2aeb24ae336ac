"""Tiny random checkpoints of real architectures, saved as their models save themselves."""

from pathlib import Path

import torch

WORDS = ["the", "a", "great", "lovely", "happy", "yay", "hate", "stupid", "angry", "no", "text"]


def tiny_bert(folder: Path, *, seed: int = 0) -> Path:
    """BertModel of 2 layers of 16, with its tokenizer, as model.safetensors."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    letters = [chr(c) for c in range(97, 123)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters,
                  *("##" + c for c in letters), *"0123456789"]  # fmt: skip
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)))
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(
        folder
    )
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(set(vocabulary)), hidden_size=16, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder
