"""The whole way on the tiny model: file, engine, template, sampling, text."""

import errno
import gc
import json
import os
from pathlib import Path

import numpy as np
import pytest

import qwen3edge
from qwen3edge.errors import (
    CheckpointError,
    FileFormatError,
    ForeignFileError,
    MemoryBudgetError,
    Qwen3EdgeError,
    RequestError,
    TruncatedFileError,
    UnsupportedModelError,
)

SUM = [{"role": "user", "content": "What is 12 + 7?"}]


@pytest.fixture(scope="module")
def model(tiny_q3e):
    with qwen3edge.load(tiny_q3e("int8"), memory="8GiB", context=512, threads=2, seed=1) as loaded:
        yield loaded


def test_thinking_and_not(model):
    direct = model.generate(SUM, thinking=False, max_tokens=64)
    assert direct.read().startswith("12 + 7 = ")
    assert direct.reasoning == ""
    thinking = model.generate(SUM, thinking=True, max_tokens=256)
    assert thinking.read() == "12 + 7 = 19"
    assert thinking.reasoning
    assert "<think>" not in thinking.content + thinking.reasoning
    assert direct.finish_reason == thinking.finish_reason == "stop"


def test_pieces_add_up(model):
    answer = model.generate("你好", thinking=False)
    assert "".join(answer) == answer.content
    assert model.tokenizer.decode(answer.tokens, skip_control=True).strip() == answer.content.strip()


def test_same_seed_same_answer(model):
    texts = [model.generate(SUM, thinking=True, seed=seed, temperature=2.0, max_tokens=40).tokens for seed in (5, 5)]
    assert texts[0] == texts[1]


def test_reused_prefix_gives_the_same_answer(model):
    first = model.generate(SUM, thinking=False)
    turn = [*SUM, {"role": "assistant", "content": first.read()}, {"role": "user", "content": "What is 3 + 3?"}]
    again = model.generate(turn, thinking=False)
    again.read()
    assert again.usage.cached_tokens > first.usage.prompt_tokens - 8
    model.engine.core.clear_prefixes()
    alone = model.generate(turn, thinking=False)
    alone.read()
    assert alone.usage.cached_tokens == 0
    assert alone.tokens == again.tokens


def test_logits(model):
    tokens = model.tokenizer.encode("one two three four five six")
    logits = model.logits(tokens)
    assert logits.shape == (len(tokens), model.config.vocab_size)
    assert logits.dtype == np.float32
    assert (model.logits(tokens[:3]) == logits[:3]).all()
    assert (model.logits(np.array(tokens)) == logits).all()
    for wrong in ([], [1] * 513, [-1], [model.config.vocab_size], [1.5], ["a"], [True]):
        with pytest.raises(RequestError):
            model.logits(wrong)


def test_sessions_share_the_sequences(tiny_q3e):
    with qwen3edge.load(tiny_q3e("int4"), context=128, sequences=2, threads=1) as model:
        asked = [model.session().generate(SUM, thinking=False, temperature=0) for _ in range(3)]
        texts = [""] * 3
        for _ in range(8):  # in turns; the third waits until one of the others has ended
            for i, stream in enumerate(asked):
                texts[i] += next(stream, "")
        assert texts[0] == texts[1] == texts[2] != ""
        model.generate("hi", max_tokens=1).read()


def test_a_closed_model_has_given_its_memory_back(tiny_q3e):
    """While somebody still holds it, a session of it and an answer."""
    path = tiny_q3e("int4")
    model = qwen3edge.load(path, context=64, draft=path)
    session = model.session()
    answer = session.generate("hi", max_tokens=4)
    answer.read()

    def mapped() -> bool:
        return str(path) in Path("/proc/self/maps").read_text(encoding="utf-8")

    assert mapped()
    model.close()
    assert not mapped()
    assert answer.tokens and session.tokens
    with pytest.raises(RequestError, match="closed"):
        session.generate("hi")
    with pytest.raises(RequestError, match="closed"):
        model.engine.acquire()


def test_closed_model(tiny_q3e):
    model = qwen3edge.load(tiny_q3e("int4"), context=128)
    session = model.session()
    model.close()
    model.close()
    for call in (lambda: model.generate("hi"), lambda: model.logits([1]), lambda: session.generate("hi").read()):
        with pytest.raises(RequestError, match="closed"):
            call()
    for call in (model.session, session.fork, lambda: model.embed([]), lambda: model.embed(["a"])):
        with pytest.raises(RequestError, match="expected an open model, found a closed one"):
            call()
    session.close()
    gc.collect()


def test_plan_is_what_load_takes(tiny_q3e):
    settings = {"context": 256, "threads": 1, "kv": "bf16", "sequences": 2, "chunk": 32, "memory": "8GiB"}
    plan = qwen3edge.plan(tiny_q3e("int4"), **settings)
    with qwen3edge.load(tiny_q3e("int4"), **settings) as model:
        loaded = model.plan
    assert (plan.weights, plan.kv_cache, plan.scratch) == (loaded.weights, loaded.kv_cache, loaded.scratch)
    assert (loaded.context, loaded.sequences, loaded.chunk, loaded.threads, loaded.kv) == (256, 2, 32, 1, "bf16")
    assert loaded.budget == 8 << 30
    assert loaded.peak == loaded.weights + loaded.kv_cache + loaded.scratch + loaded.program


