"""Drafts change nothing that an answer is or says: tokens, text, log probabilities, usage, and how it ends; whether
they are looked up or come from a smaller model.
"""

import json
import shutil

import pytest

import qwen3edge
from bench.report import make_random
from bench.sessions.files import budget_for
from qwen3edge.convert import convert
from qwen3edge.errors import MemoryBudgetError, RequestError, UnsupportedModelError
from tests.conftest import TINY

QUESTIONS = ("What is 12 + 7?", "Which city is the capital of France? Say it three times.")
SCHEMA = {
    "type": "array",
    "minItems": 4,
    "maxItems": 6,
    "items": {
        "type": "object",
        "properties": {"n": {"enum": [1, 2, 30]}, "of": {"type": "boolean"}},
        "required": ["n"],
    },
}
WAYS = {
    "greedy": {"temperature": 0},
    "sampled": {"temperature": 1.2, "top_k": 40, "seed": 11},
    "penalties": {
        "temperature": 0.8,
        "seed": 3,
        "repetition_penalty": 1.2,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.1,
    },
    "longer than it wants": {"temperature": 0, "ignore_eos": True, "max_tokens": 150},
    "ends at a token": {"temperature": 0, "ignore_eos": True, "max_tokens": 37},
    "ends at a string": {"temperature": 0, "ignore_eos": True, "max_tokens": 150, "stop": ["1", "is"]},
    "ends at an id": {"temperature": 0, "ignore_eos": True, "max_tokens": 150, "stop_token_ids": [30, 31, 32]},
    "no budget": {"temperature": 0, "thinking": True, "thinking_budget": 0},
    "a budget of 8": {"temperature": 0, "thinking": True, "thinking_budget": 8, "max_tokens": 60, "ignore_eos": True},
    **{f"a budget of {n}": {"temperature": 0, "thinking": True, "thinking_budget": n} for n in range(10, 31, 5)},
    "a message": {"temperature": 0, "thinking": True, "thinking_budget": 3, "thinking_budget_message": "Enough."},
    "a schema": {"temperature": 0, "json_schema": SCHEMA},
    "a schema, sampled": {"temperature": 1.5, "top_k": 0, "seed": 4, "json_schema": SCHEMA},
    "a schema behind thoughts": {"thinking": True, "thinking_budget": 12, "temperature": 0, "json_schema": SCHEMA},
    "a regex that repeats": {"temperature": 0, "regex": "(yes|no)( maybe| never){20,40}"},
    "any JSON, penalties": {"temperature": 0.8, "seed": 9, "repetition_penalty": 1.2, "json_schema": {}},
    "log probabilities": {"temperature": 0, "logprobs": True, "top_logprobs": 3, "max_tokens": 60, "ignore_eos": True},
}


def said(model: qwen3edge.Model, question: str, way: str) -> tuple[object, ...]:
    answer = model.generate(question, **{"thinking": False, "max_tokens": 100, **WAYS[way]})
    pieces = "".join(answer)
    usage = answer.usage
    counts = (usage.prompt_tokens, usage.completion_tokens, usage.reasoning_tokens)
    return (
        tuple(answer.tokens),
        pieces,
        answer.reasoning,
        repr(answer.logprobs),
        counts,
        answer.finish_reason,
        answer.cut_by,
    )


@pytest.fixture(scope="module")
def draft(tiny_int4):
    """The tiny model in coarser blocks: it agrees often, and not always."""
    return tiny_int4


@pytest.fixture(
    scope="module",
    params=[
        "int8",
        "int4, a model",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("int4", "int8, a model")),
    ],
)
def models(tiny_q3e, draft, request):
    kv, of_model = request.param[:4], request.param.endswith("model")
    path = tiny_q3e("int8")
    settings = {"context": 512, "sequences": 2, "kv": kv, "threads": 1}
    drafts = {"draft": draft} if of_model else {"draft_tokens": 6}
    with qwen3edge.load(path, **settings) as plain, qwen3edge.load(path, **drafts, **settings) as drafting:
        yield plain, drafting
        assert drafting.engine.scheduler.counts["accepted_drafts"] > 0
        assert plain.engine.scheduler.counts["drafted"] == 0


