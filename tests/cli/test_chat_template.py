"""--chat-template of run, chat and convert."""

import json

import pytest

from tests.cli.command import one_line, run
from tests.cli.verbs.test_run import prompt_tokens

PLAIN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "plain.jinja"
    path.write_text(PLAIN)
    return path


def test_run_and_chat(tiny_q3e, plain):
    path, asked = tiny_q3e("int8"), "What is 12 + 7?"
    whole = prompt_tokens(path, "--raw", f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n")
    assert prompt_tokens(path, asked, "--chat-template", plain) == whole
    assert prompt_tokens(path, asked, "--no-thinking") > whole
    assert "does not think" in one_line(run("run", path, asked, "--thinking", "--chat-template", plain), 2)
    assert "--chat-template" in one_line(run("run", path, "--raw", asked, "--chat-template", plain), 2)
    plain.write_text(PLAIN.replace("assistant\n", "assistant\n<think>\n\n</think>\n\n"))
    result = run("chat", path, "--chat-template", plain, "--temperature", 0, stdin=f"{asked}\n")
    assert (result.returncode, result.stdout) == (0, "12 + 7 = 19\n")


def test_wrong_ones(tiny_q3e, tiny_model_path, tmp_path, plain):
    bad = tmp_path / "bad.jinja"
    bad.write_text("{{ messages }}{% frobnicate %}")
    for verb in (["run", tiny_q3e("int8"), "hi"], ["chat", tiny_q3e("int8")],
                 ["convert", tiny_model_path, tmp_path / "x.q3e"]):  # fmt: skip
        assert "bad.jinja: the chat template is malformed" in one_line(run(*verb, "--chat-template", bad), 1)
        assert "no file" in one_line(run(*verb, "--chat-template", tmp_path / "absent"), 2)
        assert "a folder" in one_line(run(*verb, "--chat-template", tmp_path), 2)
    assert not (tmp_path / "x.q3e").exists()


def test_convert_and_info(tiny_model_path, tmp_path, plain):
    target = tmp_path / "m.q3e"
    assert run("convert", tiny_model_path, target, "--chat-template", plain).returncode == 0
    assert json.loads(run("info", target, "--json").stdout)["texts"] == "tokenizer and chat template, without thinking"
    folder = tmp_path / "m"
    folder.mkdir()
    for path in tiny_model_path.iterdir():
        (folder / path.name).symlink_to(path.resolve())
    (folder / "chat_template.jinja").write_text("{{ messages }}{% if x %}{{ x | frob }}{% endif %}")
    result = run("convert", folder, target)
    assert result.returncode == 0
    assert [line for line in result.stdout.splitlines() if "the filter 'frob'" in line and "--chat-template" in line]
    assert "the filter 'frob'" in run("info", target).stdout
