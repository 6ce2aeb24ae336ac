"""The JSON that goes in and out, as OpenAPI describes it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_TURN: Any = {"speaker": "Monica", "text": "There's nothing to tell!"}
_ANSWER: Any = {
    "dialogue": 0,
    "sequence": 0,
    "speaker": "Monica",
    "text": "There's nothing to tell!",
    "label": "neutral",
    "probabilities": {"joy": 0.18, "neutral": 0.74, "sadness": 0.08},
    "spread": {"neutral": {"deviation": 0.04, "lowest": 0.69, "highest": 0.78}},
    "agreement": 1.0,
    "weights": {"text.minilm": 0.8, "audio.wav2vec2-base": 0.2},
    "missing": {"visual.vit": "the corpus has no visual for it"},
    "numbers": {},
    "deviation": {},
}


class Said(BaseModel):
    """One utterance. `clip`, `sound` and `picture` are names of parts of the same multipart
    request that hold the files; they are never opened as paths or URLs."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_TURN]})

    text: str = Field("", description="What is said; may be empty.")
    speaker: str = Field("", description="Who says it; may be empty.")
    dialogue: int = Field(0, ge=0, lt=2**31, description="Utterances of one dialogue share it.")
    clip: str | None = Field(None, description="Part that is its video: picture and sound.")
    sound: str | None = Field(None, description="Part that is its sound.")
    picture: str | None = Field(None, description="Part that is its picture.")


class Talk(BaseModel):
    """Utterances in the order in which they were said."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"utterances": [_TURN, {"speaker": "Joey", "text": "Come on!"}]}]
        },
    )

    utterances: list[Said] = Field(min_length=1)


class Spread(BaseModel):
    """How far the seeds are apart: sample deviation, and the lowest and highest of them."""

    deviation: float
    lowest: float
    highest: float


class Answered(BaseModel):
    """What the run says of an utterance."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ANSWER]})

    dialogue: int
    sequence: int
    speaker: str
    text: str
    label: str = Field(description="The most probable label; joined by | where a row has several.")
    probabilities: dict[str, float] = Field(description="The mean over the seeds.")
    spread: dict[str, Spread] = Field(description="Of each label's probability, over the seeds.")
    agreement: float = Field(description="The share of seeds that choose this label themselves.")
    weights: dict[str, float] | None = Field(
        description="The head's weight of each feature file, 0 to 1; null where it has none."
    )
    missing: dict[str, str] = Field(description="Feature file -> why it is missing.")
    numbers: dict[str, float] = Field(description="Of a run that predicts numbers.")
    deviation: dict[str, float] = Field(description="Of these numbers, over the seeds.")


class Prediction(BaseModel):
    """The answer to a request, in the order of its utterances."""

    utterances: list[Answered]


class Kept(BaseModel):
    """A dialogue that is kept, for utterances one by one."""

    id: str = Field(examples=["rP3v0mQ8gqU0b5cT1s2dWA"])
    utterances: int = Field(description="How many it has so far.", examples=[0])
    expires_in: float = Field(description="Seconds without an utterance.", examples=[1800.0])


class Problem(BaseModel):
    """What is wrong, and what would work."""

    detail: str = Field(examples=["Line 2: text has 5,210 characters; at most 4,000 are taken."])


class Card(BaseModel):
    """The run: what it predicts, how well, from what, and what it is not for."""

    model_config = ConfigDict(extra="allow")

    name: str
    corpus: str
    labels: list[str]
    figures: dict[str, Any] = Field(
        description="Split -> score -> mean, deviation over seeds, 95% interval."
    )
    hashes: dict[str, Any]
    intended_use: list[str]
    limits: list[str]
