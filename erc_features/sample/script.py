"""Writes the sample corpus's dialogues: who says what, with which emotion, and how it shows.

The emotions are MELD's, in about MELD's shares (Poria et al. 2019). Fusion is useful by design:
each modality shows only the group that an emotion belongs to, as in the table `SHOWN`, so words
cannot tell joy from surprise, a face cannot tell anger from disgust, and a voice shows
arousal but not valence: joy sounds like anger. Sometimes a modality shows nothing, or another
emotion. Emotions last: a dialogue's mood is a Markov chain, so context helps a model that has any.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from erc_features.utterance import Split

SPLITS = (Split.TRAIN, Split.DEV, Split.TEST)

# MELD's shares of the three splits together, rounded.
SHARES = {
    "neutral": 0.47,
    "joy": 0.17,
    "surprise": 0.12,
    "anger": 0.11,
    "sadness": 0.07,
    "disgust": 0.03,
    "fear": 0.03,
}
# What each modality shows of an emotion: words, face, voice.
SHOWN = {
    "neutral": ("plain", "rest", "level"),
    "joy": ("delight", "smile", "excited"),
    "surprise": ("delight", "wide", "startled"),
    "anger": ("complaint", "frown", "excited"),
    "sadness": ("worry", "frown", "subdued"),
    "disgust": ("complaint", "frown", "subdued"),
    "fear": ("worry", "wide", "startled"),
}
WORDS, FACES, VOICES = (
    {emotion: groups[index] for emotion, groups in SHOWN.items()} for index in range(3)
)

STAY = 0.55  # probability that an utterance keeps the mood of the one before
MASKED = 0.18  # probability that a modality shows nothing of an emotion
ERRATIC = 0.08  # probability that it shows another one

_PHRASES = {
    "plain": (
        "So, we could talk about {0} tomorrow.",
        "I think {0} is on the table.",
        "Did you two see {0} at the office?",
        "Okay, then I’ll take {0} with me.",
        "They moved {0} to the other room.",
        "Well, it’s about {0}, and then there’s lunch.",
        "Hey.",
        "Okay.",
        "All right, here’s {0}.",
    ),
    "delight": (
        "Oh my God, {0}!",
        "Wow, you got us {0}!",
        "No way! Is that really {0}?",
        "I can’t believe it, look at {0}!",
        "Wow! This is amazing, {0}!",
        "You’re kidding! Look, {0}!",
    ),
    "complaint": (
        "Ugh, stop it with {0}!",
        "That is so wrong, get {0} out of here!",
        "How could you do that to {0}?",
        "Ugh! I’ve had enough of {0}, “thank you very much.”",
        "No, don’t you dare touch {0}!",
        "That’s just horrible, and so is {0}.",
    ),
    "worry": (
        "What if we lose {0}…",
        "I don’t want to be alone with {0}.",
        "Please, don’t leave me here with {0}.",
        "I’m sorry, I just can’t lose {0} – not again.",
        "Oh no, something happened to {0}…",
        "Please, tell me {0} will be all right.",
    ),
}
_TOPICS = (
    "the cat", "my sister", "the apartment", "your boss", "the wedding", "that sandwich",
    "the letter", "Grandma’s ring", "the new couch", "the baby", "my audition", "the museum",
    "Dr. Green", "the turkey", "our old landlord", "the trip, you know, to London",
)  # fmt: skip
_OPENINGS = ("", "", "", "", "Look. ", "Listen. ", "You know what? ", "Y'know what? ")
_CAST = ("Ada", "Bruno", "Chidi", "Dora", "Emil", "Farah")


@dataclass(frozen=True, slots=True)
class Line:
    """One utterance of the script. `start` and `end` are milliseconds into the episode."""

    split: Split
    dialogue: int
    utterance: int
    speaker: str
    emotion: str
    sentiment: str
    text: str
    face: str
    voice: str
    season: int
    episode: int
    start: int
    end: int

    @property
    def seconds(self) -> float:
        """The clip's duration."""
        return (self.end - self.start) / 1000

    def rng(self, seed: int) -> np.random.Generator:
        """The clip's own generator: neither order nor process changes what is rendered."""
        return np.random.default_rng(
            [seed, SPLITS.index(self.split), self.dialogue, self.utterance, 1]
        )