@pytest.mark.parametrize("way", list(WAYS))
def test_the_same_answers(models, way):
    plain, drafting = models
    for question in QUESTIONS:
        assert said(drafting, question, way) == said(plain, question, way)


def test_a_mask_that_cannot_go_back_gets_no_drafts(models):
    _, drafting = models
    before = drafting.engine.scheduler.counts["drafted"]
    answer = drafting.generate(QUESTIONS[0], mask=lambda tokens: None, temperature=0, max_tokens=60, ignore_eos=True)
    answer.read()
    assert drafting.engine.scheduler.counts["drafted"] == before


def test_a_session_goes_on(models):
    """What was cut off behind a wrong draft leaves nothing behind."""
    found = []
    for model in models:
        session = model.session()
        messages: list[dict[str, str]] = []
        for question in (*QUESTIONS, *QUESTIONS):
            messages.append({"role": "user", "content": question})
            text = session.generate(messages, thinking=False, temperature=0, max_tokens=40).read()
            messages.append({"role": "assistant", "content": text})
        found.append(messages)
    assert found[0] == found[1]


@pytest.fixture(scope="module")
def scrambled(tiny_model_path, tmp_path_factory):
    """A model of the same tokens whose weights mean nothing."""
    torch_files = pytest.importorskip("safetensors.torch", reason="torch reads bfloat16")
    folder = tmp_path_factory.mktemp("scrambled")
    shutil.copytree(tiny_model_path, folder / "hf")
    (weights,) = (folder / "hf").glob("*.safetensors")
    turned = {name: rows.flip(0).contiguous() for name, rows in torch_files.load_file(weights).items()}
    torch_files.save_file(turned, weights)
    convert(folder / "hf", folder / "int4.q3e", "int4")
    return folder / "int4.q3e"


def test_a_draft_model_that_is_never_right_is_asked_seldom(tiny_q3e, scrambled):
    path, way = tiny_q3e("int8"), "longer than it wants"
    with (
        qwen3edge.load(path, context=512, threads=1) as plain,
        qwen3edge.load(path, context=512, threads=1, draft=scrambled) as drafting,
    ):
        for question in QUESTIONS:
            assert said(drafting, question, way) == said(plain, question, way)
        counts = drafting.engine.scheduler.counts
    assert counts["drafted"] > 0
    # The look-up has its share of them; 8 a step were allowed.
    assert counts["drafted"] - counts["accepted_drafts"] < counts["steps"]


@pytest.mark.parametrize("regex", ["[Q-Z]{150,200}", "(zebra|quartz){60,80}"])
def test_a_grammar_that_allows_no_token_of_a_draft_model(tiny_q3e, scrambled, regex):
    """What it was asked for is taken back from it, though nothing of it joined a step."""
    path, asked = tiny_q3e("int8"), {"temperature": 0, "thinking": False, "max_tokens": 240}
    with (
        qwen3edge.load(path, context=512, threads=1) as plain,
        qwen3edge.load(path, context=512, threads=1, draft=scrambled) as drafting,
    ):
        found = []
        for model in (plain, drafting):
            session = model.session()
            first = session.generate("Say it.", regex=regex, **asked)
            first.read()
            counts = model.engine.scheduler.counts
            then = session.generate([*session.tokens, 7], ignore_eos=True, **{**asked, "max_tokens": 40})
            then.read()
            found.append((first.tokens, then.tokens))
        assert found[0] == found[1]
    wrong = counts["drafted"] - counts["accepted_drafts"]
    # How soon it is asked no more depends on measured times, too: after some 20 wrong ones at the latest.
    assert 0 < wrong < counts["steps"] / 2


