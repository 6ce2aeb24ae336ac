"""Whisper's encoder, rows a second: erc's `tight` and `reference` windows against calling the model
sound by sound, as its page shows, and against the bare forward of the same batches.

    .venv/bin/python benchmarks/bench_whisper.py --encoder ENCODERS/whisper-base     about 3 minutes
    .venv/bin/python benchmarks/bench_whisper.py                     the same size, random weights

Sounds of 2 to 4 s of noise; a line is one pass over them; each turn measures every line. Targets:
tight at least 10 times the one-by-one calls, and at least 0.9 of its bare forward.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from measure import in_turns, machine, markdown, rate, write_section

from erc_features.encoders import load_encoder
from erc_features.encoders.base import Settings
from erc_features.threads import let_waiting_threads_sleep
from erc_features.utterance import Modality

_BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="random:whisper-base")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--slow-rows", type=int, default=6, help="of the lines that read 30 s")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="into RESULTS.md")
    asked = parser.parse_args()
    let_waiting_threads_sleep()
    random = np.random.default_rng(0)
    lengths = random.integers(32_000, 64_000, asked.rows)
    sounds = [(0.1 * random.standard_normal(n)).astype(np.float32) for n in lengths]
    sounds.sort(key=len, reverse=True)  # as a plan of erc has them
    few = sounds[:: max(1, asked.rows // asked.slow_rows)][: asked.slow_rows]
    tight, loose = (
        load_encoder(asked.encoder, Modality.AUDIO, Settings(window=window))
        for window in ("tight", "reference")
    )
    batches = [sounds[first : first + _BATCH] for first in range(0, len(sounds), _BATCH)]
    spectra = [[tight._spectrum(s)[:, : 2 * -(-len(s) // 320)] for s in batch] for batch in batches]

    def one_by_one() -> None:
        from transformers import WhisperFeatureExtractor

        extractor = WhisperFeatureExtractor(feature_size=len(loose.mels))
        for sound in few:
            features = extractor(sound, sampling_rate=16_000, return_tensors="pt").input_features
            with torch.no_grad():
                states = loose.model(features, output_hidden_states=True).hidden_states
                torch.stack([state.mean(1) for state in states])

    def bare() -> None:
        with torch.inference_mode():
            for batch in spectra:
                tight._tight(batch)

    lines: dict[str, tuple[Callable[[], object], int]] = {
        "called one by one, 30 s each": (one_by_one, len(few)),
        "erc, reference": (lambda: loose.encode(few), len(few)),
        "bare forward, tight": (bare, asked.rows),
        "erc, tight": (lambda: [tight.encode(batch) for batch in batches], asked.rows),
    }

    found = in_turns(
        {name: rate(*line) for name, line in lines.items()}, asked.turns, lambda s: print(s)
    )
    slow, fast = found["called one by one, 30 s each"], found["erc, tight"]
    rows = [["line", "rows/s, median", "of one by one"]]
    for name, rates in found.items():
        ratio = np.median([a / b for a, b in zip(rates, slow, strict=True)])
        rows.append([name, f"{np.median(rates):.2f}", f"{ratio:.2f}"])
    share = np.median([a / b for a, b in zip(fast, found["bare forward, tight"], strict=True)])
    body = f"{markdown(rows)}\n\nTight is {share:.2f} of its bare forward."
    print(body)
    if asked.write:
        write_section("benchmarks/bench_whisper.py", None, machine(), body)


if __name__ == "__main__":
    main()
