"""The utterances of a request: JSON, JSON lines, or the fields of a form."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import ValidationError
from starlette.exceptions import HTTPException

from erc_features.corpora.cells import plain_text
from erc_fusion.serving.limits import Limits
from erc_fusion.serving.schema import Said, Talk

LINES = ("application/x-ndjson", "application/jsonl", "application/jsonlines", "text/plain")
_T = TypeVar("_T", Said, Talk)
_FILES = ("clip", "sound", "picture")


def refused(detail: str, status: int = 422) -> HTTPException:
    return HTTPException(status, detail)


def read_talk(body: bytes, lines: bool, limits: Limits) -> list[Said]:
    """The utterances of a body, in plain form as `erc predict --text` makes them.

    Raises:
        HTTPException: 422, says which line or field is wrong.
    """
    if lines:
        found = []
        for number, line in enumerate(body.split(b"\n"), start=1):
            if line.strip():
                found.append(_parse(Said, line, f"Line {number}"))
                if len(found) > limits.utterances:
                    break
        if not found:
            raise refused('The request has no line; {"speaker": "Joey", "text": "Hi!"} is one.')
    else:
        found = _parse(Talk, body, "The body").utterances
    return checked(found, limits)


def read_one(body: bytes, limits: Limits) -> Said:
    """The one utterance of a body; errors are those of :func:`read_talk`."""
    return checked([_parse(Said, body, "The body")], limits)[0]


def from_form(fields: Mapping[str, str], files: Sequence[str], limits: Limits) -> list[Said]:
    """The utterances of a form: its field `dialogue`, with JSON lines; or the fields `text` and
    `speaker` and files called `clip`, `sound` and `picture`, which are one utterance."""
    if "dialogue" in fields:
        if others := sorted(set(fields) - {"dialogue"}):
            raise refused(f"Beside dialogue, the form has {_shown(others)}: leave these out.")
        return read_talk(fields["dialogue"].encode(), True, limits)
    if unknown := sorted(set(fields) - {"text", "speaker"} | set(files) - set(_FILES)):
        raise refused(
            f"The form has {_shown(unknown)}. Without a field dialogue, text, speaker, clip, sound "
            "and picture are known, of one utterance."
        )
    named = {name: name for name in files}
    one = Said(
        text=fields.get("text", ""), speaker=fields.get("speaker", ""), clip=named.get("clip"),
        sound=named.get("sound"), picture=named.get("picture"),
    )  # fmt: skip
    return checked([one], limits)


def checked(found: list[Said], limits: Limits) -> list[Said]:
    """The utterances, if they are within the limits."""
    if len(found) > limits.utterances:
        raise refused(f"At most {limits.utterances} utterances are taken at a time.", 413)
    for number, said in enumerate(found, start=1):
        for name, most in (("text", limits.text), ("speaker", limits.speaker)):
            if (length := len(getattr(said, name))) > most:
                raise refused(
                    f"Utterance {number}: {name} has {length:,} characters; at most {most:,} are "
                    "taken."
                )
    return [said.model_copy(update={"text": plain_text(said.text)}) for said in found]


def _parse(kind: type[_T], body: bytes, what: str) -> _T:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        # What was sent is not repeated: it may be long, or not even JSON.
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(step)[:40] for step in first["loc"][:6])
        raise refused(f"{what}: {f'{where}: ' if where else ''}{first['msg'][:300]}") from error


def _shown(names: Sequence[str]) -> str:
    return ", ".join(ascii(name[:40]) for name in names[:5])
