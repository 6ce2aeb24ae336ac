"""Reads EmoDB by its file names (Burkhardt et al. 2005, "A Database of German Emotional Speech",
Interspeech).

    anywhere below the source: 03a01Fa.wav and so on

A name is speaker, sentence, emotion, version. The emotion is the first letter of the German word:
W Wut (anger), L Langeweile (boredom), E Ekel (disgust), A Angst (anxiety), F Freude (happiness), T
Trauer (sadness), N neutral.

Published: 535 utterances of ten speakers, those that at least 80% of the listeners recognised. Its
version 2.0 (audeering/emodb) adds the other 281. As an audformat database, it is read by that.
"""

from pathlib import Path

from erc_features.corpora.file_names import (
    by_utterance,
    clip_of,
    counted,
    named_files,
    sentence,
    sound_of,
)
from erc_features.corpora.raw import RawCorpus

EMOTIONS = {"W": "anger", "L": "boredom", "E": "disgust", "A": "anxiety", "F": "happiness",
            "T": "sadness", "N": "neutral"}  # fmt: skip
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
_MEN = frozenset({"03", "10", "11", "12", "15"})
PUBLISHED, LATER = 535, 816


def read_emodb(source: Path) -> RawCorpus | None:
    """Read EmoDB; None where no file below `source` is called like one of its.

    Raises:
        CorpusError: as :func:`named_files`.
    """
    if (surveyed := named_files(source, "EmoDB")) is None:
        return None
    files, defects = surveyed
    rows = []
    named = by_utterance(source, ((file.parts, file.path) for file in files), defects)
    for number, (parts, forms) in enumerate(sorted(named.items())):
        speaker, code, letter, version = parts
        more = {
            "sentence": code,
            "version": version,
            "gender": "male" if speaker in _MEN else "female",
        }
        text = SENTENCES.get(code, "")
        files_of = {"sound": sound_of(forms) or clip_of(forms)}
        rows.append(sentence(number, speaker, text, EMOTIONS[letter], more, files_of))
    if len(rows) == LATER:
        note = f"{LATER:,} utterances of EmoDB, as in its version 2.0 (audeering/emodb)."
    else:
        note = counted("utterances of EmoDB", len(rows), PUBLISHED, "Burkhardt et al. 2005")
    labels = tuple(EMOTIONS.values())
    return RawCorpus("emodb", source, tuple(rows), labels, tuple(defects), (note,))
