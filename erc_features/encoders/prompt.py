"""Words around a text, as embedding models ask for them (Wang et al. 2022, "Text Embeddings by
Weakly-Supervised Contrastive Pre-training", E5: "query: "), and as masked language models are asked
questions (Schick and Schütze 2021, "Exploiting Cloze Questions for Few Shot Text Classification"):

    {speaker} says: {text} {speaker} feels {mask}.

A prompt without `{text}` stands before the text. The names of speakers and the texts themselves are
never read as prompts.
"""

import re
from dataclasses import dataclass

from erc_features.errors import ErcError

FIELDS = ("text", "speaker", "mask")
_FIELD = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Filled:
    """A prompt around one text.

    Attributes:
        line: all of it.
        text: where in it the text begins and ends.
        mask: where in it the token begins that is to be filled in; -1 without one.
    """

    line: str
    text: tuple[int, int]
    mask: int


@dataclass(frozen=True)
class Prompt:
    """A prompt, with the tokenizer's token for `{mask}`.

    Attributes:
        template: has `{text}` once, and perhaps `{speaker}` and one `{mask}`.
        pooled: whether its words are pooled along with the text's.
    """

    template: str
    mask_token: str = ""
    pooled: bool = True

    @property
    def names_speaker(self) -> bool:
        return "{speaker}" in self.template

    @property
    def has_mask(self) -> bool:
        return "{mask}" in self.template

    def fill(self, text: str, speaker: str) -> Filled:
        """The prompt with this text; a speaker without a name is "Someone"."""
        line, at, mask, end = "", (0, 0), -1, 0
        for field in _FIELD.finditer(self.template):
            line += self.template[end : field.start()]
            end = field.end()
            if field[1] == "text":
                at = (len(line), len(line) + len(text))
                line += text
            elif field[1] == "speaker":
                line += speaker or "Someone"
            else:
                mask = len(line)
                line += self.mask_token
        return Filled(line + self.template[end:], at, mask)


def as_template(prompt: str) -> str:
    """The prompt with a `{text}`.

    Raises:
        ErcError: it has a field that is unknown or half, or one twice that may be there once.
    """
    fields = _FIELD.findall(prompt)
    if unknown := [field for field in fields if field not in FIELDS]:
        raise ErcError(
            f"--prompt {prompt!r}: {{{unknown[0]}}} is not known; {{text}}, {{speaker}} and "
            "{mask} are."
        )
    if set(_FIELD.sub("", prompt)) & set("{}"):
        raise ErcError(f"--prompt {prompt!r}: it has a brace without its other half.")
    if twice := [field for field in ("text", "mask") if fields.count(field) > 1]:
        raise ErcError(f"--prompt {prompt!r}: {{{twice[0]}}} may be there once.")
    return prompt if "text" in fields else prompt + "{text}"
