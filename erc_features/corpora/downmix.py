"""By which rule channels were mixed down to one, and what was made by another than today's.

Until the rule had a name, FFmpeg mixed down to float without a limit: equal channels of a stereo
sound were up to 1.41 times as loud as either, those of 5.1 up to 3.41 times, and what went past
full scale was clipped. Sound prepared or encoded so is refused by name, and never mixed with new.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erc_features.corpora.manifest import INFO, Corpus
from erc_features.corpora.raw import Defect
from erc_features.errors import CorpusError, FeatureFileError
from erc_features.utterance import Modality, Split

if TYPE_CHECKING:
    from erc_features.store import Provenance

# The weights in media/mix.py, divided by their sum. Another rule needs another name.
DOWNMIX = "normalised"
NAME = "downmix"  # what `decode` in corpus.json and `config` in a feature file call it

_BEFORE = "Without it, loud sound of several channels was clipped when it was mixed down"
_DEFAULTS = {"layers": "all", "pool": "mean", "precision": "fp32", "dtype": "float16"}


def must_be_normalised(corpus: Corpus) -> None:
    """Refuse WAVs that `erc prepare` wrote by another rule: those of the corpus, or of another
    prepared one that its rows name. A corpus that erc did not prepare is mixed down when read.

    Raises:
        CorpusError: names both rules, and the command that prepares it anew.
    """
    paths = (corpus.media_path(u, Modality.AUDIO) for u in corpus.utterances)
    folders = {path.parent for path in paths if path is not None and path.suffix == ".wav"}
    roots = {folder.parent for folder in folders if folder.name in set(Split)}
    for root in sorted(roots | ({corpus.root} if folders else set())):
        info = corpus.info if root == corpus.root else _info(root / INFO)
        if (found := _rule_of(info)) == DOWNMIX:
            continue
        raw = shlex.quote(str(info.get("source") or "RAW"))
        raise CorpusError(
            f"{root}: its WAVs were prepared by another rule of mixing down, so no audio features "
            f"are made from them: {NAME} {found!r} there, {DOWNMIX!r} now. {_BEFORE}. Prepare it "
            f"again: `erc prepare {raw} --to {shlex.quote(str(root))} --force`. Text and pictures "
            "are as they were: --modality text, --modality visual."
        )


def must_be_of_one_rule(path: Path | str, theirs: "Provenance", corpus: Corpus) -> None:
    """Refuse an audio feature file, or the corpus's sound, that was mixed down by another rule.

    Raises:
        ErcError: names both rules, and the command that makes it anew.
    """
    if theirs.modality == Modality.AUDIO:
        must_be_made_alike(path, theirs.modality, theirs.encoder, theirs.config, corpus.root)
        must_be_normalised(corpus)


def must_be_made_alike(
    path: Path | str, modality: str, encoder: str, config: Mapping[str, Any], corpus: Path | str
) -> None:
    """Refuse an audio feature file that was made by another rule. Imported ones have none.

    Args:
        path: of the feature file, or its URL; modality, encoder and config are what it says of
            itself.
        corpus: for the command that makes it anew.

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
        f"{config.get(NAME)!r} there, {DOWNMIX!r} now. {_BEFORE}. Make it anew: "
        f"`{shlex.join(['erc', 'extract', *words, '--overwrite'])}`. If `erc prepare` made the "
        "corpus, prepare it again before that, with --force; afterwards run `erc fuse` again."
    )


def old_sound(corpus: Corpus) -> list[Defect]:
    """The defect of a corpus whose own WAVs were prepared by another rule."""
    found = _rule_of(corpus.info)
    if found == DOWNMIX or not any(u.x_audio.endswith(".wav") for u in corpus.utterances):
        return []
    detail = f"{NAME}: {found!r} there, {DOWNMIX!r} now; its WAVs may be clipped"
    done = "extract refuses its sound until `erc prepare --force`"
    return [Defect("sound mixed down by another rule", INFO, detail, done)]


def _rule_of(info: Mapping[str, Any]) -> object:
    """By which rule `erc prepare` mixed down; today's where it was not `erc prepare`'s work."""
    decode = info.get("decode")
    settings = decode if isinstance(decode, dict) else {}
    # A user may say `decode: {"frames": 5}` of mosaics; `rate` is what prepare says of sound.
    ours = "prepared_from" in info or "rate" in settings
    return settings.get(NAME) if ours else DOWNMIX


def _info(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
