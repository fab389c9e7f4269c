"""Items judged: by a greedy answer, by the likelihood of choices."""

import pytest

import qwen3edge
from qwen3edge.errors import RequestError
from qwen3edge.evaluate.tasks import accuracy_by_task, run_items
from qwen3edge.evaluate.texts import read_records


@pytest.fixture(scope="module")
def model(tiny_q3e):
    with qwen3edge.load(tiny_q3e("bf16"), context=512, threads=1, kv="bf16") as loaded:
        yield loaded


def test_held_out_items(model, tiny_model_path):
    records = read_records(tiny_model_path / "heldout.jsonl")[::12]
    results = run_items(model, records)
    found = accuracy_by_task(results)
    assert found["all"]["items"] == len(records)
    assert found["all"]["accuracy"] > 0.9
    wrong = [{**a, "expected": b["expected"]} for a, b in zip(records, records[1:] + records[:1], strict=True)]
    assert accuracy_by_task(run_items(model, wrong[:8]))["all"]["right"] == 0


def test_choices(model):
    question = {"messages": [{"role": "user", "content": "What is 12 + 3?"}], "choices": ["12 + 3 = 15", "12 + 3 = 51"]}
    right, letter, wrong = run_items(
        model, [{**question, "answer": 0}, {**question, "answer": "a"}, {**question, "answer": 1}]
    )
    assert right.right and letter.right and not wrong.right
    assert right.answer == "12 + 3 = 15"


@pytest.mark.parametrize(
    "item",
    [
        {"messages": []},
        {"expected": "x"},
        {"prompt": "x", "expected": "y", "judge": "taste"},
        {"prompt": "x", "choices": ["a"], "answer": 0},
        {"prompt": "x", "choices": ["a", "b"], "answer": "C"},
        {"prompt": "x", "choices": ["a", "b"]},
    ],
)
def test_items_of_another_form(model, item):
    with pytest.raises(RequestError, match="item 2"):
        run_items(model, [{"prompt": "x", "expected": "y"}, item])
