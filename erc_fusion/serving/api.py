"""The routes of the API, and how a request becomes an answer."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile

from erc_features.errors import ErcError
from erc_features.preparation.decode import why_not
from erc_features.preparation.guard import Guard
from erc_features.utterance import Split, Utterance
from erc_fusion.serving import describe
from erc_fusion.serving.answering import Answered as Found
from erc_fusion.serving.card import card_of
from erc_fusion.serving.dialogues import Dialogues
from erc_fusion.serving.encoding import Row
from erc_fusion.serving.engine import Engine
from erc_fusion.serving.limits import Limits
from erc_fusion.serving.lines import LINES, from_form, read_one, read_talk, refused
from erc_fusion.serving.media import Media, Rules, read_media
from erc_fusion.serving.metrics import Metrics
from erc_fusion.serving.schema import Said
from erc_fusion.serving.uploads import folder_in, media_of, read_form, save


@dataclass
class Service:
    """What the routes share: the run, the thread that computes, and the processes that decode."""

    engine: Engine
    guard: Guard
    root: Path  # for uploads
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics = field(default_factory=Metrics)
    stopping: bool = False

    def __post_init__(self) -> None:
        loaded = self.engine.loaded
        self.dialogues = Dialogues(self.limits)
        self.card = card_of(loaded)
        self.rules = Rules(
            loaded.labels, loaded.decode, loaded.media, self.limits.longest, self.limits.pixels
        )

    async def answer(self, rows: Sequence[Row]) -> Found:
        """What the run says of the rows, when its turn comes."""
        found = await asyncio.wrap_future(self.engine.submit(rows))
        for answer in found.answers:
            for stem in answer.without:
                self.metrics.missing.labels(stem).inc()
        return found

    async def read(self, media: Sequence[Media], folder: Path) -> list[Mapping[str, Any]]:
        """What the encoders get of the media of each utterance."""
        return list(
            await asyncio.gather(
                *(self._read_one(one, folder / f"media-{n}") for n, one in enumerate(media))
            )
        )

    async def _read_one(self, media: Media, folder: Path) -> Mapping[str, Any]:
        if not (media.visual or media.audio) or not self.rules.wanted:
            return {}
        try:
            return await asyncio.wrap_future(
                self.guard.submit(read_media, folder, media, self.rules)
            )
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a decoder did, it is this row's reason
            why = why_not(error, self.guard.seconds)
            return {wanted.stem: why for wanted in self.rules.wanted}


def make_app(service: Service) -> FastAPI:
    """The API. `/` is left to a page that is made with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.stopping = True

    # FastAPI's own pages of documentation load scripts from elsewhere.
    app = FastAPI(
        title="erc serve", summary="A finished run of erc, answering.", docs_url=None,
        redoc_url=None, lifespan=lifespan, version=service.card["erc"],
    )  # fmt: skip

    @app.exception_handler(ErcError)
    async def erc_error(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 500)

    @app.exception_handler(Exception)
    async def other_error(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": f"The server failed: {type(error).__name__}."}, 500)

    @app.post("/v1/predict", **describe.PREDICT)
    async def predict(request: Request) -> Response:
        """Predict the emotions of one dialogue or of several. Nothing of it is kept."""
        async with _asked(request, service, _many) as (said, media):
            rows = [
                Row(_utterance(one, n), items)
                for (one, n), items in zip(_numbered(said), media, strict=True)
            ]
            found = await service.answer(rows)
        return JSONResponse({"utterances": describe.answers(found, service.engine.loaded)})

    @app.post("/v1/dialogues", **describe.BEGIN)
    async def begin() -> Response:
        """Begin a dialogue that is told one utterance at a time."""
        made = service.dialogues.begin()
        return JSONResponse(
            {"id": made.id, "utterances": 0, "expires_in": service.limits.idle}, 201
        )

    @app.post("/v1/dialogues/{id}/utterances", **describe.SAY)
    async def say(id: str, request: Request) -> Response:
        """Add the next utterance, and predict its emotion in the light of those before it."""
        dialogue = service.dialogues.find(id)
        async with _asked(request, service, _single) as ((said,), (items,)), dialogue.turn:
            service.dialogues.find(id)  # it may have ended while another utterance had its turn
            service.dialogues.must_have_room(dialogue)
            row = Row(
                _utterance(said.model_copy(update={"dialogue": 0}), len(dialogue.rows)), items
            )
            found = await service.answer([*dialogue.rows, row])
            service.dialogues.add(dialogue, row)
        return JSONResponse(describe.answers(found, service.engine.loaded)[-1])

    @app.delete("/v1/dialogues/{id}", **describe.END)
    async def end(id: str) -> Response:
        """Forget a dialogue."""
        service.dialogues.end(id)
        return Response(status_code=204)

    @app.get("/v1/model", **describe.MODEL)
    async def model() -> Response:
        """The run: labels, figures with intervals, hashes, intended use and limits."""
        return JSONResponse(service.card)

    @app.get("/healthz", tags=["operation"])
    async def healthz() -> dict[str, str]:
        """Whether the process runs."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["operation"], responses={503: {"description": "Not now."}})
    async def readyz() -> Response:
        """Whether it can answer."""
        ready = service.engine.alive and not service.stopping
        return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    @app.get("/metrics", tags=["operation"])
    async def metrics() -> Response:
        """Figures of this server in Prometheus' text format."""
        service.metrics.dialogues.set(len(service.dialogues))
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    return app


_Parse = Callable[[bytes, bool, Limits], list[Said]]


def _many(body: bytes, lines: bool, limits: Limits) -> list[Said]:
    return read_talk(body, lines, limits)


def _single(body: bytes, lines: bool, limits: Limits) -> list[Said]:
    return [read_one(body, limits)]


@asynccontextmanager
async def _asked(
    request: Request, service: Service, parse: _Parse
) -> AsyncIterator[tuple[list[Said], list[Mapping[str, Any]]]]:
    """The utterances of a request, and what the encoders get of the media of each."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    limits = service.limits
    if kind != "multipart/form-data":
        if kind not in (*LINES, "application/json"):
            raise refused(
                "Send application/json, application/x-ndjson (JSON lines), or, with files, "
                "multipart/form-data.", 415,
            )  # fmt: skip
        said = parse(await request.body(), kind in LINES, limits)
        media_of(said, {})
        yield said, [{} for _ in said]
        return
    async with read_form(request, limits) as form:
        fields, files = {}, {}
        for name, value in form.multi_items():
            if name in fields or name in files:
                raise refused(f"The part {name[:40]!a} is there twice.")
            if isinstance(value, UploadFile):
                files[name] = value.file
            else:
                fields[name] = value
        said = from_form(fields, list(files), limits)
        if parse is _single and len(said) != 1:
            raise refused("One utterance is added at a time.")
        async with folder_in(service.root) as folder:
            media = media_of(said, await asyncio.to_thread(save, files, folder))
            yield said, await service.read(media, folder)


def _numbered(said: Sequence[Said]) -> list[tuple[Said, int]]:
    """Each utterance with its place in its dialogue."""
    counts: dict[int, int] = {}
    found = []
    for one in said:
        found.append((one, counts.get(one.dialogue, 0)))
        counts[one.dialogue] = counts.get(one.dialogue, 0) + 1
    return found


def _utterance(said: Said, sequence: int) -> Utterance:
    return Utterance(Split.NEW, said.dialogue, sequence, said.speaker, said.text)