def write_script(seed: int, dialogues: tuple[int, int, int]) -> list[Line]:
    """Write all dialogues in order. `dialogues`: how many train, dev and test have.

    Every emotion occurs in every split, at least nine tenths as often as its share says.
    The first train dialogue skips utterance 2, as 72 dialogues of MELD skip one.
    """
    lines: list[Line] = []
    for index, (split, count) in enumerate(zip(SPLITS, dialogues, strict=True)):
        rng = np.random.default_rng([seed, index])
        lengths = rng.integers(5, 9, count)
        moods = _balance(rng, [_moods(rng, length) for length in lengths])
        for dialogue, mood in enumerate(moods):
            gap = split is Split.TRAIN and dialogue == 0
            rng = np.random.default_rng([seed, index, dialogue])
            lines += _write_dialogue(rng, split, dialogue, mood, gap)
    return lines


def _moods(rng: np.random.Generator, length: int) -> list[str]:
    """A Markov chain whose stationary distribution is SHARES."""
    moods: list[str] = []
    for _ in range(length):
        stays = moods and rng.random() < STAY
        moods.append(moods[-1] if stays else str(rng.choice(list(SHARES), p=list(SHARES.values()))))
    return moods


def _balance(rng: np.random.Generator, dialogues: list[list[str]]) -> list[list[str]]:
    """Raise every emotion to at least nine tenths of its share and at least one utterance."""
    counts = Counter(mood for moods in dialogues for mood in moods)
    total = counts.total()
    least = {emotion: max(1, int(0.9 * share * total)) for emotion, share in SHARES.items()}
    for emotion in SHARES:
        while counts[emotion] < least[emotion]:
            giver = max(SHARES, key=lambda name: counts[name] - least[name])
            places = [
                (dialogue, position)
                for dialogue, moods in enumerate(dialogues)
                for position, mood in enumerate(moods)
                if mood == giver
            ]
            dialogue, position = places[rng.integers(len(places))]
            dialogues[dialogue][position] = emotion
            counts[giver] -= 1
            counts[emotion] += 1
    return dialogues


def _write_dialogue(
    rng: np.random.Generator, split: Split, dialogue: int, moods: list[str], gap: bool
) -> list[Line]:
    speakers = rng.choice(_CAST, size=rng.integers(2, 4), replace=False)
    season, episode = (int(n) for n in rng.integers(1, 10, 2))
    clock = int(rng.integers(60_000, 1_500_000))
    turn, lines = 0, []
    for position, emotion in enumerate(moods):
        start = clock + int(rng.integers(40, 1500))
        clock = start + int(rng.integers(1000, 1400))
        lines.append(
            Line(
                split=split,
                dialogue=dialogue,
                utterance=position + (1 if gap and position >= 2 else 0),
                speaker=str(speakers[turn]),
                emotion=emotion,
                sentiment=_sentiment(rng, emotion),
                text=_say(rng, _shown(rng, WORDS, emotion)),
                face=_shown(rng, FACES, emotion),
                voice=_shown(rng, VOICES, emotion),
                season=season,
                episode=episode,
                start=start,
                end=clock,
            )
        )
        turn = (turn + int(rng.integers(1, len(speakers)))) % len(speakers)
    return lines


def _sentiment(rng: np.random.Generator, emotion: str) -> str:
    if emotion == "surprise":  # of either sentiment, as in MELD
        return str(rng.choice(["positive", "negative"]))
    return {"neutral": "neutral", "joy": "positive"}.get(emotion, "negative")


def _shown(rng: np.random.Generator, groups: dict[str, str], emotion: str) -> str:
    """The group that one modality shows of an emotion: its own, none, or a wrong one."""
    draw = rng.random()
    if draw < MASKED:
        return groups["neutral"]
    if draw < MASKED + ERRATIC:
        return str(rng.choice(sorted(set(groups.values()))))
    return groups[emotion]


def _say(rng: np.random.Generator, group: str) -> str:
    phrase = str(rng.choice(_PHRASES[group])).format(rng.choice(_TOPICS))
    return f"{rng.choice(_OPENINGS)}{phrase}"