def test_side_by_side_with_a_draft_model(tiny_q3e, draft):
    """Answers that share a prompt and differ by their choice, more than run at a time, some of which go away."""
    path, asked = tiny_q3e("int8"), {"temperature": 0.9, "seed": 5, "max_tokens": 90, "ignore_eos": True}
    with qwen3edge.load(path, context=256, threads=1) as plain:
        expected = []
        for question in QUESTIONS:
            for choice in range(3):
                answer = plain.generate(question, choice=choice, **asked)
                answer.read()
                expected.append(answer.tokens)
    settings = {"context": 256, "sequences": 4, "threads": 1}
    memory = budget_for(path, 6, draft=draft, **settings)
    with qwen3edge.load(path, draft=draft, memory=memory, **settings) as drafting:
        answers = drafting.generate_batch(QUESTIONS, n=3, **asked)
        for answer in answers[::-1]:
            next(answer)
        drafting.generate(QUESTIONS[0], **asked).close()
        for answer in answers:
            answer.read()
        assert [answer.tokens for answer in answers] == expected
        assert drafting.engine.scheduler.counts["accepted_drafts"] > 0


def test_the_plan_counts_a_draft_model(tiny_q3e, draft):
    path = tiny_q3e("int8")
    alone, both = qwen3edge.plan(path, context=512), qwen3edge.plan(path, context=512, draft=draft)
    assert alone.draft == 0 and both.draft_tokens == 8
    assert both.draft > draft.stat().st_size // 2
    assert both.peak - alone.peak >= both.draft
    assert "draft" in both.table() and "draft" not in alone.table()
    with pytest.raises(MemoryBudgetError):
        qwen3edge.plan(path, context=512, draft=draft, memory=both.peak - both.draft)
    given = {"program": 64 << 20, "context": "auto", "memory": "1GiB"}
    alone, both = qwen3edge.plan(path, **given), qwen3edge.plan(path, draft=draft, **given)
    assert both.program == alone.program == 64 << 20 and both.peak - alone.peak == both.draft


def test_the_same_vocabulary(tiny_q3e, tmp_path):
    other = tmp_path / "other.q3e"
    make_random("--shape", "tiny", "--to", "q3e", other)
    with pytest.raises(RequestError, match="draft: expected a model with the same tokens"):
        qwen3edge.plan(tiny_q3e("int8"), context=64, draft=other)


def test_draft_models_that_cannot_be_some(tiny_q3e, tiny_hybrid_path, tmp_path):
    hybrid = tmp_path / "hybrid.q3e"
    convert(tiny_hybrid_path, hybrid, "int4")
    with pytest.raises(UnsupportedModelError, match="draft: expected a model whose cache can be cut at any token"):
        qwen3edge.plan(hybrid, context=64, draft=hybrid)
    shutil.copytree(TINY, tmp_path / "short")
    config = json.loads((tmp_path / "short" / "config.json").read_text())
    (tmp_path / "short" / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 128}))
    convert(tmp_path / "short", tmp_path / "short.q3e", "int4")
    with pytest.raises(RequestError, match="positions, as the context has, found 128: load with a context of 128"):
        qwen3edge.plan(tiny_q3e("int4"), context=129, draft=tmp_path / "short.q3e")
    assert qwen3edge.plan(tiny_q3e("int4"), context=128, draft=tmp_path / "short.q3e").draft > 0


def test_settings_that_go_with_no_draft_model(draft, tiny_int4):
    with pytest.raises(RequestError, match="draft_tokens: expected at least 1"):
        qwen3edge.plan(tiny_int4, draft=draft, draft_tokens=0)
    with pytest.raises(RequestError, match="draft: expected none on this device"):
        qwen3edge.plan(tiny_int4, draft=draft, device="cuda")


def test_the_plan_counts_them(tiny_int4):
    plans = [qwen3edge.plan(tiny_int4, context=512, draft_tokens=count) for count in (0, 100)]
    assert [plan.draft_tokens for plan in plans] == [0, 100]
    vocabulary = 4 * 100 * 512
    assert plans[1].program - plans[0].program > vocabulary


@pytest.mark.parametrize("wrong", [-1, 257, 1.5, "8", True])
def test_settings_out_of_range(tiny_int4, wrong):
    with pytest.raises(RequestError, match="draft_tokens"):
        qwen3edge.plan(tiny_int4, draft_tokens=wrong)
