"""An encoder whose device works by itself: the next batch is queued before the last is fetched."""

import numpy as np
import pytest

from erc_features.encoders.launch import launcher
from erc_features.errors import EncoderError
from erc_features.extraction.engines.local import run_local


class Card:
    """Notes when batches are queued and fetched; `device` says where it claims to be."""

    name, layers, dim = "card", 1, 1

    def __init__(self, device, bad=()):
        self.device, self.bad, self.said = device, bad, []

    def encode(self, items):
        return self.launch(items)()

    def launch(self, items):
        if ("queue", len(items)) in self.bad:
            raise RuntimeError("out of memory")
        self.said.append(f"queue {items[0]}")

        def wait():
            self.said.append(f"fetch {items[0]}")
            if ("fetch", len(items)) in self.bad:
                raise RuntimeError("later")
            return np.array(items, np.float32)[:, None, None]

        return wait


BATCHES = [np.array([0, 1]), np.array([2, 3]), np.array([4])]


def run(encoder):
    found = []
    for batch in run_local(BATCHES, lambda row: row, encoder, "float32", 1):
        encoder.said.append(f"write {batch.rows[0]}")
        found.append(batch)
    return found


def test_on_a_card_the_next_batch_is_queued_before_the_last_is_fetched_and_written():
    encoder = Card("cuda")
    found = run(encoder)
    assert [batch.x.ravel().tolist() for batch in found] == [[0, 1], [2, 3], [4]]
    assert encoder.said == [
        "queue 0", "queue 2", "fetch 0", "write 0", "queue 4", "fetch 2", "write 2", "fetch 4",
        "write 4",
    ]  # fmt: skip


def test_on_the_cpu_each_batch_is_written_at_once():
    encoder = Card("cpu")
    run(encoder)
    assert encoder.said == [f"{what} {row}" for row in (0, 2, 4)
                            for what in ("queue", "fetch", "write")]  # fmt: skip


@pytest.mark.parametrize("when", ["queue", "fetch"])
def test_a_batch_that_fails_at_either_time_is_halved(when):
    found = run(Card("cuda", {(when, 2)}))
    assert [batch.x.ravel().tolist() for batch in found] == [[0, 1], [2, 3], [4]]
    assert all((batch.status == 1).all() for batch in found)


def test_an_encode_below_the_launch_is_the_one_that_is_called():
    class Doubled(Card):
        def encode(self, items):
            return 2 * super().encode(items)

    assert launcher(Doubled("cuda"))([3])().item() == 6
    assert launcher(Card("cuda"))([3])().item() == 3


def test_a_wrong_shape_still_says_so():
    encoder = Card("cuda")
    encoder.dim = 2
    with pytest.raises(EncoderError, match=r"gave \(2, 1, 1\) for 2 items"):
        run(encoder)
