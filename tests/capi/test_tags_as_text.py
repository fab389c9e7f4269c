"""A model in whose vocabulary `<think>` and `</think>` are no tokens, through the C API and through Python."""

import json
import shutil

import pytest

from qwen3edge.convert import convert
from tests.capi.asking import answered
from tests.capi.conftest import opened

THINKS = "{{ messages[0].content }}<|im_start|>assistant\n<think>\n"
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def both(api, tiny_model_path, tmp_path_factory):
    """Whose prompt opens the thoughts."""
    folder = tmp_path_factory.mktemp("plain")
    for path in tiny_model_path.iterdir():
        if path.suffix in (".json", ".safetensors"):
            shutil.copyfile(path, folder / path.name)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [each for each in tokenizer["added_tokens"] if "think" not in each["content"]]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    decoder = config["added_tokens_decoder"]
    config["added_tokens_decoder"] = {i: each for i, each in decoder.items() if "think" not in each["content"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False))
    path = folder / "int4.q3e"
    convert(folder, path, "int4", chat_template=THINKS)
    yield from opened(api, path, folder)


@pytest.mark.parametrize("budget", [0, 1, 5])
def test_the_budget_ends_thoughts(api, both, budget):
    assert both.python.tokenizer.token_id("</think>") is None
    options = {"seed": 3, "max_tokens": 30}
    python = both.python.generate(HI, thinking_budget=budget, thinking_budget_message=" So.", **options)
    python.read()
    found = answered(api, both.c, HI, budget=(budget, " So."), **options)
    assert found.tokens == python.tokens and (found.content, found.reasoning) == (python.content, python.reasoning)
    close = both.python.tokenizer.encode("</think>")
    assert len(close) > 1 and close == python.tokens[budget:][len(both.python.tokenizer.encode(" So.")) :][: len(close)]
    assert python.reasoning.endswith("So.") and "think>" not in python.reasoning


def test_the_prompt_has_opened_them(api, both):
    options = {"seed": 3, "max_tokens": 12}
    python = both.python.generate(HI, **options)
    python.read()
    found = answered(api, both.c, HI, **options)
    assert (found.content, found.reasoning) == (python.content, python.reasoning) and found.reasoning
