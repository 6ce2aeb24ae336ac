"""openSMILE's functionals, rows a second: `erc extract` from WAV files to HDF5 with two workers,
against the package's own `Smile.process_files` over the same files with one.

    .venv/bin/python benchmarks/bench_opensmile.py                      about a minute

Mono WAV files at 16 kHz of MELD's lengths; each turn measures every line. Target: at least 1.8
times `process_files` for each feature set (two cores).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from measure import in_turns, machine, markdown, rate, write_section
from media import generated, make_corpus

from erc_features.extraction.extract import extract
from erc_features.threads import let_waiting_threads_sleep
from erc_features.utterance import Modality


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=150)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--sets", default="eGeMAPSv02,ComParE_2016")
    parser.add_argument("--write", action="store_true", help="into RESULTS.md")
    asked = parser.parse_args()
    let_waiting_threads_sleep()
    rows = [["feature set", "line", "rows/s, median", "of process_files"]]
    with tempfile.TemporaryDirectory() as place:
        corpus = make_corpus(Path(place) / "data", generated(asked.rows), Modality.AUDIO)
        files = [str(corpus.root / u.x_audio) for u in corpus.utterances]
        for features in asked.sets.split(","):
            found = in_turns(
                {
                    "process_files, 1 worker": rate(lambda f=features: peer(f, files), asked.rows),
                    "erc extract, 2 workers": rate(
                        lambda f=features: ours(f, corpus, place), asked.rows
                    ),
                },
                asked.turns,
                print,
            )
            slow = found["process_files, 1 worker"]
            for name, rates in found.items():
                ratio = np.median([a / b for a, b in zip(rates, slow, strict=True)])
                rows.append([features, name, f"{np.median(rates):.1f}", f"{ratio:.2f}"])
    body = markdown(rows)
    print(body)
    if asked.write:
        write_section("benchmarks/bench_opensmile.py", None, machine(), body)


def peer(features: str, files: list[str]) -> None:
    import opensmile

    opensmile.Smile(
        feature_set=opensmile.FeatureSet[features],
        feature_level=opensmile.FeatureLevel.Functionals,
        num_workers=1,
    ).process_files(files)


def ours(features: str, corpus: object, place: str) -> None:
    with tempfile.TemporaryDirectory(dir=place) as folder:
        extract(corpus, features=folder, modality="audio", encoder=f"opensmile:{features}",
                workers=2)  # fmt: skip


if __name__ == "__main__":
    main()
