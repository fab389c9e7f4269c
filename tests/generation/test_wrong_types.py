"""Whatever is passed to a public call: a result, or one typed error that names the parameter."""

import inspect
import math
from fractions import Fraction

import numpy as np
import pytest

import qwen3edge
from qwen3edge import checks
from qwen3edge.errors import Qwen3EdgeError, RequestError
from qwen3edge.generation.sampler import SamplingParameters, chosen_seed
from qwen3edge.text.prompt import PromptBuilder
from qwen3edge.text.stop import checked_stops
from qwen3edge.text.template import ChatTemplate
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


class HostileFloat(float):
    """A float by class only."""

    __repr__ = __str__ = __eq__ = __le__ = __ge__ = __lt__ = __gt__ = __float__ = __bool__ = Hostile._fail
    __hash__ = float.__hash__


class HostileStr(str):
    """A str by class only."""

    __repr__ = __str__ = __eq__ = __len__ = __iter__ = __contains__ = Hostile._fail
    __hash__ = str.__hash__


def things():
    """Of one parameter; new ones each time, as some can be read once."""
    return {
        "none": None, "true": True, "float": 1.5, "nan": math.nan, "infinite": math.inf, "negative": -1, "large": 2**70,
        "huge": 10**5000, "str": "x", "nul": "a\0b", "bytes": b"\xff", "list": [None], "texts": ["a", 5],
        "nested": [[1]], "dict": {"a": 1}, "set": {1}, "object": object(), "type": int, "hostile": Hostile(),
        "hostile list": [Hostile()], "hostile int": HostileInt(3), "hostile ints": [HostileInt(3)],
        "hostile float": HostileFloat(0.5), "numpy": np.int64(3), "numpy float": np.float32(0.5),
        "numpy bool": np.True_, "array": np.zeros(2), "complex": 1j, "generator": (i for i in "ab"),
        "surrogate": "\ud800",
    }  # fmt: skip


def assert_result_or_refusal(call, parameters, good, also=RequestError):
    """call(**parameters) for every parameter and every thing. good: what else it needs; also: what it may raise
    besides.
    """
    for name in parameters:
        for thing, value in things().items():
            try:
                call(**{**good, name: value})
            except RequestError as error:
                # The right kind of thing may be refused for its value, in other words.
                enough = {"request": ("request", "messages", "tokens"), "limit": ("limit", "tokens")}.get(name, (name,))
                words = str(error)
                assert any(word in words for word in enough), f"{name}={thing}: {words}"
                assert "expected" in words and "found" in words, f"{name}={thing}: {words}"
                assert len(words) < 500
            except also:
                pass
            except Exception as error:
                raise AssertionError(f"{name}={thing}: {error!r:.200}") from error


