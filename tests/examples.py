"""The folder that the examples in docstrings are about: two feature files and a run of "meld"."""

from pathlib import Path

from fusion_files import embeddings, make_corpus, write_features


def make_examples(folder: Path) -> Path:
    """`features/meld/*.h5` and `runs/meld/mlp` below `folder`."""
    from report_runs import write_run

    corpus = make_corpus()
    for stem, layers, dim in (("text.bert-base-uncased", 1, 12), ("audio.wav2vec2-base", 3, 8)):
        x = embeddings(corpus, layers, dim, seed=dim)
        write_features(folder / "features" / "meld", stem, corpus, x)
    write_run(folder / "runs", "mlp")
    return folder
