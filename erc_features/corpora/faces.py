"""The crops of faces in a corpus: a mosaic of squares for each utterance, in the column `x_face`.

`erc prepare --faces` writes them beside the whole frames, one square for each frame that has a
face. `--crop face` encodes them instead of the frames: :func:`faces_of` puts them in their place.
"""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from erc_features.corpora.manifest import Corpus, reasons_in
from erc_features.errors import CorpusError
from erc_features.utterance import X_FACE, Modality, Utterance

FACE = ".face.png"  # follows an utterance's key
FRAME_CROP, FACE_CROP = "frame", "face"
CROPS = (FRAME_CROP, FACE_CROP)


def with_face(utterance: Utterance, cell: str) -> Utterance:
    """The utterance with the path of its faces; "" means that it has none."""
    return replace(utterance, more=MappingProxyType({**utterance.more, X_FACE: cell}))


def has_faces(corpus: Corpus) -> bool:
    """Whether faces were looked for: the corpus has the column, or says how it did it."""
    return bool(faces_in(corpus.info)) or any(X_FACE in u.more for u in corpus.utterances)


def faces_in(info: Mapping[str, Any]) -> dict[str, Any]:
    """How faces were found and cut out, as `corpus.json` says; empty where `erc` did not do it."""
    decode = info.get("decode")
    found = decode.get("faces") if isinstance(decode, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def faces_of(corpus: Corpus) -> Corpus:
    """The corpus with its faces in the place of its whole frames.

    Raises:
        CorpusError: no faces were looked for; names the command that does.
    """
    if not has_faces(corpus):
        raw = shlex.quote(str(corpus.info.get("source") or "RAW"))
        raise CorpusError(
            f"{corpus.root}: it was prepared without faces. Prepare it again with them: "
            f"`erc prepare {raw} --to {shlex.quote(str(corpus.root))} --faces --force`. Features "
            "that were extracted from it stay valid."
        )
    reasons = dict(reasons_in(corpus.info, FACE_CROP))
    missing = corpus.info.get("missing")
    missing = dict(missing) if isinstance(missing, Mapping) else {}
    info = {**corpus.info, "missing": missing | {str(Modality.VISUAL): reasons}}
    rows = tuple(replace(u, x_visual=u.x_face) for u in corpus.utterances)
    return replace(corpus, utterances=rows, info=MappingProxyType(info), crop=FACE_CROP)
