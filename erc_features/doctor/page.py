"""A diagnosis as one self-contained HTML file: it has no scripts and fetches nothing."""

from pathlib import Path

from erc_features import pages
from erc_features.doctor.doctor import Diagnosis
from erc_features.doctor.examples import choose_examples, load_examples
from erc_features.doctor.tables import count, done, printable, sentences, tables
from erc_features.whole_file import whole_file

_PLACES = 100  # the most defects of a kind that the page lists


def write_page(diagnosis: Diagnosis, to: Path | str) -> Path:
    """Write the page to `to`, whole or not at all.

    Raises:
        ErcError: `to` is a folder or cannot be written.
    """
    to = Path(to)
    with whole_file(to, "choose another file with --html") as part:
        part.write_text(render(diagnosis), encoding="utf-8", errors="replace")
    return to


def render(diagnosis: Diagnosis) -> str:
    """The page as text. The media of the examples are decoded for it."""
    from markupsafe import Markup, escape

    def softly(cell: str) -> str:
        """A cell like "4,710 (47.2%)" with its share in small letters."""
        number, bracket, share = cell.partition(" (")
        return Markup("{} <small>({}</small>").format(number, share) if bracket else escape(cell)

    environment = pages.environment(Path(__file__).parent)
    environment.filters.update(printable=printable, softly=softly)
    corpus = diagnosis.corpus
    return environment.get_template("doctor.html").render(
        name=printable(corpus.name or str(corpus.root)),
        path=printable(str(corpus.root)),
        kind=diagnosis.kind,
        labels=[printable(label) for label in corpus.labels],
        fingerprint=corpus.fingerprint,
        sentences=sentences(diagnosis),
        tables=tables(diagnosis),
        kinds=[
            {
                "name": printable(kind),
                "count": count(defects),
                "done": printable(done(defects)),
                "places": [(printable(d.where), printable(d.detail)) for d in defects[:_PLACES]],
                "more": max(0, len(defects) - _PLACES),
            }
            for kind, defects in diagnosis.by_kind.items()
        ],
        examples=load_examples(corpus, choose_examples(corpus)),
    )
