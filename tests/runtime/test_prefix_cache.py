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


@pytest.mark.parametrize("kv", ["int8", "bf16"])
def test_random_sharing(path, seed, kv) -> None:
    rng = np.random.default_rng(seed)
    sequences, context = 4, 320
    engine = engine_of(path, sequences=sequences, context=context, kv=kv)
    plain = engine_of(path, context=context, kv=kv)
    pages = engine.plan["pages"]
    texts = [[int(t) for t in rng.integers(0, 300, context)] for _ in range(2)]
    held: list[list[int]] = [[] for _ in range(sequences)]

    def some_prompt() -> list[int]:
        """A beginning of one of a few texts, with an end of its own."""
        text = texts[int(rng.integers(len(texts)))]
        own = [int(t) for t in rng.integers(0, 300, rng.integers(1, 90))]
        return (text[: int(rng.integers(0, context - 90))] + own)[: context - 1]

    for _ in range(60):
        slot = int(rng.integers(sequences))
        match int(rng.integers(6)):
            case 0 | 1:
                prompt = some_prompt()
                reused = engine.reuse(slot, prompt)
                assert reused < len(prompt) and engine.length(slot) == reused
                logits = extend(engine, slot, prompt[reused:])
                held[slot] = prompt
                plain.truncate(0, 0)
                assert np.array_equal(logits, extend(plain, 0, prompt))
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
                held[each].append(int(rng.integers(300)))
                logits = extend(engine, each, held[each][-1:])
                if rng.integers(4) == 0:
                    plain.truncate(0, 0)
                    assert np.array_equal(logits, extend(plain, 0, held[each]))
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


def test_a_batch_without_room_changes_nothing(path) -> None:
    file = _core.ModelFile(str(path))
    generous = _core.plan(file, sequences=4, context=1024, threads=1)
    budget = generous["peak"] - generous["kv_cache"] // 2
    engine = _core.Engine(file, sequences=4, context=1024, threads=1, memory=budget, program=generous["program"])
    pages = engine.plan["pages"]
    assert 16 <= pages < 64 and engine.plan["peak"] <= budget, "fewer pages rather than weights from the file"
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
