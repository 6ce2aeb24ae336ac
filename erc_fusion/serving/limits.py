"""What a server accepts of strangers."""

from dataclasses import dataclass

from erc_features.errors import ErcError


@dataclass(frozen=True)
class Limits:
    """Limits of a server; beyond them a request is refused, or costs only itself.

    Attributes:
        body: bytes of a request with files.
        lines: bytes of a request without files, or of the lines beside files.
        utterances: of one request, and of one kept dialogue.
        text, speaker: characters.
        waiting: requests that are received, waited for or computed at one time.
        head_seconds, body_seconds: in which a client must have sent them.
        clip_seconds: in which the media of one utterance must be decoded.
        longest: seconds of sound of one utterance.
        pixels: bytes of the decoded pictures, or of the sound, of one utterance.
        dialogues: how many are kept; kept_rows: utterances of all of them together.
        idle: seconds after which a dialogue that nobody adds to is forgotten.
    """

    body: int = 32 << 20
    lines: int = 1 << 20
    utterances: int = 256
    text: int = 4000
    speaker: int = 200
    waiting: int = 64
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    clip_seconds: float = 20.0
    longest: float = 120.0
    pixels: int = 64 << 20
    dialogues: int = 256
    kept_rows: int = 16_384
    idle: float = 1800.0

    def __post_init__(self) -> None:
        for name in ("body", "waiting", "clip_seconds"):
            if getattr(self, name) <= 0:
                raise ErcError(f"{name} is {getattr(self, name)}; it must be above 0.")
