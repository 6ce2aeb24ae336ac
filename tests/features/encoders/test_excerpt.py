from hypothesis import given, settings
from hypothesis import strategies as st

from erc_features.encoders.excerpt import excerpt

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=60)


@given(LENGTHS, st.integers(2, 120), st.data())
def test_an_excerpt_holds_its_utterance_and_fits(lengths, room, data):
    at = data.draw(st.integers(0, len(lengths) - 1))
    first, stop = excerpt(lengths, at, room)
    assert 0 <= first <= at < stop <= len(lengths)
    assert sum(lengths[first:stop]) <= room or (first, stop) == (at, at + 1)
    if sum(lengths) <= room:
        assert (first, stop) == (0, len(lengths))
    elif at == len(lengths) - 1:  # nothing more would have fitted
        assert stop == at + 1
        assert first == 0 or sum(lengths[first - 1 : stop]) > room


@settings(max_examples=25)
@given(st.lists(st.integers(1, 10), min_size=200, max_size=300))
def test_a_long_dialogue_costs_about_twice_its_tokens(lengths):
    found = [excerpt(lengths, at, 100) for at in range(len(lengths))]
    assert len(set(found)) <= sum(lengths) // 50 + 2
    # No utterance is at an excerpt's very edge, unless the dialogue ends there.
    for at, (first, stop) in enumerate(found):
        assert first == 0 or sum(lengths[first:at]) >= 10
        assert stop == len(lengths) or sum(lengths[at + 1 : stop]) >= 10
