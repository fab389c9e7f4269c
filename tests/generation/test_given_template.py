"""load(chat_template=...): everything follows the template that is given."""

import pytest

import qwen3edge
from qwen3edge.errors import RequestError, TemplateError, UnsupportedModelError

PLAIN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKS = PLAIN.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
PIECES = "{{ eos_token }}{{ messages[0].content }}"
HI = [{"role": "user", "content": "What is 12 + 7?"}]


def opened(path, template, **settings):
    return qwen3edge.load(path, context=256, threads=1, chat_template=template, **settings)


def test_prompts_and_thinking_follow_it(tiny_q3e, tmp_path):
    path, file = tiny_q3e("int8"), tmp_path / "plain.jinja"
    file.write_text(PLAIN)
    with qwen3edge.load(path, context=256, threads=1) as own:
        assert own.thinks
        expected = own.tokens_of("<|im_start|>user\nWhat is 12 + 7?<|im_end|>\n<|im_start|>assistant\n", raw=True)
        assert own.tokens_of(HI, thinking=False) != expected
    for given in (file, str(file), PLAIN):
        with opened(path, given) as model:
            assert model.tokens_of(HI) == expected
            assert not model.thinks
            with pytest.raises(RequestError, match="does not think"):
                model.generate(HI, thinking=True)
    with opened(path, THINKS) as model:
        assert model.thinks
        answer = model.generate(HI, temperature=0, max_tokens=100)
        answer.read()
        assert answer.reasoning and "<think>" not in answer.content
        with pytest.raises(RequestError, match="always thinks"):
            model.generate(HI, thinking=False)
    with opened(path, PIECES) as model:
        assert model.tokens_of("hi") == model.tokens_of(model.tokenizer.named_tokens["eos_token"] + "hi", raw=True)


def test_what_does_not_compile_is_refused_when_it_is_given(tiny_q3e, tmp_path):
    path, file = tiny_q3e("int8"), tmp_path / "bad.jinja"
    file.write_text("{{ messages }}\n{% frobnicate %}")
    for call in (qwen3edge.load, qwen3edge.plan):
        with pytest.raises(TemplateError, match=r"bad\.jinja: the chat template is malformed in line 2") as error:
            call(path, chat_template=file)
        assert "--chat-template FILE" in str(error.value)
        with pytest.raises(RequestError, match="no file"):
            call(path, chat_template=tmp_path / "absent")
        with pytest.raises(RequestError, match="expected texts=True"):
            call(path, chat_template=PLAIN, texts=False)
    assert qwen3edge.plan(path, chat_template=PLAIN, context=256, threads=1).context == 256


def test_a_file_without_a_tokenizer(tiny_model_path, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).symlink_to((tiny_model_path / name).resolve())
    qwen3edge.convert.convert(bare, tmp_path / "x.q3e", allow_missing_tokenizer=True)
    with pytest.raises(UnsupportedModelError, match="expected a tokenizer"):
        qwen3edge.load(tmp_path / "x.q3e", chat_template=PLAIN)


def test_the_models_own_names_the_way_out(tiny_model_path, tmp_path):
    """Converted with it all the same, said then, and replaced when it is loaded."""
    folder = tmp_path / "m"
    folder.mkdir()
    for path in tiny_model_path.iterdir():
        (folder / path.name).symlink_to(path.resolve())
    (folder / "chat_template.jinja").write_text("{{ messages }}{% frobnicate %}")
    report = qwen3edge.convert.convert(folder, tmp_path / "m.q3e", "int8")
    assert [note for note in report.notes if "frobnicate" in note and "--chat-template FILE" in note]
    with qwen3edge.load(tmp_path / "m.q3e", context=256, threads=1) as model:
        with pytest.raises(TemplateError, match=r"frobnicate.*--chat-template FILE"):
            model.generate(HI)
        assert model.generate("x", raw=True, max_tokens=1).read() is not None
    with opened(tmp_path / "m.q3e", PLAIN) as model:
        assert model.generate(HI, temperature=0).read()
    qwen3edge.convert.convert(folder, tmp_path / "n.q3e", "int8", chat_template=PLAIN)
    with qwen3edge.load(tmp_path / "n.q3e", context=256, threads=1) as model:
        assert model.prompt_builder.template.source == PLAIN