def test_token_ids_alone(tiny_q3e, model):
    """texts=False: texts are refused before anything is imported that the plan does not count."""
    path, prompt = tiny_q3e("int8"), model.tokenizer.encode("What is 12 + 7?")
    settings = {"thinking": False, "max_tokens": 8, "temperature": 0}
    with qwen3edge.load(path, context=512, threads=2, texts=False) as tokens_alone:
        for call, text in [
            (tokens_alone.generate, "hi"),
            (tokens_alone.generate, SUM),
            (tokens_alone.tokenizer.encode, "ö"),
        ]:
            with pytest.raises(RequestError, match="texts=False"):
                call(text)
        answer = tokens_alone.generate(prompt, **settings)
        assert answer.read() == model.generate(prompt, **settings).read() != ""
        assert not tokens_alone.plan.texts and "token ids alone" in tokens_alone.plan.table()
    assert model.plan.texts and "for texts" in model.plan.table()
    with pytest.raises(RequestError, match="texts"):
        qwen3edge.plan(path, texts="no")


def test_what_does_not_fit_is_refused(tiny_q3e):
    for call in (qwen3edge.plan, qwen3edge.load):
        with pytest.raises(MemoryBudgetError, match="weights"):
            call(tiny_q3e("int4"), memory="16MiB")


@pytest.mark.parametrize(
    "settings",
    [{"context": 0}, {"context": 10**6}, {"threads": -1}, {"kv": "int3"}, {"memory": "much"}, {"device": "tpu"}],
)
def test_settings_out_of_range(tiny_q3e, settings):
    with pytest.raises(RequestError):
        qwen3edge.load(tiny_q3e("int4"), **settings)


def test_files_that_are_no_model(tiny_q3e, tmp_path, tiny_model_path):
    data = tiny_q3e("int4").read_bytes()
    path = tmp_path / "x.q3e"
    path.write_bytes(data[:-1])
    with pytest.raises(TruncatedFileError):
        qwen3edge.load(path)
    path.write_bytes(b"GIF89a" + data)
    with pytest.raises(ForeignFileError):
        qwen3edge.load(path)
    path.write_bytes(b"")
    with pytest.raises(FileFormatError):
        qwen3edge.load(path)
    with pytest.raises(Qwen3EdgeError, match="directory"):
        qwen3edge.load(tmp_path)


def test_files_that_cannot_be_opened(tiny_q3e, tmp_path):
    absent = tmp_path / "absent.q3e"
    for call in (qwen3edge.load, qwen3edge.plan):
        with pytest.raises(FileNotFoundError) as caught:
            call(absent)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(absent))
    with pytest.raises(NotADirectoryError):
        qwen3edge.load(tiny_q3e("int4") / "x.q3e")
    locked = tmp_path / "locked.q3e"
    locked.write_bytes(b"GGUF")
    locked.chmod(0)
    if os.geteuid() == 0:
        return  # who may read everything
    with pytest.raises(PermissionError):
        qwen3edge.load(locked)


def test_sources_of_a_conversion_are_told_from_models(tiny_q3e, tiny_model_path, tmp_path):
    """People give what they downloaded: the message says what makes a model of it."""
    gguf = tmp_path / "x.gguf"
    qwen3edge.convert.export_gguf(tiny_q3e("int8"), gguf)
    for source in (gguf, tiny_model_path):
        for call in (qwen3edge.load, qwen3edge.plan):
            with pytest.raises(ForeignFileError, match="qwen3edge convert"):
                call(source)
    with pytest.raises(CheckpointError, match=r"is a \.q3e model already"):
        qwen3edge.convert.convert(tiny_q3e("int8"), tmp_path / "y.q3e")


def test_tokens_of_a_request(model):
    tokens = model.tokens_of(SUM, thinking=False)
    answer = model.generate(SUM, thinking=False, max_tokens=1)
    answer.read()
    assert len(tokens) == answer.usage.prompt_tokens
    assert model.generate(np.array(tokens), max_tokens=8, temperature=0).read() == (
        model.generate(SUM, thinking=False, max_tokens=8, temperature=0).read()
    )
    assert model.tokens_of("a<|im_end|>", raw=True)[-1] == model.tokenizer.token_id("<|im_end|>")
    assert len(model.tokens_of("word " * 1000)) > model.plan.context


def test_defaults_can_be_seen(model):
    assert model.sampling_defaults.thinking.temperature == pytest.approx(0.6)
    assert model.sampling_defaults.direct.top_p == pytest.approx(0.8)
    assert model.thinks
    assert "tiny" in repr(model)


def test_file_without_a_tokenizer(tmp_path, tiny_model_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((tiny_model_path / name).read_bytes())
    qwen3edge.convert.convert(folder, tmp_path / "bare.q3e", "int8", allow_missing_tokenizer=True)
    with qwen3edge.load(tmp_path / "bare.q3e", context=64) as model:
        assert model.logits([1, 2]).shape == (2, model.config.vocab_size)
        with pytest.raises(UnsupportedModelError, match="tokenizer"):
            model.generate("hi")
        with pytest.raises(UnsupportedModelError, match="tokenizer"):
            _ = model.tokenizer


def test_held_out_sums(model, tiny_model_path):
    """A taste of what docs/quality.md measures in full: the file answers what the model was trained for."""
    items = [json.loads(line) for line in (tiny_model_path / "heldout.jsonl").read_text().splitlines()]
    items = [item for item in items if item["task"] == "add" and item["judge"] == "exact"][:12]
    right = 0
    for item in items:
        answer = model.generate(item["messages"], thinking=item["enable_thinking"], temperature=0, max_tokens=300)
        right += answer.read().strip() == item["expected"]
    assert right >= len(items) - 2
