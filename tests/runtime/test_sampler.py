"""The core's sampler against the steps in NumPy (tests/reference/sampler.py)."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3edge import _core
from qwen3edge.errors import RequestError
from qwen3edge.sampling import MAX_BIASES, RANGES
from tests.reference import sampler as reference
from tests.reference.sampler import Parameters

VOCABULARY = 5000
EDGE = 1e-5  # of a weight: float32 weights may fall on the other side of a limit that is so near


def make(parameters, vocabulary, usable=None, prompt=(), answer=()):
    """The core's, with a prompt and an answer counted."""
    sampler = _core.Sampler(vocabulary=vocabulary, usable=usable, **vars(parameters))
    for tokens, generated in ((prompt, False), (answer, True)):
        for token in tokens:
            sampler.accept(token, generated)
    return sampler


def bits(allowed, words):
    """A mask of so many words."""
    mask = np.zeros(words, np.uint32)
    for token in allowed:
        if token // 32 < words:
            mask[token // 32] |= np.uint32(1) << np.uint32(token % 32)
    return mask


def expected_tokens(logits, parameters, **where):
    """What may be picked: one token, but where the draw or a limit is on an edge."""
    index = len(where.get("answer", ()))
    at = reference.draw(parameters.seed, parameters.choice, index)
    tokens = set()
    for a, b, c in itertools.product((0, -EDGE, EDGE), repeat=3):
        moved = dataclasses.replace(
            parameters,
            top_p=min(parameters.top_p * (1 + a), 1 - 1e-9) if parameters.top_p < 1 else 1.0,
            min_p=parameters.min_p * (1 + b),
        )
        tokens.add(reference.sample(logits, moved, **where, at=min(max(at + c, 0.0), 1 - 1e-12)))
    return tokens


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0},
        {"top_k": 0, "top_p": 0.95},
        {"top_k": 0, "top_p": 1},
        {"top_k": 50, "top_p": 1},
        {"top_k": 0, "top_p": 1, "min_p": 0.05},
        {"top_k": VOCABULARY + 1, "min_p": 0.001, "temperature": 1.5},
        {"presence_penalty": 1.5, "repetition_penalty": 1.3, "frequency_penalty": 0.5},
        {"temperature": 0, "presence_penalty": -1.5, "repetition_penalty": 0.7},
        {"logit_bias": {7: 3.5, 4000: -2.0, 4999: 8.0}},
        {"temperature": 0, "frequency_penalty": -0.25},
    ],
    ids=str,
)
def test_an_answer(changes, seed):
    """Token after token, each counted."""
    parameters = Parameters(**{"temperature": 0.7, "top_k": 20, "top_p": 0.8, "seed": seed, **changes})
    rng = np.random.default_rng(seed)
    prompt, answer = rng.integers(0, VOCABULARY, 40).tolist(), []
    sampler = make(parameters, VOCABULARY, prompt=prompt)
    for _ in range(150):
        logits = (rng.standard_normal(VOCABULARY) * 3).astype(np.float32)
        token = sampler.sample(logits)
        expected = reference.sample(logits, parameters, prompt=prompt, answer=answer)
        assert token == expected or token in expected_tokens(logits, parameters, prompt=prompt, answer=answer)
        sampler.accept(token)
        answer.append(token)
        assert sampler.generated == len(answer)


# Few values, so that many are equal, among them what is never picked; and values far from all others.
LOGITS = st.sampled_from([-3.0, -0.0, 0.0, 0.5, 0.5, 2.0, 2.5, 7.25, 1e4, -1e4, 3e38, -3e38, -np.inf, np.nan, np.inf])
FLOATS = {"width": 32, "allow_nan": False}


