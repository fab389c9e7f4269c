import pytest

from qwen3edge.errors import RequestError
from qwen3edge.text.stop import checked_stops


@pytest.mark.parametrize("stop", [[""], ["a"] * 65, [1], 5, b"x", {"a": 1}, ["x" * 1025]])
def test_stops_of_a_wrong_form(stop):
    with pytest.raises(RequestError):
        checked_stops(stop)


def test_stops():
    assert checked_stops(None) == ()
    assert checked_stops("x") == ("x",)
    assert checked_stops(["x", "y"]) == ("x", "y")
