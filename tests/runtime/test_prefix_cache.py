"""Pages that sequences share: whatever was kept, reused, shared, cut and given up, logits are those of an engine that
computes all of it, and no page is lost."""

import numpy as np
import pytest

from qwen3edge import _core
from qwen3edge.errors import MemoryBudgetError, RequestError

PAGE = 64


@pytest.fixture
def path(tiny_int4):
    return tiny_int4


def engine_of(path, **settings) -> _core.Engine:
    return _core.Engine(_core.ModelFile(str(path)), threads=1, **settings)


def extend(engine: _core.Engine, slot: int, tokens: list[int]) -> np.ndarray:
    start, count = engine.length(slot), len(tokens)
    return engine.forward(tokens, range(start, start + count), [slot] * count, [False] * (count - 1) + [True])[0]


def engine_with_fewer_pages(path, **settings) -> _core.Engine:
    """With half the pages that all contexts would take."""
    file = _core.ModelFile(str(path))
    generous = _core.plan(file, threads=1, **settings)
    budget = generous["peak"] - generous["kv_cache"] // 2
    return _core.Engine(file, threads=1, memory=budget, program=generous["program"], **settings)


@pytest.mark.parametrize("of", [engine_of, engine_with_fewer_pages])
@pytest.mark.parametrize("kv", ["int8", "bf16"])
def test_random_sharing(path, seed, kv, of) -> None:
    rng = np.random.default_rng(seed)
    sequences, context = 4, 320
    engine = of(path, sequences=sequences, context=context, kv=kv)
    plain = engine_of(path, context=context, kv=kv)
    pages = engine.plan["pages"]
    texts = [[int(t) for t in rng.integers(0, 300, context)] for _ in range(2)]
    held: list[list[int]] = [[] for _ in range(sequences)]

    def some_prompt() -> list[int]:
        """A beginning of one of a few texts, with an end of its own."""
        text = texts[int(rng.integers(len(texts)))]
        own = [int(t) for t in rng.integers(0, 300, rng.integers(1, 90))]
        return (text[: int(rng.integers(0, context - 90))] + own)[: context - 1]

    def compare(slot: int, tokens: list[int]) -> None:
        """Appends these, where there is room; what there is room for is what the engine says."""
        whole, first = held[slot] + tokens, len(held[slot])
        needed = -(-len(whole) // PAGE) - -(-first // PAGE)
        try:
            logits = extend(engine, slot, tokens)
        except MemoryBudgetError:
            assert needed + (first % PAGE > 0) > engine.available_pages(), "it may be that an open page is copied"
            engine.truncate(slot, 0)
            held[slot] = []
            return
        held[slot] = whole
        plain.truncate(0, 0)
        assert np.array_equal(logits, extend(plain, 0, whole))

    for _ in range(60):
        slot = int(rng.integers(sequences))
        match int(rng.integers(6)):
            case 0 | 1:
                prompt = some_prompt()
                reused = engine.reuse(slot, prompt)
                assert reused < len(prompt) and engine.length(slot) == reused
                held[slot] = prompt[:reused]
                compare(slot, prompt[reused:])
            case 2:
                engine.keep(slot, held[slot])
            case 3:
                engine.keep(slot, held[slot][: len(held[slot]) // PAGE * PAGE])
            case 4:
                length = int(rng.integers(len(held[slot]) + 1))
                assert engine.truncate(slot, length) == length
                del held[slot][length:]
            case _:
                other = (slot + 1) % sequences
                engine.share(slot, other)
                held[other] = list(held[slot])
        for each in range(sequences):
            if rng.integers(3) == 0 and len(held[each]) < context - 1:
                compare(each, [int(rng.integers(300))])
    for slot in range(sequences):
        engine.truncate(slot, 0)
    assert engine.available_pages() == pages
    engine.clear_prefixes()
    assert engine.available_pages() == pages
    extend(engine, 0, texts[0])


def test_what_is_shared_takes_no_page(path) -> None:
    engine = engine_of(path, sequences=3, context=256)
    pages = engine.plan["pages"]
    tokens = [i % 200 for i in range(150)]
    extend(engine, 0, tokens)
    engine.keep(0, tokens)
    before = engine.available_pages()
    assert before == pages - 3
    assert engine.reuse(1, [*tokens, 7, 8]) == 150
    assert engine.available_pages() == before
    extend(engine, 1, [7])  # into a copy of the third page, which others hold
    assert engine.available_pages() == before - 1
    assert engine.reuse(2, tokens) == 149, "the last token's logits are needed"
    engine.truncate(0, 0)
    assert engine.reuse(0, [*tokens[:100], 201, 202]) == 100
    engine.clear_prefixes()
    assert engine.reuse(0, tokens) == 0


def test_the_least_recently_used_goes_first(path) -> None:
    engine = engine_of(path, sequences=1, context=256)
    assert engine.plan["pages"] == 4
    texts = [[n] * PAGE for n in range(5)]
    for tokens in texts:
        if tokens == texts[4]:
            assert engine.reuse(0, [*texts[0], 9]) == PAGE, "used now, so that the next page is the second's"
        engine.reuse(0, tokens)
        extend(engine, 0, tokens)
        engine.keep(0, tokens)
    assert [engine.reuse(0, [*tokens, 9]) for tokens in texts] == [PAGE, 0, PAGE, PAGE, PAGE]


def test_a_page_above_one_that_others_hold(path) -> None:
    """A sequence goes on from another copy of a first page than the tree's, which nobody holds and can be given up."""
    engine = engine_of(path, sequences=3, context=2 * PAGE)
    pages = engine.plan["pages"]
    tokens = [i % 200 for i in range(2 * PAGE)]
    extend(engine, 0, tokens[:PAGE])
    engine.keep(0, tokens[:PAGE])
    engine.truncate(0, 0)
    expected = extend(engine, 1, tokens)
    engine.share(1, 2)
    engine.keep(1, tokens)
    engine.truncate(1, 0)
    assert engine.available_pages() == pages - 2, "the first page has two copies, of which one is kept only"
    for slot in (0, 1):
        extend(engine, slot, [slot + 5] * 2 * PAGE)
    assert engine.available_pages() == 0
    engine.truncate(2, 2 * PAGE - 1)
    engine.truncate(0, 0)
    assert np.array_equal(extend(engine, 2, tokens[-1:]), expected)


def test_a_batch_without_room_changes_nothing(path) -> None:
    engine = engine_with_fewer_pages(path, sequences=4, context=1024)
    pages = engine.plan["pages"]
    assert 16 <= pages < 64, "fewer pages rather than weights from the file"
    assert engine.plan["streamed_layers"] == 0
    tokens = [i % 250 for i in range(1000)]
    slot = 0
    while engine.available_pages() >= 16:
        extend(engine, slot, tokens)
        slot += 1
    found = rf"expected room for 16 more pages of 64 tokens, found {engine.available_pages()} free of {pages}"
    with pytest.raises(MemoryBudgetError, match=found):
        extend(engine, slot, tokens)
    assert engine.length(slot) == 0 and engine.length(0) == 1000
    engine.truncate(0, 0)
    extend(engine, slot, tokens)


def test_wrong_calls(path) -> None:
    engine = engine_of(path, sequences=2, context=128)
    extend(engine, 0, [1, 2, 3])
    for tokens in ([1, 2], [1, 2, 3, 4]):
        with pytest.raises(RequestError, match="expected all 3 of the sequence, or whole pages of 64"):
            engine.keep(0, tokens)
    with pytest.raises(RequestError, match="expected two sequences, found one"):
        engine.share(1, 1)
    with pytest.raises(RequestError, match="sequence: expected 0 to 1, found 2"):
        engine.reuse(2, [1])
    assert engine.reuse(0, []) == 0
