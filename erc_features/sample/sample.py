"""Renders a small corpus in the shape of MELD.Raw, offline and in a few seconds.

It has drawn faces, synthesised voices and written sentences, as H.264 and AAC in mp4 by moviepy,
with the file names, annotation columns and kinds of defects of MELD. It is for demonstrations and
tests: what a model scores on it says nothing about people. `script` decides what is said and felt;
`face` and `voice` show it.
"""

import csv
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from moviepy import VideoClip

from erc_features.errors import ErcError
from erc_features.sample.face import FPS, draw_frames
from erc_features.sample.script import SPLITS, Line, write_script
from erc_features.sample.voice import RATE, speak
from erc_features.threads import our_cores
from erc_features.utterance import Split

# Dialogues of train, dev and test, with about 310, 65 and 160 utterances.
DIALOGUES = (48, 10, 24)

# The folders that MELD's three tar.gz files unpack to.
FOLDERS = {
    Split.TRAIN: "train/train_splits",
    Split.DEV: "dev/dev_splits_complete",
    Split.TEST: "test/output_repeated_splits_test",
}
COLUMNS = (
    "Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID",
    "Season", "Episode", "StartTime", "EndTime",
)  # fmt: skip

# The utterances that are broken on purpose: (split, dialogue, utterance).
TRUNCATED = (Split.TRAIN, 1, 1)
MISSING = (Split.DEV, 1, 1)
NO_AUDIO = (Split.TEST, 0, 1)
# No duration, and an hour of one digit, like MELD's test dia155_utt3. Its clip is whole.
BAD_TIME = (Split.TEST, 1, 2)


@dataclass(frozen=True, slots=True)
class SampleSummary:
    """What was rendered.

    Attributes:
        dialogues, utterances: how many train, dev and test have; utterances are rows of the CSVs.
        clips: how many mp4 files were written, including the truncated one.
        seconds: the duration of all clips together.
        defects: where each kind of defect was made on purpose.
    """

    dialogues: tuple[int, int, int]
    utterances: tuple[int, int, int]
    clips: int
    seconds: float
    defects: dict[str, str]


def sample(
    dest: Path,
    *,
    seed: int = 0,
    dialogues: tuple[int, int, int] = DIALOGUES,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SampleSummary:
    """Render a raw MELD-shaped corpus into `dest`; the CSVs come last.

    The same seed and dialogues give the same CSV bytes and the same clips, whatever `jobs`.

    Args:
        dest: a folder that does not exist yet, or is empty.
        seed: 0 or more.
        dialogues: how many for train, dev and test; at least 2 each, of 5 to 8 utterances.
        jobs: clips rendered at once; the number of processors by default.
        progress: called with (clips done, clips).

    Raises:
        ErcError: `dest` is a file or not empty, an argument is out of range, or a clip
            cannot be written (a full disk).
    """
    dest = Path(dest)
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise ErcError(f"{dest} exists and is not an empty folder; name a new one, or remove it.")
    if seed < 0 or min(dialogues) < 2 or (jobs is not None and jobs < 1):
        raise ErcError(
            f"Cannot render seed {seed} with {dialogues} dialogues in {jobs} jobs. Seeds start at "
            "0; train, dev and test need at least 2 dialogues each; jobs must be at least 1."
        )
    lines = write_script(seed, dialogues)
    filmed = [line for line in lines if _place(line) != MISSING]
    try:
        for folder in FOLDERS.values():
            (dest / folder).mkdir(parents=True, exist_ok=True)
        # Threads, not processes: of a clip's 54 ms of CPU, 41 are ffmpeg's, in its own process.
        with (
            TemporaryDirectory(prefix="erc-sample-") as scratch,
            ThreadPoolExecutor(jobs or our_cores()) as pool,
        ):
            clips = pool.map(lambda line: _render(line, seed, dest, Path(scratch)), filmed)
            for done, _ in enumerate(clips, start=1):
                if progress is not None:
                    progress(done, len(filmed))
        for split in SPLITS:
            rows = [line for line in lines if line.split == split]
            _write_csv(dest / f"{split}_sent_emo.csv", rows)
    except OSError as error:  # moviepy raises ffmpeg's errors as OSError too
        raise ErcError(f"Cannot render into {dest}: {error}") from error
    train, dev, test = (sum(line.split == split for line in lines) for split in SPLITS)
    return SampleSummary(
        dialogues=dialogues,
        utterances=(train, dev, test),
        clips=len(filmed),
        seconds=sum(line.seconds for line in filmed),
        defects={
            "truncated clip": _named(*TRUNCATED),
            "missing clip": _named(*MISSING),
            "no audio stream": _named(*NO_AUDIO),
            "no duration": _named(*BAD_TIME),
            "gap in utterance numbers": _named(Split.TRAIN, 0, 2),
        },
    )


def _place(line: Line) -> tuple[Split, int, int]:
    return line.split, line.dialogue, line.utterance


def _named(split: Split, dialogue: int, utterance: int) -> str:
    return f"{split} dia{dialogue}_utt{utterance}"


def _render(line: Line, seed: int, dest: Path, scratch: Path) -> None:
    rng = line.rng(seed)
    sound, loudness = speak(rng, line.speaker, line.voice, line.seconds)
    frames = draw_frames(rng, line.speaker, line.face, line.seconds, loudness)
    name = f"dia{line.dialogue}_utt{line.utterance}"
    path = dest / FOLDERS[line.split] / f"{name}.mp4"

    # Writing the WAV here saves moviepy one ffmpeg process per clip, which is half of the time.
    wav = scratch / f"{line.split}-{name}.wav"
    with wave.open(str(wav), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    clip = VideoClip(
        lambda t: frames[min(round(t * FPS), len(frames) - 1)], duration=len(frames) / FPS
    )
    clip.write_videofile(
        str(path),
        fps=FPS,
        codec="libx264",
        preset="ultrafast",
        threads=1,
        audio=False if _place(line) == NO_AUDIO else str(wav),
        audio_codec="aac",
        logger=None,
    )
    wav.unlink()

    # moviepy ignores ffmpeg's exit code, but a whole mp4 ends with its index.
    content = path.read_bytes() if path.exists() else b""
    if b"moov" not in content:
        raise ErcError(f"Cannot write {path}: ffmpeg did not finish it; is the disk full?")
    if _place(line) == TRUNCATED:
        path.write_bytes(content[: len(content) * 6 // 10])


def _write_csv(path: Path, lines: list[Line]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for number, line in enumerate(lines, start=1):
            # Some of MELD's dialogues write the hour with one digit.
            hour = "0" if line.dialogue % 10 == 1 else "00"
            end = line.start if _place(line) == BAD_TIME else line.end
            writer.writerow((
                number, line.text, line.speaker, line.emotion, line.sentiment, line.dialogue,
                line.utterance, line.season, line.episode,
                _time(line.start, hour), _time(end, hour),
            ))  # fmt: skip


def _time(milliseconds: int, hour: str) -> str:
    """A subtitle time like `00:21:01,927`; the sample's episodes last less than an hour."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{hour}:{seconds // 60:02d}:{seconds % 60:02d},{rest:03d}"
