"""Answers as JSON, and what OpenAPI says of each route."""

from typing import Any

from erc_fusion.serving.answering import Answered as Found
from erc_fusion.serving.loaded import Loaded
from erc_fusion.serving.schema import Answered, Card, Kept, Prediction, Problem, Said, Talk

_LINES = (
    '{"speaker": "Monica", "text": "Nothing to tell!"}\n{"speaker": "Joey", "text": "Come on!"}\n'
)
_FORM_LINES = (
    '{"speaker": "Joey", "text": "Come on!", "clip": "a"}\n{"text": "So?", "sound": "b"}\n'
)


def answers(found: Found, loaded: Loaded) -> list[dict[str, Any]]:
    """Each answer as :class:`.schema.Answered` has it."""
    probability = found.probability.astype(float)  # (S, N, C)
    deviation = probability.std(0, ddof=1 if len(probability) > 1 else 0)  # (N, C)
    low, high = probability.min(0), probability.max(0)
    stems = [reader.stem for reader in loaded.readers]
    shares = None if found.weights is None else found.weights.astype(float).mean(0)  # (N, M)
    return [
        {
            "dialogue": each.dialogue,
            "sequence": each.sequence,
            "speaker": each.speaker,
            "text": each.text,
            "label": each.emotion,
            "probabilities": dict(each.probability),
            "spread": {
                label: {
                    "deviation": float(deviation[n, c]),
                    "lowest": float(low[n, c]),
                    "highest": float(high[n, c]),
                }
                for c, label in enumerate(loaded.labels)
            },
            "agreement": each.agreement,
            "weights": None
            if shares is None else dict(zip(stems, shares[n].tolist(), strict=True)),
            "missing": dict(each.without),
            "numbers": dict(each.numbers),
            "deviation": dict(each.deviation),
        }
        for n, each in enumerate(found.answers)
    ]  # fmt: skip


def _wrong(*codes: int) -> dict[int | str, dict[str, Any]]:
    what = {
        401: "The token is missing or wrong.", 404: "No such dialogue.", 408: "Sent too slowly.",
        409: "The dialogue is full.", 413: "Too large.", 415: "Of no kind that is taken.",
        422: "Not what is expected; says what would be.",
        429: "Too much at a time; Retry-After says when to come back.",
    }  # fmt: skip
    return {code: {"model": Problem, "description": what[code]} for code in codes}


def _body(json: type, example: Any, *, lines: bool) -> dict[str, Any]:
    """A request's body: JSON, lines of it, or a form with files."""
    form = {
        "type": "object",
        "description": "A field dialogue with JSON lines that name the parts with their files; or "
        "one utterance: text, speaker, and files called clip, sound, picture.",
        "properties": {
            "dialogue": {"type": "string", "example": _FORM_LINES},
            "text": {"type": "string"},
            "speaker": {"type": "string"},
            **{n: {"type": "string", "format": "binary"} for n in ("clip", "sound", "picture")},
        },
        "additionalProperties": {"type": "string", "format": "binary"},
    }
    content: dict[str, Any] = {
        "application/json": {"schema": json.model_json_schema(), "example": example},  # type: ignore[attr-defined]
        "multipart/form-data": {"schema": form},
    }
    if lines:
        content["application/x-ndjson"] = {"schema": {"type": "string"}, "example": _LINES}
    return {"requestBody": {"required": True, "content": content}}


_TURN = {"speaker": "Joey", "text": "Come on, he's going out with you!"}
PREDICT: dict[str, Any] = {
    "tags": ["prediction"],
    "responses": {200: {"model": Prediction}, **_wrong(401, 408, 413, 415, 422, 429)},
    "openapi_extra": _body(Talk, {"utterances": [_TURN]}, lines=True),
}
BEGIN: dict[str, Any] = {
    "tags": ["dialogues"],
    "status_code": 201,
    "responses": {201: {"model": Kept}, **_wrong(401, 429)},
}
SAY: dict[str, Any] = {
    "tags": ["dialogues"],
    "responses": {200: {"model": Answered}, **_wrong(401, 404, 408, 409, 413, 415, 422, 429)},
    "openapi_extra": _body(Said, _TURN, lines=False),
}
END: dict[str, Any] = {
    "tags": ["dialogues"],
    "status_code": 204,
    "responses": _wrong(401, 404),
}
MODEL: dict[str, Any] = {
    "tags": ["model"],
    "responses": {200: {"model": Card}, **_wrong(401)},
}