TOKENIZER = make_tokenizer()
PROMPT_BUILDER = PromptBuilder(TOKENIZER, ChatTemplate(TEMPLATE))
GOOD = {"text": "a", "token": 3, "tokens": [3], "content": "a", "request": "a", "stop": "a"}
CALLS = [
    TOKENIZER.encode, TOKENIZER.decode, TOKENIZER.token_bytes, TOKENIZER.token_id, TOKENIZER.is_control,
    TOKENIZER.protect, PROMPT_BUILDER.prompt, checked_stops,
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_texts(call):
    parameters = inspect.signature(call).parameters
    needed = {name: GOOD[name] for name, found in parameters.items() if found.default is inspect.Parameter.empty}
    assert_result_or_refusal(call, parameters, needed)


def test_sampling():
    names = inspect.signature(SamplingParameters).parameters
    for call in (SamplingParameters, SamplingParameters().override):
        assert_result_or_refusal(call, names, {})
    assert_result_or_refusal(chosen_seed, ["seed"], {})
    found = SamplingParameters(temperature=HostileFloat(0.5), top_p=np.float32(0.5), top_k=np.int64(3), min_p=True - 1)
    assert (found.temperature, found.top_p, found.top_k, found.min_p) == (0.5, 0.5, 3, 0)
    assert {type(value) for value in found.numbers.values()} == {int, float}
    biased = SamplingParameters(logit_bias={HostileInt(3): HostileFloat(0.5), np.int64(4): np.float32(1)})
    assert biased.logit_bias == ((3, 0.5), (4, 1.0)) and {type(x) for pair in biased.logit_bias for x in pair} == {
        int,
        float,
    }
    assert chosen_seed(HostileInt(3)) == 3 and type(chosen_seed(np.uint64(2**64 - 1))) is int


def test_load_and_plan(tiny_int4):
    """Refused before anything is read, but for the path."""

    def load(**arguments):
        qwen3edge.load(**arguments).close()

    for call, arguments in ((load, qwen3edge.load), (qwen3edge.plan, qwen3edge.plan)):
        assert_result_or_refusal(
            call, inspect.signature(arguments).parameters, {"path": tiny_int4, "context": 64, "threads": 1},
            also=(Qwen3EdgeError, OSError),
        )  # fmt: skip
    plan = qwen3edge.plan(tiny_int4, context=HostileInt(64), threads=np.int64(1), min_expert_share=HostileFloat(0))
    assert plan.context == 64 and type(plan.context) is int
    for memory in (np.int64(6000 << 20), HostileInt(6000 << 20), HostileStr("6000MiB")):
        assert qwen3edge.plan(tiny_int4, memory=memory).budget == 6000 << 20
    for name in ("device", "kv"):
        with pytest.raises(RequestError, match=name):
            qwen3edge.plan(tiny_int4, **{name: HostileStr("x")})
    assert qwen3edge.plan(tiny_int4, device=HostileStr("cpu"), kv=HostileStr("int4")).kv == "int4"


def test_a_loaded_model(tiny_int4):
    with qwen3edge.load(tiny_int4, context=64, threads=1, sequences=3) as model:
        session, engine = model.session(), model.engine
        sequence = engine.acquire()
        arguments = [name for name in inspect.signature(model.generate).parameters if name != "unknown"]
        for call in (model.generate, session.generate):
            assert_result_or_refusal(call, arguments, {"request": "a"})
        assert_result_or_refusal(model.tokens_of, inspect.signature(model.tokens_of).parameters, {"request": "a"})
        for logits in (model.logits,):
            assert_result_or_refusal(logits, ["tokens"], {})
        engine.extend(sequence, [1, 2, 3], logits=False)
        assert_result_or_refusal(
            engine.extend, ["sequence", "logits", "cancel"], {"sequence": sequence, "tokens": [], "logits": []}
        )
        assert_result_or_refusal(engine.extend, ["tokens"], {"sequence": sequence, "logits": False})
        assert_result_or_refusal(engine.truncate, ["sequence", "length"], {"sequence": sequence, "length": 0})
        assert_result_or_refusal(engine.length, ["sequence"], {})
        assert_result_or_refusal(engine.observe, ["callback"], {})
        engine.observe(None)
        expected = model.logits([3, 4])
        for tokens in (np.array([3, 4]), (3, 4), [HostileInt(3), np.int64(4)], iter([3, 4]), range(3, 5)):
            assert (model.logits(tokens) == expected).all()
        for tokens in ([1.7], ["5"], [True], "ab", b"ab", {3: 4}, {3, 4}, [2**70], [[1]], np.ones(2), np.ones(2, bool)):
            with pytest.raises(RequestError, match="tokens"):
                engine.extend(sequence, tokens, logits=False)
            with pytest.raises(RequestError, match="tokens"):
                model.logits(tokens)


def test_numbers_and_paths():
    for value, expected in ((3, 3), (np.float32(0.5), 0.5), (Fraction(1, 2), 0.5), (HostileInt(3), 3), (5, 5)):
        found = checks.number("x", value, 0, 5)
        assert found == expected and type(found) is float
    for value in (True, np.True_, math.nan, math.inf, -math.inf, 10**5000, -(10**5000), "1", 1j, np.ones(1), None, 5.1):
        with pytest.raises(RequestError, match="x as a finite number from 0 to 5, found"):
            checks.number("x", value, 0, 5)
    with pytest.raises(RequestError, match="from 0 to below 5"):
        checks.number("x", 5, 0, 5, below=True)
    for value in ("a\0b", b"a\0b", "\ud800", None, 5, Hostile()):
        with pytest.raises(RequestError, match="path as"):
            checks.path("path", value)


@pytest.mark.parametrize("token", [2**70, -1, 10_000, -(2**70), TOKENIZER.vocabulary_size])
def test_ids_outside_the_vocabulary(token):
    most = TOKENIZER.vocabulary_size - 1
    for call in (lambda: TOKENIZER.decode([3, token]), lambda: TOKENIZER.token_bytes(token)):
        with pytest.raises(RequestError, match=rf"ids from 0 to {most} \(the vocabulary\), found"):
            call()
    assert not TOKENIZER.is_control(token)


def test_arrays_of_ids():
    assert TOKENIZER.decode(np.array([3, 4])) == TOKENIZER.decode([3, 4])
