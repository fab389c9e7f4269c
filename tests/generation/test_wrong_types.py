"""Whatever is passed to a public call of the text layer: a result, or one typed error that names the parameter."""

import inspect

import numpy as np
import pytest

from qwen3edge.errors import RequestError
from qwen3edge.generation.prompt import Prompter
from qwen3edge.generation.stop import checked_stops
from qwen3edge.generation.template import ChatTemplate
from qwen3edge.generation.tokenizer import StreamDecoder
from tests.generation.fakes import TEMPLATE, make_tokenizer


class Hostile:
    """Fails at whatever it is asked."""

    def _fail(self, *_args, **_settings):
        raise ZeroDivisionError("from the caller's own object")

    __repr__ = __str__ = __eq__ = __le__ = __ge__ = __lt__ = __gt__ = __len__ = __iter__ = __index__ = _fail
    __bool__ = __float__ = __int__ = __getitem__ = __contains__ = __hash__ = _fail


class HostileInt(int):
    """An int by class only."""

    __repr__ = __str__ = __eq__ = __le__ = __ge__ = __lt__ = __gt__ = __index__ = __bool__ = Hostile._fail
    __hash__ = int.__hash__


THINGS = {
    "none": None, "true": True, "float": 1.5, "nan": float("nan"), "negative": -1, "large": 2**70,
    "huge": 10**5000, "str": "x", "bytes": b"\xff", "list": [None], "texts": ["a", 5], "nested": [[1]],
    "dict": {"a": 1}, "set": {1}, "object": object(), "type": int, "hostile": Hostile(), "hostile list": [Hostile()],
    "hostile int": HostileInt(3), "hostile ints": [HostileInt(3)], "numpy": np.int64(3), "array": np.zeros(2),
    "complex": 1j, "generator": (i for i in "ab"), "surrogate": "\ud800",
}  # fmt: skip

TOKENIZER = make_tokenizer()
PROMPTER = Prompter(TOKENIZER, ChatTemplate(TEMPLATE))
GOOD = {"text": "a", "token": 3, "tokens": [3], "content": "a", "request": "a", "stop": "a"}
CALLS = [
    TOKENIZER.encode, TOKENIZER.decode, TOKENIZER.token_bytes, TOKENIZER.token_id, TOKENIZER.is_control,
    TOKENIZER.protect, StreamDecoder(TOKENIZER).push, PROMPTER.prompt, checked_stops,
]  # fmt: skip
PARAMETERS = [(call, name) for call in CALLS for name in inspect.signature(call).parameters]


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize(("call", "name"), PARAMETERS, ids=[f"{call.__name__}-{name}" for call, name in PARAMETERS])
def test_wrong_types(call, name, thing):
    needed = {
        key: GOOD[key]
        for key, parameter in inspect.signature(call).parameters.items()
        if parameter.default is inspect.Parameter.empty
    }
    enough = name == "limit" and thing in ("numpy", "hostile int")
    try:
        call(**{**needed, name: THINGS[thing]})
    except RequestError as error:
        named = "tokens" if enough else {"request": "request|messages"}.get(name, name)
        assert any(word in str(error) for word in named.split("|")), str(error)


@pytest.mark.parametrize("token", [2**70, -1, 10_000, -(2**70), TOKENIZER.vocabulary_size])
def test_ids_outside_the_vocabulary(token):
    most = TOKENIZER.vocabulary_size - 1
    for call in (lambda: TOKENIZER.decode([3, token]), lambda: TOKENIZER.token_bytes(token)):
        with pytest.raises(RequestError, match=rf"ids from 0 to {most} \(the vocabulary\), found"):
            call()
    assert not TOKENIZER.is_control(token)


def test_arrays_of_ids():
    assert TOKENIZER.decode(np.array([3, 4])) == TOKENIZER.decode([3, 4])
