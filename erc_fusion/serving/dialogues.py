"""Dialogues that are told one utterance at a time: bounded in number and rows, and forgotten."""

import asyncio
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from time import monotonic

from starlette.exceptions import HTTPException

from erc_fusion.serving.encoding import Row
from erc_fusion.serving.limits import Limits


@dataclass
class Dialogue:
    """What was said so far, with its embeddings; media are not kept."""

    id: str
    rows: list[Row] = field(default_factory=list)
    used: float = field(default_factory=monotonic)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Dialogues:
    """The dialogues of a server, by id. An id is a secret: who knows it may add to it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_id: OrderedDict[str, Dialogue] = OrderedDict()

    def __len__(self) -> int:
        self._expire()
        return len(self._by_id)

    @property
    def rows(self) -> int:
        return sum(len(each.rows) for each in self._by_id.values())

    def begin(self) -> Dialogue:
        """A new one.

        Raises:
            HTTPException: 429, as many are kept as may be.
        """
        self._expire()
        if len(self._by_id) >= self._limits.dialogues:
            oldest = next(iter(self._by_id.values()))
            wait = self._limits.idle - (monotonic() - oldest.used)
            raise HTTPException(
                429, f"{self._limits.dialogues} dialogues are kept, which is the most; DELETE ends "
                "one.", {"Retry-After": str(max(1, round(wait)))},
            )  # fmt: skip
        made = Dialogue(secrets.token_urlsafe(16))
        self._by_id[made.id] = made
        return made

    def find(self, id: str) -> Dialogue:
        """The dialogue; raises HTTPException 404 if there is none, or it has expired."""
        self._expire()
        if (found := self._by_id.get(id)) is None:
            raise HTTPException(
                404, "No such dialogue. POST /v1/dialogues begins one; it is forgotten after "
                f"{self._limits.idle:.0f} s without an utterance.",
            )  # fmt: skip
        return found

    def must_have_room(self, dialogue: Dialogue) -> None:
        """Raises HTTPException where it may not have one utterance more."""
        if len(dialogue.rows) >= self._limits.utterances:
            raise HTTPException(
                409, f"The dialogue has {len(dialogue.rows)} utterances, which is the most; begin "
                "another one.",
            )  # fmt: skip
        if self.rows >= self._limits.kept_rows:
            raise HTTPException(
                429, "The dialogues that are kept have as many utterances as may be kept.",
                {"Retry-After": "60"},
            )  # fmt: skip

    def add(self, dialogue: Dialogue, row: Row) -> None:
        row.media = {}
        dialogue.rows.append(row)
        dialogue.used = monotonic()
        if dialogue.id in self._by_id:
            self._by_id.move_to_end(dialogue.id)

    def end(self, id: str) -> None:
        del self._by_id[self.find(id).id]

    def _expire(self) -> None:
        now = monotonic()
        # The least recently used come first.
        while self._by_id and now - next(iter(self._by_id.values())).used > self._limits.idle:
            self._by_id.popitem(last=False)