@st.composite
def requests(draw):
    """Logits, parameters and what goes before, of a vocabulary of up to three runs of the core's (64 logits)."""
    count = draw(st.integers(1, 200))
    values = np.array(draw(st.lists(LOGITS | st.floats(-20, 20, width=32), min_size=1, max_size=12)), np.float32)
    logits = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).choice(values, count)
    tokens = st.lists(st.integers(0, count - 1), max_size=8)
    parameters = Parameters(
        temperature=draw(st.sampled_from([0.0, 1.0]) | st.floats(0.015625, 100, **FLOATS)),
        top_k=draw(st.integers(0, count + 2)),
        top_p=draw(st.just(1.0) | st.floats(0, 1, **FLOATS)),
        min_p=draw(st.just(0.0) | st.floats(0, 1, **FLOATS)),
        presence_penalty=draw(st.just(0.0) | st.floats(-2, 2, **FLOATS)),
        frequency_penalty=draw(st.just(0.0) | st.floats(-2, 2, **FLOATS)),
        repetition_penalty=draw(st.just(1.0) | st.floats(0.015625, 100, **FLOATS)),
        logit_bias=draw(st.dictionaries(st.integers(0, count - 1), st.floats(-100, 100, **FLOATS), max_size=4)),
        seed=draw(st.integers(0, 2**64 - 1)),
        choice=draw(st.integers(0, 2**32 - 1)),
        min_tokens=draw(st.integers(0, 10)),
        stop_tokens=draw(st.lists(st.integers(-5, count + 5), max_size=4)),
    )
    where = {"prompt": draw(tokens), "answer": draw(tokens), "usable": draw(st.integers(1, count) | st.just(count))}
    words = draw(st.none() | st.integers(0, count // 32 + 2))
    if words is not None:
        allowed = draw(st.sets(st.integers(0, count - 1), max_size=5) | st.just(set(range(count))))
        where["allowed"] = {token for token in allowed if token // 32 < words}
    return logits, parameters, where, words


@settings(max_examples=200)
@given(requests())
def test_any_parameters(request):
    logits, parameters, where, words = request
    sampler = make(parameters, len(logits), where["usable"], where["prompt"], where["answer"])
    mask = None if words is None else bits(where["allowed"], words)
    expected = expected_tokens(logits, parameters, **where)
    if expected == {None}:
        with pytest.raises(RequestError, match="logits: expected at least one"):
            sampler.sample(logits, mask=mask)
        return
    assert sampler.sample(logits, mask=mask) in expected
    if mask is not None:
        assert sampler.sample(logits, mask=mask.view(np.int32)) in expected


# ---- the order of the steps: of each pair of neighbours a case that comes out otherwise when they change places. Two
# pairs cannot tell: what is never picked stays so under any bias, and no temperature changes which k are the best.

LN2 = float(np.log(2))
PAIRS = {
    # 1 + 2 halved is 1.5, 1 halved and 2 more is 2.5
    ("bias", "repetition"): ([2.0, 1.0], {"repetition_penalty": 2.0, "logit_bias": {1: 2.0}}, [1], []),
    # 3 halved and 1 less is 0.5, 3 less 1 and halved is 1
    ("repetition", "frequency"): ([0.75, 3.0], {"repetition_penalty": 2.0, "frequency_penalty": 1.0}, [], [1]),
    # 1 less than 2^24 and 3/4 more is 2^24 again; but 3/4 more than 2^24 is 2^24, and 1 less is less
    ("frequency", "presence"): (
        [2.0**24 - 2, 2.0**24], {"frequency_penalty": 1.0, "presence_penalty": -0.75}, [], [1]
    ),
    # 4 less 2 is the other's 2, so that both are kept; 4 / 0.25 less 2 is far above 2 / 0.25
    ("presence", "temperature"): ([2.0, 4.0], {"presence_penalty": 2.0, "temperature": 0.25, "top_p": 0.6}, [], [1]),
    # the first of two and one parts has 0.6 of them, that of two, one, one and one has not
    ("top_k", "top_p"): ([4 * LN2, 3 * LN2, 3 * LN2, 3 * LN2], {"top_k": 2, "top_p": 0.6}, [], []),
    # the first of four, two, one and one parts has not 0.6 of them, that of four and two has
    ("top_p", "min_p"): ([2 * LN2, 0.0, 0.0, 1.01 * LN2], {"top_p": 0.6, "min_p": 0.3}, [], []),
}  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS, ids=" before ".join)
def test_the_order_of_the_steps(pair):
    values, changes, prompt, answer = PAIRS[pair]
    logits = np.array(values, np.float32)
    names = [step.__name__ for step in reference.STEPS]
    first = names.index(pair[0])
    assert names[first + 1] == pair[1]
    swapped = list(reference.STEPS)
    swapped[first : first + 2] = swapped[first + 1], swapped[first]
    found, right, wrong = [], [], []
    for seed in range(60):
        parameters = Parameters(**{**changes, "seed": seed})
        found.append(make(parameters, len(logits), None, prompt, answer).sample(logits))
        right.append(reference.sample(logits, parameters, prompt=prompt, answer=answer))
        wrong.append(reference.sample(logits, parameters, prompt=prompt, answer=answer, steps=swapped))
    assert found == right != wrong


def test_frequency_counts_and_presence_does_not():
    logits = np.zeros(4, np.float32)
    for presence, frequency, best in ((1.0, 0.0, 2), (0.0, 1.0, 2), (-1.0, 0.5, 1), (-1.0, 0.25, 1), (0.5, -0.25, 0)):
        parameters = Parameters(temperature=0, presence_penalty=presence, frequency_penalty=frequency)
        # Token 0 three times, 1 once, 3 in the prompt alone: 2 and 3 are not touched.
        assert make(parameters, 4, None, [3, 3], [0, 0, 1, 0]).sample(logits) == best, (presence, frequency)


@pytest.mark.parametrize("count", [1, 30, 31, 32, 33, 1000])
def test_counts_of_any_size(count):
    """The mark of a token holds a small one only."""
    parameters = Parameters(temperature=0, frequency_penalty=1.0)
    sampler = make(parameters, 3, None, [], [1] * count + [2] * 40)
    for distance, best in ((-0.5, 0), (0.5, 1)):
        logits = np.array([0, count + distance, 0], np.float32)
        assert sampler.sample(logits) == best
    sampler.truncate(count)
    assert sampler.sample(np.array([-1, count - 2, 0], np.float32)) == 2
    assert sampler.generated == count


# ---- masks, bans, padding


def test_padding_is_never_picked():
    logits = np.arange(100, dtype=np.float32)
    for parameters in (Parameters(temperature=0), Parameters(), Parameters(top_k=5), Parameters(logit_bias={99: 100})):
        for seed in range(20):
            sampler = make(dataclasses.replace(parameters, seed=seed), 100, 70)
            assert sampler.sample(logits) < 70
    sampler.accept(99)  # a prompt may have any
    with pytest.raises(RequestError, match="usable: expected 1 to 100, found 101"):
        _core.Sampler(vocabulary=100, usable=101)
    with pytest.raises(RequestError, match="usable: expected 1 to 100, found 0"):
        _core.Sampler(vocabulary=100, usable=0)


def test_a_mask_of_one_token_forces_it(seed):
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal(VOCABULARY).astype(np.float32)
    for token in rng.integers(0, VOCABULARY, 20).tolist():
        for parameters in (
            Parameters(temperature=0),
            Parameters(top_k=20),
            Parameters(logit_bias={1: 100, token: -100}),
        ):
            mask = bits([token], -(-VOCABULARY // 32))
            assert make(parameters, VOCABULARY).sample(logits, mask=mask) == token


def test_masks_that_are_none():
    sampler, logits = _core.Sampler(vocabulary=64), np.zeros(64, np.float32)
    for bad in (
        np.zeros(2, np.int64),
        np.zeros(2, np.float32),
        [3, 3],
        np.zeros(4, np.uint32)[::2],
        np.zeros(2, ">u4"),
    ):
        with pytest.raises(RequestError, match="mask: expected a contiguous array of int32 or uint32"):
            sampler.sample(logits, mask=bad)
    with pytest.raises(RequestError, match="mask: expected one dimension, found 2"):
        sampler.sample(logits, mask=np.ones((1, 2), np.uint32))
    for nothing in (np.zeros(2, np.uint32), np.zeros(0, np.uint32)):
        with pytest.raises(RequestError, match="logits: expected at least one"):
            sampler.sample(logits, mask=nothing)


def test_an_answer_is_at_least_so_long():
    logits = np.array([0, 5, 9, 1], np.float32)
    sampler = make(Parameters(temperature=0, min_tokens=3, stop_tokens=[2, 1, 77]), 4, None, prompt=[2] * 9)
    picked = []
    for _ in range(5):
        picked.append(sampler.sample(logits))
        sampler.accept(picked[-1])
    assert picked == [3, 3, 3, 2, 2]
    sampler.truncate(9 + 2)
    assert sampler.sample(logits) == 3
    assert sampler.sample(logits, index=3) == 2 and sampler.sample(logits, index=2) == 3
    ever = make(Parameters(temperature=0, min_tokens=2**32 - 1, stop_tokens=[2]), 4)
    assert ever.sample(logits, index=10**6) == 1


def test_a_draw_needs_no_state(seed):
    rng = np.random.default_rng(seed)
    rows = (rng.standard_normal((40, 300)) * 2).astype(np.float32)
    parameters = Parameters(seed=seed, choice=3, frequency_penalty=0.5, repetition_penalty=1.2)
    sampler, tokens = make(parameters, 300, prompt=[1, 2]), []
    for row in rows:
        tokens.append(sampler.sample(row))
        assert sampler.sample(row) == tokens[-1]
        sampler.accept(tokens[-1])
    for length in (31, 7, 0):
        sampler.truncate(2 + length)
        for row, token in zip(rows[length:], tokens[length:], strict=True):
            assert sampler.sample(row) == sampler.sample(row, index=sampler.generated) == token
            sampler.accept(token)
    plain = Parameters(seed=seed, choice=3)
    in_turn, at_once = make(plain, 300), make(plain, 300)
    for index, row in enumerate(rows):
        token = in_turn.sample(row)
        assert at_once.sample(row, index=index) == token
        in_turn.accept(token)
    other = make(Parameters(seed=seed, choice=4), 300)
    answers = [[sampler.sample(row, index=i) for i, row in enumerate(rows)] for sampler in (at_once, other)]
    assert answers[0] != answers[1]


# ---- refusals


def test_ties_go_to_the_lower_token():
    logits = np.zeros(VOCABULARY, np.float32)
    logits[[7, 3, 4000]] = 1
    assert _core.Sampler(vocabulary=VOCABULARY, temperature=0).sample(logits) == 3
    picked = {_core.Sampler(vocabulary=VOCABULARY, top_k=2, top_p=1, seed=s).sample(logits) for s in range(50)}
    assert picked == {3, 7}


def test_nan_and_infinity():
    logits = np.full(VOCABULARY, -np.inf, np.float32)
    sampler = _core.Sampler(vocabulary=VOCABULARY)
    with pytest.raises(RequestError, match="logits"):
        sampler.sample(logits)
    logits[:] = np.nan
    with pytest.raises(RequestError, match="logits"):
        sampler.sample(logits)
    logits[17] = -5
    assert sampler.sample(logits) == 17
    logits[18] = np.inf
    assert sampler.sample(logits) == 18


def core_with(name, value):
    return _core.Sampler(vocabulary=10, **{name: {3: value} if name == "logit_bias" else value})


@pytest.mark.parametrize("name", RANGES)
def test_the_core_has_the_ranges_of_python(name):
    low, high = (np.float32(limit) for limit in RANGES[name])
    for good in (low, high):
        core_with(name, float(good))
    for bad in (np.nextafter(low, np.float32(-1000)), np.nextafter(high, np.float32(1000)), np.nan, np.inf, -np.inf):
        with pytest.raises(RequestError, match=rf"^{name}( of token 3)?: expected [-.\d]+ to [.\d]+, found"):
            core_with(name, float(bad))


def test_biases_that_are_refused():
    with pytest.raises(RequestError, match="logit_bias: expected tokens from 0 to 9, found 10"):
        _core.Sampler(vocabulary=10, logit_bias={10: 1})
    with pytest.raises(RequestError, match="logit_bias: expected tokens from 0 to 9, found -1"):
        _core.Sampler(vocabulary=10, logit_bias={-1: 1})
    biases = dict.fromkeys(range(MAX_BIASES), -1.0)
    assert _core.Sampler(vocabulary=5000, temperature=0, logit_bias=biases).sample(np.zeros(5000)) == MAX_BIASES
    with pytest.raises(RequestError, match=f"logit_bias: expected at most {MAX_BIASES} tokens, found {MAX_BIASES + 1}"):
        _core.Sampler(vocabulary=5000, logit_bias={**biases, MAX_BIASES: 0})


@pytest.mark.parametrize("token", [-1, 10])
def test_tokens_out_of_range(token):
    with pytest.raises(RequestError, match="token: expected tokens from 0 to 9"):
        _core.Sampler(vocabulary=10).accept(token)
    with pytest.raises(RequestError, match="token: expected tokens from 0 to 9"):
        _core.Sampler(vocabulary=10).logprobs(np.zeros(10, np.float32), token)
