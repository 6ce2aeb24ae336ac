"""The largest resident set of one extraction, in MB: a process of its own, so that no other's
peak is in it.

    python benchmarks/resident.py CORPUS FEATURES MODALITY ENCODER

`bench_extract.py --memory` calls it.
"""

import sys

from measure import Memory

from erc_features.extraction.extract import extract


def main(corpus: str, features: str, modality: str, encoder: str) -> None:
    with Memory() as memory:
        (made,) = extract(corpus, features=features, modality=modality, encoder=encoder, name="m")
    if made.already or made.counts["failed"] or made.counts["missing"]:
        sys.exit(f"{corpus}: {dict(made.counts)}; all rows were to be encoded.")
    print(f"{memory.most:.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
