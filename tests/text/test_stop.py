from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3edge.errors import RequestError
from qwen3edge.text.stop import StopFilter, checked_stops

LETTERS = st.text(st.sampled_from("abc"), max_size=20)
STOPS = st.lists(st.text(st.sampled_from("abc"), min_size=1, max_size=4), max_size=4)


def expected(text: str, stops: list[str]) -> str:
    """Up to the stop string that is complete first; of several, the one that began first."""
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))]
    return text


@given(LETTERS, STOPS, st.lists(st.integers(0, 20)))
def test_pieces_do_not_matter(text, stops, cuts):
    stop_filter = StopFilter(stops)
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    shown = "".join(stop_filter.push(text[start:end]) for start, end in pairwise(places))
    result = expected(text, stops)
    assert result.startswith(shown)
    assert shown + stop_filter.finish() == result
    assert stop_filter.stopped == (result != text or any(text.endswith(stop) for stop in stops))


@given(LETTERS, STOPS)
def test_nothing_is_held_without_a_reason(text, stops):
    stop_filter = StopFilter(stops)
    shown = stop_filter.push(text)
    if not stop_filter.stopped:
        held = text[len(shown) :]
        assert not held or any(stop.startswith(held) for stop in stops)


def test_nothing_after_a_stop():
    stop_filter = StopFilter(["b"])
    assert stop_filter.push("ab") == "a"
    assert stop_filter.push("c") == ""
    assert stop_filter.finish() == ""


@pytest.mark.parametrize("stop", [[""], ["a"] * 65, [1], 5, b"x", {"a": 1}, ["x" * 1025]])
def test_stops_of_a_wrong_form(stop):
    with pytest.raises(RequestError):
        checked_stops(stop)


def test_stops():
    assert checked_stops(None) == ()
    assert checked_stops("x") == ("x",)
    assert checked_stops(["x", "y"]) == ("x", "y")
