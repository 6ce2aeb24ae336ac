"""Text encoders through transformers: the BERT family (Devlin et al. 2019), and decoders.

They return every hidden layer, pooled over the tokens that are not padding; with history, over
the tokens of the utterance itself. The last layer is `last_hidden_state`. Embedding models pool
their own way with `--pool model`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from erc_features.encoders.base import (
    MODULES,
    WORDS,
    Measured,
    Network,
    Settings,
    Turn,
    pooled_dim,
    to_device,
)
from erc_features.encoders.hidden_states import layers_of, recorded_last
from erc_features.encoders.launch import to_host
from erc_features.encoders.layers import pick_layers
from erc_features.encoders.plain_bert import quicken
from erc_features.encoders.prompt import Prompt, as_template
from erc_features.encoders.sentence_modules import (
    NOTHING,
    Instructions,
    SentenceModules,
    read_instructions,
    read_modules,
)
from erc_features.encoders.token_pooling import pool_tokens
from erc_features.encoders.tokens import Tokenizer, Tokens, hashed, lost_capital, padded, wrap
from erc_features.encoders.weights import Place, first_line, load_transformer, place_model
from erc_features.errors import EncoderError
from erc_features.utterance import Modality

_LONGEST = 512  # tokens: BERT's own limit, and a limit to memory for models that take more
_AT_ONCE = 1000  # texts
_REMEMBERED = 14_000  # texts
# Models that count positions from the padding token's number + 1, so that they take fewer
# tokens than `max_position_embeddings` says.
_OFFSET = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "data2vec-text", "mpnet",
           "longformer", "esm", "roberta-prelayernorm", "xmod", "ibert", "luke")  # fmt: skip


@dataclass(frozen=True)
class TextEncoder(Network):
    """A frozen transformer over texts, as an :class:`~erc_features.encoders.base.Encoder`.

    Attributes:
        modules: how the checkpoint's authors embed a text, for `--pool model`.
    """

    tokenizer: Tokenizer
    modules: SentenceModules | None = None
    modality: Modality = Modality.TEXT
    cap: float = 64 * 512.0  # tokens in a batch, padding included
    # What `measure` has tokenised, for `encode`: doing it twice is 3% of a small model's time.
    tokenised: dict[str | Turn, Tokens] = field(default_factory=dict, repr=False)

    def measure(self, known: Sequence[str | Turn]) -> Measured:
        """Sizes in tokens; a group for each size, so that nothing is padded.

        Where utterances are read with later ones, those of one sequence are a group, and each has
        an equal part of its tokens.
        """
        found = [np.empty((0, 4))]
        numbers: dict[bytes, int] | None = {} if any(map(_is_whole, known)) else None
        for first in range(0, len(known), _AT_ONCE):
            items = known[first : first + _AT_ONCE]
            made = self.tokenizer(items)
            found.append(np.array([
                (len(t.ids), t.cut, t.shortened, 0 if numbers is None
                 else numbers.setdefault(t.ids.tobytes(), len(numbers)))
                for t in made
            ], np.float64))  # fmt: skip
            if len(self.tokenised) < _REMEMBERED:  # few enough to keep memory flat
                self.tokenised.update(zip(items, made, strict=True))
        sizes, cut, shortened, sequence = np.concatenate(found).T
        counts = {
            f"texts cut to {self.tokenizer.longest} tokens": int(cut.sum()),
            f"histories shortened to {self.tokenizer.longest} tokens": int(shortened.sum()),
        }
        notes = {note: n for note, n in counts.items() if n}
        if numbers is None:
            return Measured(sizes, sizes, notes)
        rows = np.bincount(sequence.astype(int))[sequence.astype(int)]
        # Those that are alone in theirs are grouped by size, as always.
        return Measured(sizes / rows, np.where(rows > 1, -1 - sequence, sizes), notes)

    def encode(self, items: Sequence[str | Turn]) -> np.ndarray:
        """Texts or turns -> (B, L, D) float32. Items of one sequence are computed once.

        A text that is too long for the model loses its end; a dialogue, what is farthest.
        """
        return self.launch(items)()

    @torch.inference_mode()
    def launch(self, items: Sequence[str | Turn]) -> Callable[[], np.ndarray]:
        """See :class:`~erc_features.encoders.base.Launches`."""
        new = [item for item in items if item not in self.tokenised]
        made = iter(self.tokenizer(new))
        tokens = [self.tokenised.get(item) or next(made) for item in items]
        rows = list(range(len(tokens)))
        if any(map(_is_whole, items)):
            places: dict[bytes, int] = {}
            rows = [places.setdefault(t.ids.tobytes(), len(places)) for t in tokens]
        sequences = [tokens[rows.index(place)] for place in range(max(rows) + 1)]
        ids, seen = padded(sequences, self.tokenizer.pad)
        found = self.model(
            input_ids=to_device(ids, self.device),
            # Attention is faster without a mask, and rows that are planned together need none.
            attention_mask=None if seen.all() else to_device(seen, self.device),
            output_hidden_states=True,
        )
        states = layers_of(found)
        if self.modules:
            pooled = [self.modules.embed(states[-1], tokens, rows)]
        else:
            pooled = pool_tokens([states[i] for i in self.picked], tokens, rows, self.pooling)
        return to_host(torch.stack(pooled, 1))  # (B, L, D)


def _is_whole(item: str | Turn) -> bool:
    """Whether later utterances are read with it."""
    return isinstance(item, Turn) and item.at + 1 < len(item.dialogue)


def load_text(name: str, modality: Modality, settings: Settings) -> TextEncoder:
    """Load a Hugging Face id, a local folder, or `random:bert-base-uncased`.

    Raises:
        EncoderError: it cannot be loaded or is no such model; says what would work.
    """
    model, revision, place = load_transformer(name, modality)
    if model.config.is_encoder_decoder:
        raise EncoderError(
            f"--encoder {name}: {model.config.model_type} is an encoder with a decoder; a model "
            "of the BERT family works, or a decoder alone."
        )
    model.config.use_cache = False
    widths, causal = _probe(name, model)
    own_way = settings.pool == "model"
    if own_way and place is None:
        raise EncoderError(f"--encoder {name} --pool model: random weights have no such folder.")
    modules = read_modules(name, place, widths[-1]) if own_way and place else None
    told = read_instructions(place) if place and (own_way or settings.prompt) else NOTHING
    longest = min(_longest(model.config), (own_way and told.longest) or _LONGEST)
    tokenizer = (
        _load_tokenizer(name, place, model.config, settings, longest) if place
        else hashed(longest, model.config.vocab_size)
    )  # fmt: skip
    if own_way and told.odd:
        raise EncoderError(
            f"--encoder {name} --pool model: its {told.odd}, which is not done here; --pool mean "
            "works."
        )
    tokenizer = _with_prompt(name, tokenizer, settings, told, modules)
    if settings.history and tokenizer.prompt and not tokenizer.prompt.pooled:
        raise EncoderError(
            f"--encoder {name} --pool model --history {settings.history}: its pooling leaves its "
            "prompt out, which is not done with a history; leave --history out."
        )
    picked = (
        (len(widths) - 1,) if modules else tuple(pick_layers(settings.layers, len(widths)))
    )  # fmt: skip
    _must_suit(name, settings, causal, tokenizer.prompt)
    dims = [widths[i] for i in picked]
    if len(set(dims)) > 1:
        raise EncoderError(
            f"--encoder {name} --layers {settings.layers}: its last layer has {dims[-1]} "
            f"dimensions and the others have {dims[0]}, so one file cannot hold both. --layers "
            "last works, and --layers :-1 for the others."
        )
    return TextEncoder(
        name=name,
        revision=revision,
        picked=picked,
        dim=modules.dim(dims[0]) if modules else pooled_dim(dims[0], settings.pool),
        pooling=settings.pool,
        device=settings.device,
        model=quicken(place_model(model, settings.precision, settings.device)),
        tokenizer=tokenizer,
        modules=modules,
        recorded={
            **recorded_last(model.config, picked, len(widths)),
            **(
                {MODULES: f"{modules.revision[:16]}, {tokenizer.longest} tokens"} if modules else {}
            ),
            **({WORDS: tokenizer.prompt.template} if tokenizer.prompt else {}),
        },
    )


def _must_suit(name: str, settings: Settings, causal: bool, prompt: Prompt | None) -> None:
    """Refuse a pooling that would not be of the utterance."""
    how = f"--encoder {name} --pool {settings.pool}"
    if causal and settings.pool == "cls":
        raise EncoderError(f"{how}: the first token of a decoder has seen no other; mean works.")
    if settings.reach == "whole" and settings.pool in ("cls", "last", "model"):
        raise EncoderError(
            f"{how} --reach whole: that is the dialogue's state, not the utterance's; mean works."
        )
    if settings.pool == "mask" and not (prompt and prompt.has_mask):
        raise EncoderError(
            f"{how}: it needs a prompt with {{mask}}, such as --prompt '{{text}} I feel {{mask}}.'"
        )
    if settings.pool == "model" and settings.layers not in ("all", "last"):
        raise EncoderError(f"{how}: the model pools its last layer; leave --layers out.")


def _with_prompt(
    name: str, tokenizer: Tokenizer, settings: Settings, told: Instructions,
    modules: SentenceModules | None,
) -> Tokenizer:  # fmt: skip
    """The tokenizer with the prompt that was asked for, or the folder's own by that name."""
    wanted = settings.prompt
    if wanted in told.prompts or not wanted:
        words = told.prompts.get(wanted or (told.default if modules else None) or "", "")
    elif wanted.isidentifier():
        known = ", ".join(sorted(told.prompts)) or "none"
        raise EncoderError(
            f"--encoder {name} --prompt {wanted}: it names no such prompt (it names: {known}). "
            f"Words are a prompt if they have a space or a colon: --prompt '{wanted}: '."
        )
    else:
        words = wanted
    if not words:
        return tokenizer
    template = as_template(words)
    mask = getattr(tokenizer.inner, "mask_token", None) or ""
    if "{mask}" in template and not mask:
        raise EncoderError(
            f"--encoder {name} --prompt {wanted!r}: its tokenizer has no mask token; a masked "
            "language model, such as BERT or RoBERTa, has one."
        )
    if not getattr(tokenizer.inner, "is_fast", True):
        raise EncoderError(
            f"--encoder {name} --prompt {wanted!r}: its tokenizer can't say which tokens are the "
            "text's; one with a tokenizer.json can."
        )
    pooled = modules.pools_prompt if modules else True
    made = replace(tokenizer, prompt=Prompt(template, mask, pooled), alone=not settings.history)
    length = len(made([""])[0].ids)
    if length > tokenizer.longest // 2:
        raise EncoderError(
            f"--encoder {name} --prompt {wanted!r}: it has {length} of the {tokenizer.longest} "
            "tokens that the model reads; half of them are for the text."
        )
    return made


