"""From the rows of several requests to embeddings: each row as `erc predict` encodes it.

The batches of a request are those that an extraction of it alone would plan. A batch of texts that
is large enough (:mod:`.together`) is encoded together with those of other requests; that changes no
bit of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from erc_features.corpora.manifest import Corpus
from erc_features.encoders.base import measure
from erc_features.extraction.batch_plan import plan
from erc_features.extraction.engines.batch import encode_rows
from erc_features.extraction.items import loader
from erc_features.store import Status
from erc_features.utterance import Modality, Utterance
from erc_fusion.serving.loaded import Reader
from erc_fusion.serving.media import Item

BATCH = 64  # rows, as `erc extract` has them


@dataclass(frozen=True)
class Embedded:
    """The embedding of a row (L, D) as a feature file stores it, and why there is none."""

    x: np.ndarray
    reason: str = ""

    @property
    def ok(self) -> bool:
        return not self.reason


@dataclass
class Row:
    """An utterance that was said to us.

    Attributes:
        media: stem -> its item, or why there is none; a stem that is not there has none.
        embedded: stem -> its embedding; what is there already is not encoded again.
    """

    said: Utterance
    media: Mapping[str, Item | str] = field(default_factory=dict)
    embedded: dict[str, Embedded] = field(default_factory=dict)


@runtime_checkable
class _Remembers(Protocol):
    """An encoder that keeps what it has measured: good for one extraction, not for a server."""

    tokenised: dict[Any, Any]


@dataclass(frozen=True)
class _Piece:
    """A batch of one request."""

    rows: list[Row]
    items: list[Any]
    tokens: float  # of each row, where it may be encoded with other batches; else 0


def embed(requests: Sequence[Sequence[Row]], reader: Reader) -> list[int]:
    """Encode what is new in the rows of each request; the rows of each batch that was encoded."""
    pieces = [piece for rows in requests for piece in _pieces(rows, reader)]
    batches: list[list[_Piece]] = []
    open_ones: dict[float, list[_Piece]] = {}
    for piece in pieces:
        if not piece.tokens:
            batches.append([piece])
            continue
        most = max(1, int(min(BATCH, reader.encoder.cap / piece.tokens)))
        batch = open_ones.get(piece.tokens)
        if batch is None or sum(len(each.rows) for each in batch) + len(piece.rows) > most:
            batches.append(batch := [])
            open_ones[piece.tokens] = batch
        batch.append(piece)
    sizes = []
    for batch in batches:
        rows = [row for piece in batch for row in piece.rows]
        items = [item for piece in batch for item in piece.items]
        x, status, reasons = encode_rows(items, reader.encoder, reader.source.dtype)
        for n, row in enumerate(rows):
            reason = "" if status[n] == Status.OK else reasons[n] or "it cannot be encoded"
            row.embedded[reader.stem] = Embedded(x[n], reason)
        sizes.append(len(rows))
    if isinstance(reader.encoder, _Remembers):
        reader.encoder.tokenised.clear()  # nobody's texts are kept
    return sizes


def _pieces(rows: Sequence[Row], reader: Reader) -> list[_Piece]:
    """The batches of one request, as an extraction of its rows alone would make them."""
    stem, encoder = reader.stem, reader.encoder
    # A text that is read with later ones is another one when they have been said.
    again = reader.settings.reach == "whole"
    new = [n for n, row in enumerate(rows) if again or stem not in row.embedded]
    items: dict[int, Item] = {}
    load = None
    for n in new:
        row = rows[n]
        if reader.modality == Modality.TEXT:
            if row.said.x_text.strip():
                load = load or _texts(rows, reader)
                text = load(n)
                items[n] = Item(text, text)
            else:
                row.embedded[stem] = _missing(reader, "the text is blank")
        elif isinstance(found := row.media.get(stem, _nothing(reader)), Item):
            items[n] = found
        else:
            row.embedded[stem] = _missing(reader, found)
    if not items:
        return []
    found = measure(encoder, [item.known for item in items.values()])
    places = list(items)
    batches = plan(
        np.arange(len(places)), found.sizes, groups=found.groups, batch_size=BATCH,
        cost=encoder.cost, cap=encoder.cap,
    )  # fmt: skip
    pieces = []
    for batch in batches:
        size = float(found.sizes[batch[0]])
        together = reader.shared < np.inf and len(batch) * size >= reader.shared
        own = [places[at] for at in batch]
        pieces.append(
            _Piece([rows[n] for n in own], [items[n].item for n in own], size if together else 0.0)
        )
    return pieces


def _texts(rows: Sequence[Row], reader: Reader) -> Any:
    corpus = Corpus(Path(), "talk", tuple(row.said for row in rows), ())
    return loader(corpus, Modality.TEXT, reader.settings)


def _nothing(reader: Reader) -> str:
    """What a feature file says of a row whose corpus has no such medium."""
    what = "face" if reader.crop == "face" else str(reader.modality)
    return f"the corpus has no {what} for it"


def _missing(reader: Reader, why: str) -> Embedded:
    shape = (reader.encoder.layers, reader.encoder.dim)
    return Embedded(np.zeros(shape, reader.source.dtype), why)
