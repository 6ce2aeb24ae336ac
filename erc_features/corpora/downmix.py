"""The rule by which channels are mixed down to one, and sound that was made by another rule.

Before the rule had a name, FFmpeg mixed down to float without a limit: equal channels of a stereo
sound became up to 1.41 times as loud as either, those of 5.1 up to 3.41 times, and whatever
exceeded full scale was clipped. Sound that was prepared or encoded in this way is refused, so that
it is never mixed with new sound.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erc_features.corpora.manifest import INFO, Corpus
from erc_features.corpora.raw import Defect
from erc_features.corpora.segments import info_of, made_by_erc
from erc_features.errors import CorpusError, FeatureFileError
from erc_features.utterance import Modality, Split

if TYPE_CHECKING:
    from erc_features.store import Provenance

# The weights of media/mix.py, divided by their sum. Another rule needs another name.
DOWNMIX = "normalised"
NAME = "downmix"  # its key in `decode` of corpus.json and in `config` of a feature file

_BEFORE = "Without it, loud sound of several channels was clipped when it was mixed down"
_DEFAULTS = {"layers": "all", "pool": "mean", "precision": "fp32", "dtype": "float16"}


def must_be_normalised(corpus: Corpus) -> None:
    """Refuse WAVs that `erc prepare` wrote by another rule, in this corpus or in another prepared
    corpus that its rows name. Sound that erc did not prepare is mixed down when it is read.

    Raises:
        CorpusError: names both rules, and the command that prepares the corpus again.
    """
    paths = (corpus.media_path(u, Modality.AUDIO) for u in corpus.utterances)
    folders = {path.parent for path in paths if path is not None and path.suffix == ".wav"}
    roots = {folder.parent for folder in folders if folder.name in set(Split)}
    for root in sorted(roots | ({corpus.root} if folders else set())):
        info = corpus.info if root == corpus.root else info_of(root / INFO)
        if (found := _rule_of(info)) == DOWNMIX:
            continue
        raw = shlex.quote(str(info.get("source") or "RAW"))
        raise CorpusError(
            f"{root}: its WAVs were prepared by another rule of mixing down, so no audio features "
            f"are made from them: {NAME} {found!r} there, {DOWNMIX!r} now. {_BEFORE}. Prepare it "
            f"again: `erc prepare {raw} --to {shlex.quote(str(root))} --force`. Text and pictures "
            "can still be extracted: --modality text, --modality visual."
        )


def must_be_of_one_rule(path: Path | str, theirs: "Provenance", corpus: Corpus) -> None:
    """Refuse an audio feature file, or a corpus's sound, that was mixed down by another rule.

    Raises:
        ErcError: names both rules, and the command that makes it again.
    """
    if theirs.modality == Modality.AUDIO:
        must_be_made_alike(path, theirs.modality, theirs.encoder, theirs.config, corpus.root)
        must_be_normalised(corpus)


def must_be_made_alike(
    path: Path | str, modality: str, encoder: str, config: Mapping[str, Any], corpus: Path | str
) -> None:
    """Refuse an audio feature file that was made by another rule. Imported files have no rule.

    Args:
        path: the path or URL of the feature file; `modality`, `encoder` and `config` are what it
            says about itself.
        corpus: used in the command that makes the file again.

    Raises:
        FeatureFileError: names both rules, and that command.
    """
    from erc_features.store import IMPORTED

    if modality != Modality.AUDIO or encoder == IMPORTED or config.get(NAME) == DOWNMIX:
        return
    folder, _, name = str(path).rpartition("/")
    name = name.removesuffix(".partial").removesuffix(".h5").removeprefix(f"{modality}.")
    options = {"corpus": corpus, "features": folder.rpartition("/")[0] or "features",
               "modality": modality, "encoder": encoder,
               "name": name.partition("+")[0]}  # fmt: skip
    options |= {option: config[option] for option, default in _DEFAULTS.items()
                if config.get(option, default) != default}  # fmt: skip
    words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
    raise FeatureFileError(
        f"{path} was made by another rule of mixing sound down to one channel: {NAME} "
        f"{config.get(NAME)!r} there, {DOWNMIX!r} now. {_BEFORE}. Make it again: "
        f"`{shlex.join(['erc', 'extract', *words, '--overwrite'])}`. If `erc prepare` made the "
        "corpus, prepare it again before that, with --force; afterwards run `erc fuse` again."
    )


def old_sound(corpus: Corpus) -> list[Defect]:
    """A defect if the corpus's own WAVs were prepared by another rule."""
    found = _rule_of(corpus.info)
    if found == DOWNMIX or not any(u.x_audio.endswith(".wav") for u in corpus.utterances):
        return []
    detail = f"{NAME}: {found!r} there, {DOWNMIX!r} now; its WAVs may be clipped"
    done = "extract refuses its sound until `erc prepare --force`"
    return [Defect("sound mixed down by another rule", INFO, detail, done)]


def _rule_of(info: Mapping[str, Any]) -> object:
    """The rule by which `erc prepare` mixed down; today's rule where it did not make the sound."""
    decode = info.get("decode")
    settings = decode if isinstance(decode, dict) else {}
    return settings.get(NAME) if made_by_erc(info) else DOWNMIX