def _longest(config: Any) -> int:
    most = getattr(config, "max_position_embeddings", None) or _LONGEST
    if most < 0:  # XLNet's -1: no limit
        most = _LONGEST
    if config.model_type in _OFFSET:
        most -= (config.pad_token_id or 0) + 1
    return min(_LONGEST, most)


def _load_tokenizer(
    name: str, place: Place, config: Any, settings: Settings, longest: int
) -> Tokenizer:
    from transformers import AutoTokenizer
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    try:
        inner: Any = AutoTokenizer.from_pretrained(
            place.where, local_files_only=place.local, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise EncoderError(
            f"--encoder {name}: it has no tokenizer that can be loaded ({first_line(error)}). "
            "It needs config.json, a tokenizer (tokenizer.json) and model.safetensors."
        ) from error
    # Without its files transformers makes an empty tokenizer, to which every word is unknown.
    if 2 * len(inner) < getattr(config, "vocab_size", 0):
        raise EncoderError(
            f"--encoder {name}: its tokenizer has {len(inner)} of {config.vocab_size} tokens; "
            "is tokenizer.json there, or what its kind has instead (vocab.txt, vocab.json)?"
        )
    if (word := lost_capital(inner)) and "do_lower_case" not in get_tokenizer_config(
        place.where, local_files_only=place.local
    ):
        raise EncoderError(
            f"--encoder {name}: its vocabulary has capital letters, such as {word!r}, and its "
            "tokenizer makes all texts lower case, because no tokenizer_config.json says whether "
            'to. Add one: {"do_lower_case": false}, or true if the weights were trained so.'
        )
    if settings.history and not inner.is_fast:
        raise EncoderError(
            f"--encoder {name} --history {settings.history}: its tokenizer can't say which tokens "
            "are the utterance's own; one with a tokenizer.json can."
        )
    return wrap(inner, min(longest, inner.model_max_length))


@torch.inference_mode()
def _probe(name: str, model: Any) -> tuple[list[int], bool]:
    """D of each layer, and whether the first token does not attend to later ones."""
    ids = torch.tensor([[1, 2, 3], [1, 3, 2]])
    try:
        found = model(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        states = layers_of(found)
        same_tokens = {state.shape[:2] for state in states} == {ids.shape}
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise EncoderError(
            f"--encoder {name}: {type(model).__name__} gives no hidden states of texts; a model "
            "of the BERT family or a decoder does."
        ) from error
    if not same_tokens:
        raise EncoderError(
            f"--encoder {name}: some layers of {type(model).__name__} do not have one state for "
            "each token; those of the BERT family and of decoders do."
        )
    widths = [state.shape[-1] for state in states]
    return widths, bool(torch.equal(states[-1][0, 0], states[-1][1, 0]))
