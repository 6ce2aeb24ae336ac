"""Other people's scores on MELD's test split, to show beside ours in a block of their own.

They are reported, not reproduced. Each says what its source says and no more: what the source
leaves out is "not stated". They were looked up in the sources' own repositories; where code says
how the epoch was chosen, the code counts.
"""

from dataclasses import dataclass

from erc_fusion.report.comparison import Comparison

MARK = "reported, not reproduced"
_LABELS = {"anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"}
ROWS = 2610  # of MELD's test split


@dataclass(frozen=True)
class Published:
    """A score from elsewhere.

    Attributes:
        weighted_f1: on MELD's test split, seven emotions, 0 to 1.
        digits: how many decimals of its percent the source gives.
        tuned: what was fine-tuned.
        epoch: how the epoch was chosen, and how many seeds the score covers.
        source: where it was published.
    """

    name: str
    weighted_f1: float
    digits: int
    tuned: str
    epoch: str
    source: str
    mark: str = MARK

    @property
    def percent(self) -> str:
        """As precise as its source: "57", "65.21"."""
        return f"{100 * self.weighted_f1:.{self.digits}f}"


_CONV_EMOTION = "README of github.com/declare-lab/conv-emotion"

FIGURES: tuple[Published, ...] = (
    Published(
        "HLM12ERC",
        0.57,
        0,
        "GPT-2, ResNet-50 and wav2vec2, end to end under attention fusion",
        "early stopping on dev weighted F1; one seed",
        "Mendes 2023, github.com/hudsonmendes/uolondon-cm3070-fp",
    ),
    Published(
        "MM-DFN",
        0.5946,
        2,
        "no encoder: TextCNN, openSMILE and DenseNet features",
        "the best epoch on test (its run_train_erc.py); one seed (2021)",
        "Hu et al. 2022; README of github.com/zerohd4869/MM-DFN",
    ),
    Published(
        "RoBERTa", 0.6202, 2, "RoBERTa, on text", "not stated; seeds not stated", _CONV_EMOTION
    ),
    Published(
        "RoBERTa with DialogueRNN",
        0.6361,
        2,
        "RoBERTa, on text; its features then stay fixed",
        "not stated; seeds not stated",
        _CONV_EMOTION,
    ),
    Published(
        "COSMIC",
        0.6521,
        2,
        "RoBERTa-large, on text; its features then stay fixed, beside COMET's",
        "dev, by loss or by weighted F1 (its train_meld.py prints both); seeds not stated",
        f"Ghosal et al. 2020; {_CONV_EMOTION}",
    ),
    Published(
        "EmoBERTa",
        0.6561,
        2,
        "RoBERTa-large, on text with speakers' names, past and future utterances",
        "dev weighted F1; mean of five seeds",
        "Kim & Vossen 2021; README of github.com/tae898/erc",
    ),
)


def published_for(comparison: Comparison) -> tuple[Published, ...]:
    """The scores to show beside this comparison: none unless its labels are MELD's seven."""
    return FIGURES if {label.lower() for label in comparison.corpus.labels} == _LABELS else ()


def published_note(comparison: Comparison) -> str:
    """How to read them beside ours; "" where none are shown."""
    if not published_for(comparison):
        return ""
    note = (
        "Weighted F1 on MELD's test split as others report it, not reproduced here. What was "
        "fine-tuned and how the epoch was chosen differ; an epoch chosen on test flatters."
    )
    rows = comparison.corpus.counts.get("test")
    if rows != ROWS:
        note += (
            f" This corpus has {rows or 0:,} test rows and MELD's test split {ROWS:,}: "
            "these figures are not of the same rows as ours."
        )
    return note
